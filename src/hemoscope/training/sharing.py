"""One batch over several ranks, with the numbers of one process: each takes a contiguous share of its images.

What looks at a whole batch is made to do so again: batch normalisation, the mask of dropout, the denominator of the
loss, the partner in mixup. Why like this: docs/decisions/0014.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from hemoscope.records import FloatArray, IntArray
from hemoscope.training.batches import Batches
from hemoscope.training.epochs import Clock, Epochs, Step
from hemoscope.training.objective import Objective
from hemoscope.training.ranks import Ranks
from hemoscope.training.whole import WholeBatchNorm, WholeDropout, WholeSyncBatchNorm

__all__ = ["SharedBatch"]


class SharedBatch:
    """The batch of the step that is being done, and this rank's share of it.

    Attributes:
        ranks: Who shares it.
        target: Classes of the whole batch, shape (N,).
        mine: Which of its N images are this rank's; there may be none.
        places: Which of them this rank is given, those that its own are mixed with behind them, shape (M,).
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.target = torch.empty(0, dtype=torch.int64)
        self.mine = slice(0, 0)
        self.places: IntArray = np.empty(0, np.int64)

    def take(self, target: Tensor, *, mixed: bool) -> None:
        """Go on to the next batch, whose images may be mixed."""
        self.target, self.mine = target, self.ranks.share(len(target))
        places = np.arange(len(target))
        own = places[self.mine]
        self.places = np.concatenate([own, places[::-1][self.mine]]) if mixed else own

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Return random numbers from 0 to 1, a row an image as given: those that one process would draw for them."""
        return torch.rand(len(self.target), *shape, device=like.device)[self.places]

    def normal(self, like: Tensor, *shape: int) -> Tensor:
        """Return normal random numbers, as `uniform`."""
        return torch.randn(len(self.target), *shape, device=like.device)[self.places]

    def adapt(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Let a network's batch normalisation and dropout see whole batches; its tensors and their names stay."""
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Dropout):
                model.set_submodule(name, WholeDropout(module.p, self))
            elif type(module) is nn.BatchNorm2d and device.type == "cpu":
                module.__class__ = WholeBatchNorm  # adds no state; torch's own is for GPUs alone
            elif type(module) is nn.BatchNorm2d:  # not by torch's converter, which leaves hooks behind
                module.__class__ = WholeSyncBatchNorm  # type: ignore[assignment]
                shared = cast("WholeSyncBatchNorm", module)
                shared.batch, shared.process_group = self, None
        return model

    def learner(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the network as it learns: its gradients are means over the ranks.

        Batch statistics are the same everywhere already, so none are sent.
        """
        ids = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.15 has another name for `broadcast_buffers`, which the oldest one that we take does not know.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def objective(self, **options: Any) -> Objective:
        """Return what the ranks lower together; options are those of `Objective`."""
        return _SharedObjective(self, **options)

    def epochs(self, batches: Batches, step: Step, *, mixed: bool, batch_size: int, clock: Clock) -> Epochs:
        """Return what does every step of an epoch.

        Args:
            batches: Where images come from.
            step: Does one step on this rank's images.
            mixed: Whether each is given with its partner.
            batch_size: Images of a step, over all ranks.
            clock: Hears of data and steps.
        """
        return _SharedEpochs(batches, step, batch=self, mixed=mixed, batch_size=batch_size, clock=clock)


class _SharedObjective(Objective):
    """What the ranks lower together: each its images' part of the loss of the whole batch.

    Images and classes are given as this rank's own and, where they are mixed, those of their partners behind.

    Args:
        batch: The batch.
        options: As of `Objective`.
    """

    def __init__(self, batch: SharedBatch, **options: Any) -> None:
        super().__init__(**options)
        self._batch = batch

    def loss(self, out: Any, target: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is lowered, of which the mean over ranks counts; this rank's part of the loss; its logits."""
        total, main, logits = super().loss(out, target, share)
        return total * self._batch.ranks.world, main, logits

    def _own(self, values: Tensor) -> Tensor:
        return values if self._beta is None else values[: len(values) // 2]

    def _partners(self, values: Tensor) -> Tensor:
        return values[len(values) // 2 :]

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        weights, whole = self._class_weights, self._batch.target  # a batch has its partners' classes, too
        losses = functional.cross_entropy(
            self._upright(logits),
            target,
            weight=weights,
            label_smoothing=self._label_smoothing,
            reduction="sum",
        )
        return losses / (len(whole) if weights is None else weights[whole].sum())


class _SharedEpochs:
    """Batch by batch from the canvas, this rank's share of each; on every device step by step, without a graph."""

    def __init__(
        self,
        batches: Batches,
        step: Step,
        *,
        batch: SharedBatch,
        mixed: bool,
        batch_size: int,
        clock: Clock,
    ) -> None:
        self._batches = batches
        self._step = step
        self._batch = batch
        self._mixed = mixed
        self._batch_size = batch_size
        self._clock = clock

    def run(
        self,
        rows: IntArray,
        matrices: FloatArray,
        target: IntArray,
        on_step: Callable[[int, Tensor], None],
        before_step: Callable[[int], None] = lambda _: None,
    ) -> tuple[Tensor, Tensor]:
        """Train on every image once; see `Epochs`. Losses and counts are those of whole batches, on every rank."""
        device = self._batches.device
        targets = torch.from_numpy(target).to(device)
        starts = range(0, len(rows), self._batch_size)
        losses = torch.full((len(starts),), torch.nan, device=device)  # a step that is not done shows
        correct = torch.zeros((), dtype=torch.int64, device=device)
        for step, first in enumerate(starts):
            start = time.perf_counter()
            before_step(step)
            self._batch.take(targets[first : first + self._batch_size], mixed=self._mixed)
            here = first + self._batch.places
            images = self._images(rows[here], matrices[here])
            start = self._clock.add("data_s", start)
            loss, right = self._step(images, targets[torch.from_numpy(here).to(device)])
            whole = torch.stack([loss.double(), right.double()])
            dist.all_reduce(whole)
            losses[step] = whole[0]
            correct += whole[1].long()
            on_step(step + 1, losses[: step + 1])
            self._clock.add("step_s", start)
        start = time.perf_counter()
        losses, correct = losses.cpu(), correct.cpu()  # waits for the device
        self._clock.add("step_s", start)
        return losses, correct

    def _images(self, rows: IntArray, matrices: FloatArray) -> Tensor:
        if len(rows):
            return self._batches.images(rows, matrices)
        side = self._batches.image_px
        return torch.empty(0, 3, side, side, device=self._batches.device, memory_format=torch.channels_last)
