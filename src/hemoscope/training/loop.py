"""The training loop, read from top to bottom: prepare, epochs, test predictions once, run folder.

Every epoch draws its order, its augmentation and its dropout from (seed, epoch) alone, so a run that
was killed and started again ends with the numbers of a run that never was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hemoscope.data.canvas import Canvas
from hemoscope.errors import TrainingError
from hemoscope.evaluation.metrics import log_loss
from hemoscope.models.build import build, head_paths
from hemoscope.models.registry import get_arch
from hemoscope.models.weights import load_imagenet
from hemoscope.records import SIDES, IntArray, Predictions, Side
from hemoscope.runs import EpochRow
from hemoscope.training.assemble import make_epochs
from hemoscope.training.average import Averaged
from hemoscope.training.batches import Batches
from hemoscope.training.card import RunCard
from hemoscope.training.checkpoint import State
from hemoscope.training.device import Device
from hemoscope.training.draws import EpochDraws, draw_epoch
from hemoscope.training.epochs import Clock, Epochs
from hemoscope.training.health import DivergedError, check_alive, check_losses, diverged
from hemoscope.training.job import Job
from hemoscope.training.logbook import Logbook
from hemoscope.training.norms import keep_statistics
from hemoscope.training.ranks import ALONE, Ranks
from hemoscope.training.rates import make_optimizer, set_rate
from hemoscope.training.recipe import Recipe
from hemoscope.training.step import predict_probs

__all__ = ["Watcher", "fit"]

CHECK_EVERY = 50  # steps between two looks at the losses; on CUDA, where a look waits, once an epoch


class Watcher:
    """What a caller may want to hear of; this one listens to nothing."""

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that a training step ended."""

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Hear that an epoch ended."""


def fit(
    job: Job,
    folder: Path,
    canvas: Canvas,
    *,
    device: Device,
    card: RunCard,
    watcher: Watcher | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train one job into its run folder, or go on where an earlier process stopped.

    Args:
        job: What to compute.
        folder: The run folder, held by the caller.
        canvas: Pixels of the job's manifest, of the job's canvas size.
        device: Where and in which precision.
        card: The run card to complete.
        watcher: Hears of steps and epochs.
        ranks: Who trains it, already together; the main one alone writes.

    Raises:
        TrainingError: If the loss is not finite or diverges (names epoch and step), or if the network
            died: it answers every image alike.
    """
    watcher = watcher or Watcher()
    recipe, clock = job.recipe, Clock()
    model = _network(job, card).to(device.torch_device)
    batch = None
    if ranks.several:
        from hemoscope.training.sharing import SharedBatch

        batch = SharedBatch(ranks)
        model = batch.adapt(model, device.torch_device)
    heads = [model.get_submodule(path) for path in head_paths(get_arch(job.arch), recipe.head)]
    optimizer = make_optimizer(model, recipe, heads=heads, device=device.torch_device)
    averaged = Averaged(model, recipe.ema) if recipe.ema else None
    state = State(model, optimizer, averaged)
    log = Logbook(folder, state, recipe=recipe, digest=job.digest, clock=clock, writes=ranks.main)
    ranks.agree(len(log.history), "the epochs that are done")
    card.begin(device=device, model=model, resumed_at=len(log.history))
    batches = Batches(canvas, job.sides_px[0], recipe.fill, device.torch_device)
    sides = {side: _side(job, canvas, side) for side in SIDES}
    epochs = make_epochs(
        recipe,
        state,
        batches,
        sides["train"].target,
        job.manifest.classes,
        clock=clock,
        device=device,
        batch=batch,
    )

    def predict(side: Side, views: int = 1) -> Predictions:
        said = _predict(
            state.scored, batches, sides[side], recipe=recipe, device=device, views=views, ranks=ranks
        )
        if not np.isfinite(said.probs).all():  # what a last step has spoilt shows in no loss
            raise TrainingError(
                f"{job.name} diverged: it gives {side} images probabilities that are no numbers; try a lower rate "
                f"(--set lr={recipe.lr / 10:g}), larger batches or --set precision=fp32"
            )
        return said

    val = None
    for epoch in range(len(log.history) + 1, recipe.epochs + 1):
        start = time.perf_counter()
        draws = draw_epoch(
            sides["train"].target,
            recipe,
            seed=job.seed,
            epoch=epoch,
            canvas_px=canvas.canvas_px,
            image_px=batches.image_px,
        )
        try:
            with batches.reduced_to(recipe.small_at(epoch) or batches.image_px):
                loss, accuracy = _train_epoch(
                    model, optimizer, epochs, sides["train"], draws, batches.device, recipe, epoch, watcher
                )
        except DivergedError as error:
            raise TrainingError(diverged(job, epoch, error)) from None
        train_s = time.perf_counter() - start
        start = time.perf_counter()
        val = predict("val")
        clock.add("val_s", start)
        check_alive(val, job, epoch)
        val_loss, val_accuracy = log_loss(val.probs, val.target), 1 - val.n_errors / len(val)
        rate = len(draws.order) / train_s
        row = EpochRow(epoch, recipe.lr_at(epoch), loss, accuracy, val_loss, val_accuracy, rate)
        log.add(row, train_s)
        watcher.on_epoch(row, recipe.epochs)

    if recipe.select_epoch == "best_val":
        ranks.wait()  # until the main one has written it
        log.load_best()
        val = None
    if val is None or recipe.views > 1:  # resumed after the last epoch, or other weights or views count
        val = predict("val", recipe.views)
    start = time.perf_counter()
    test = predict("test", recipe.views)  # once, and nowhere else
    clock.seconds["test_s"] = time.perf_counter() - start
    log.finish(
        card,
        val=val,
        test=test,
        about={"arch": job.arch, "digest": job.digest},
        images=len(sides["train"].rows) * recipe.epochs,
        device=device,
    )
    ranks.wait()


