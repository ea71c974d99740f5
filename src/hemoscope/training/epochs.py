"""All steps of one epoch, in one of two ways that give the same numbers to rounding.

`HostEpochs` cuts a batch, steps, and does it again: the way of a CPU, where nothing waits for a
launch. `DeviceEpochs` is for CUDA: the whole step (gather, warp, normalise, forward, backward, SGD)
is captured once as a CUDA graph; an epoch is one launch a step, and nothing is read back before its
end. Neither knows of epochs before or after.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hemoscope.data.augment import warp_on_device
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.batches import Batches

__all__ = ["Clock", "DeviceEpochs", "Epochs", "HostEpochs", "Step"]

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_Sizes = tuple[int, int]
AHEAD = 4  # batches whose rows are read from the disk while earlier ones are worked on
WARM_UP = 3  # eager steps before the capture: libraries pick algorithms, the optimiser makes its state


class Clock:
    """Seconds of this process spent on data, steps, validation and checkpoints."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"data_s": 0.0, "step_s": 0.0, "val_s": 0.0, "save_s": 0.0}
        self._began = time.perf_counter()

    @property
    def other_s(self) -> float:
        """Seconds since the beginning that are booked nowhere."""
        return time.perf_counter() - self._began - sum(self.seconds.values())

    def add(self, name: str, start: float) -> float:
        """Book the time since `start`; return the time now."""
        now = time.perf_counter()
        self.seconds[name] += now - start
        return now


class Epochs(Protocol):
    """Does every step of an epoch."""

    def run(
        self,
        rows: IntArray,
        matrices: FloatArray,
        target: IntArray,
        on_step: Callable[[int, Tensor], None],
        before_step: Callable[[int], None] = lambda _: None,
    ) -> tuple[Tensor, Tensor]:
        """Train on every image once, in the given order.

        Args:
            rows: Canvas rows, shape (n,).
            matrices: One warp an image, shape (n, 2, 3).
            target: True classes, shape (n,).
            on_step: Called after each step with the number of steps done and all losses so far; those
                may still be on their way on a device, and looking at them waits.
            before_step: Called with the number of a step, from 0, before it: the place to set a rate.

        Returns:
            The loss of every step, shape (steps,), and the number of right predictions.
        """
        ...


class HostEpochs:
    """Batch by batch from the canvas."""

    def __init__(self, batches: Batches, step: Step, *, batch_size: int, clock: Clock) -> None:
        self._batches = batches
        self._step = step
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
        """Train on every image once; see `Epochs`."""
        device = self._batches.device
        targets = torch.from_numpy(target).to(device)
        starts = range(0, len(rows), self._batch_size)
        losses = torch.full((len(starts),), torch.nan, device=device)  # a step that is not done shows
        correct = torch.zeros((), dtype=torch.int64, device=device)
        ahead = AHEAD * self._batch_size
        self._batches.soon(rows[:ahead])
        for step, first in enumerate(starts):
            here = slice(first, first + self._batch_size)
            start = time.perf_counter()
            before_step(step)
            self._batches.soon(rows[here.start + ahead : here.stop + ahead])
            images = self._batches.images(rows[here], matrices[here])
            start = self._clock.add("data_s", start)
            losses[step], right = self._step(images, targets[here])
            correct += right
            on_step(step + 1, losses[: step + 1])
            self._clock.add("step_s", start)
        return losses, correct