@dataclass(frozen=True)
class _Side:
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    rows: IntArray
    target: IntArray


def _side(job: Job, canvas: Canvas, side: Side) -> _Side:
    rows = job.split.side(side)
    index = {name: target for target, name in enumerate(job.manifest.classes)}
    paths = tuple(row.path for row in rows)
    target = np.array([index[row.class_name] for row in rows], dtype=np.int64)
    return _Side(job.manifest.classes, paths, canvas.rows(list(paths)), target)


def _network(job: Job, card: RunCard) -> nn.Module:
    state = None
    if job.recipe.weights == "imagenet":
        state, weights, digest = load_imagenet(job.arch)
        card.pretrained(weights, digest)
    return build(
        job.arch,
        len(job.manifest.classes),
        head=job.recipe.head,
        seed=job.seed,
        imagenet_state=state,
        instance_norm=job.recipe.instance_norm,
    )


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: Epochs,
    side: _Side,
    draws: EpochDraws,
    device: torch.device,
    recipe: Recipe,
    epoch: int,
    watcher: Watcher,
) -> tuple[float, float]:
    """Return mean loss and accuracy, both on augmented images, as they came."""
    on_cuda = device.type == "cuda"
    steps = len(draws.sizes)

    def before_step(step: int) -> None:
        if step == 0 or recipe.schedule == "warm_cosine":
            set_rate(optimizer, recipe.lr_at(epoch, (step + 0.5) / steps))

    def on_step(done: int, losses: Tensor) -> None:
        if done == steps or (done % CHECK_EVERY == 0 and not on_cuda):
            check_losses(losses, n_classes=len(side.classes))
        watcher.on_step(epoch, done, steps)

    model.train()
    if recipe.norm == "frozen":
        keep_statistics(model)
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.manual_seed(draws.torch_seed)  # dropout reads the global generator
        losses, correct = epochs.run(
            side.rows[draws.order], draws.matrices, side.target[draws.order], on_step, before_step
        )
    n = len(draws.order)
    return float((losses.cpu().numpy().astype(np.float64) * draws.sizes).sum() / n), int(correct) / n


def _predict(
    model: nn.Module,
    batches: Batches,
    side: _Side,
    *,
    recipe: Recipe,
    device: Device,
    views: int,
    ranks: Ranks,
) -> Predictions:
    mine = side.rows[ranks.share(len(side.rows))]
    probs = np.empty((0, len(side.classes)))
    if len(mine):
        probs = predict_probs(model, batches, mine, device=device, view=recipe.eval_view, turned=views > 1)
    probs = np.concatenate(ranks.gathered(probs))
    probs = probs.astype(np.float32).astype(np.float64)  # as the file will hold them
    return Predictions(side.classes, side.paths, side.target, probs, probs.argmax(axis=1))