class DeviceEpochs:
    """One CUDA graph launch a step. On another device it runs the same code without the graph.

    The order, the warps and the classes of an epoch are copied to the device at its start. A cursor on
    the device says which batch is next, so that a launch needs no argument. Where the canvas does not
    fit into device memory, the host gathers each batch into pinned memory and copies it ahead.
    """

    def __init__(
        self, batches: Batches, step: Step, *, n: int, batch_size: int, clock: Clock, graph: bool = True
    ) -> None:
        self._batches = batches
        self._step = step
        self._batch_size = batch_size
        self._clock = clock
        self._steps = -(-n // batch_size)
        device = batches.device
        self._rows = torch.empty(n, dtype=torch.int64, device=device)
        self._matrices = torch.empty(n, 2, 3, device=device)
        self._target = torch.empty(n, dtype=torch.int64, device=device)
        self._losses = torch.full((self._steps,), torch.nan, device=device)  # a step that is not done shows
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self._within = torch.arange(batch_size, device=device)
        self._source = _Feed(batches, batch_size) if batches.resident is None else batches.resident
        # One graph a batch size: whole batches, and the smaller last one. They share their memory.
        self._graphs = _Graphs(device) if graph and device.type == "cuda" else None

    def run(
        self,
        rows: IntArray,
        matrices: FloatArray,
        target: IntArray,
        on_step: Callable[[int, Tensor], None],
        before_step: Callable[[int], None] = lambda _: None,
    ) -> tuple[Tensor, Tensor]:
        """Train on every image once; see `Epochs`."""
        start = time.perf_counter()
        self._rows.copy_(torch.from_numpy(rows))
        self._matrices.copy_(torch.from_numpy(matrices.astype(np.float32)))
        self._target.copy_(torch.from_numpy(target))
        self._cursor.zero_()
        self._correct.zero_()
        self._losses.fill_(torch.nan)
        for step in range(self._steps):
            here = slice(step * self._batch_size, (step + 1) * self._batch_size)
            before_step(step)
            if isinstance(self._source, _Feed):
                self._batches.soon(rows[here.stop : here.stop + self._batch_size])
                self._source.put(rows[here])
            self._advance(len(rows[here]))
            on_step(step + 1, self._losses[: step + 1])
        losses, correct = self._losses.clone().cpu(), self._correct.clone().cpu()  # waits for the device
        self._clock.add("step_s", start)
        return losses, correct

    def _advance(self, size: int) -> None:
        if self._graphs is None:
            self._body(size)
        else:
            self._graphs.run((size, self._batches.image_px), partial(self._body, size))

    def _body(self, size: int) -> None:
        here = self._cursor * self._batch_size + self._within[:size]  # (size,)
        if isinstance(self._source, _Feed):
            pixels = self._source.pixels[:size]
        else:
            pixels = self._source.index_select(0, self._rows.index_select(0, here))
        warped = warp_on_device(
            pixels,
            self._matrices.index_select(0, here),
            image_px=self._batches.image_px,
            fill=self._batches.fill,
        )
        loss, right = self._step(self._batches.normalise(warped), self._target.index_select(0, here))
        self._losses.index_copy_(0, self._cursor, loss.float().reshape(1))
        self._correct += right
        self._cursor += 1


class _Graphs:
    """Captured work by its sizes, images and pixels. The first runs of one are eager: libraries pick algorithms."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()  # shared: one batch is worked on at a time
        self._eager: Counter[_Sizes] = Counter()
        self._graphs: dict[_Sizes, torch.cuda.CUDAGraph] = {}

    def run(self, size: _Sizes, work: Callable[[], None]) -> None:
        """Do the work for a batch of these sizes; every call counts, there is no rehearsal."""
        if size in self._graphs:
            self._graphs[size].replay()
        elif self._eager[size] < WARM_UP:
            self._eager[size] += 1
            now = torch.cuda.current_stream(self._device)
            self._side.wait_stream(now)
            with torch.cuda.stream(self._side):
                work()
            now.wait_stream(self._side)
        else:
            torch.cuda.synchronize(self._device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"
            ):
                work()  # recorded, not done
            self._graphs[size] = graph
            graph.replay()


class _Feed:
    """Batches of a canvas that stays in host memory, copied ahead of the step that reads them."""

    def __init__(self, batches: Batches, batch_size: int) -> None:
        shape = (batch_size, *batches.canvas.pixels.shape[1:])
        on_cuda = batches.device.type == "cuda"
        self._source = batches.canvas.pixels
        self._host = [torch.empty(shape, dtype=torch.uint8, pin_memory=on_cuda) for _ in range(2)]
        self._read = [torch.cuda.Event() for _ in range(2)] if on_cuda else []
        self._turn = 0
        self.pixels = torch.empty(shape, dtype=torch.uint8, device=batches.device)

    def put(self, rows: IntArray) -> None:
        """Gather the rows while the device still works, and queue their copy behind its last step."""
        host = self._host[self._turn][: len(rows)]
        if self._read:
            self._read[self._turn].synchronize()  # the copy before last has left this buffer
        np.take(self._source, rows, axis=0, out=host.numpy(), mode="clip")  # "raise" would copy it all twice
        self.pixels[: len(rows)].copy_(host, non_blocking=True)
        if self._read:
            self._read[self._turn].record()
        self._turn = 1 - self._turn
