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
from hemoscope.training.average import Averaged
from hemoscope.training.batches import Batches
from hemoscope.training.card import RunCard
from hemoscope.training.checkpoint import State
from hemoscope.training.device import Device
from hemoscope.training.draws import EpochDraws, class_weights, draw_epoch, epoch_size
from hemoscope.training.epochs import Clock, DeviceEpochs, Epochs, HostEpochs
from hemoscope.training.job import Job
from hemoscope.training.logbook import Logbook
from hemoscope.training.objective import Objective
from hemoscope.training.rates import make_optimizer, set_rate
from hemoscope.training.recipe import Recipe
from hemoscope.training.step import predict_probs, train_step

__all__ = ["Watcher", "fit"]

# The loss of guessing is ln(classes). A hundred times that is not a bad start but a lost run.
DIVERGED = 100.0
CHECK_EVERY = 50  # steps between two looks at the losses; on CUDA, where a look waits, once an epoch


class Watcher:
    """What a caller may want to hear of; this one listens to nothing."""

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that a training step ended."""

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Hear that an epoch ended."""


def fit(
    job: Job, folder: Path, canvas: Canvas, *, device: Device, card: RunCard, watcher: Watcher | None = None
) -> None:
    """Train one job into its run folder, or go on where an earlier process stopped.

    Args:
        job: What to compute.
        folder: The run folder, held by the caller.
        canvas: Pixels of the job's manifest, of the job's canvas size.
        device: Where and in which precision.
        card: The run card to complete.
        watcher: Hears of steps and epochs.

    Raises:
        TrainingError: If the loss is not finite or diverges (names epoch and step), or if the network
            died: it answers every image alike.
    """
    watcher = watcher or Watcher()
    recipe, clock = job.recipe, Clock()
    model = _network(job, card).to(device.torch_device)
    heads = [model.get_submodule(path) for path in head_paths(get_arch(job.arch), recipe.head)]
    optimizer = make_optimizer(model, recipe, heads=heads, device=device.torch_device)
    averaged = Averaged(model, recipe.ema) if recipe.ema else None
    state = State(model, optimizer, averaged)
    log = Logbook(folder, state, recipe=recipe, digest=job.digest, clock=clock)
    card.begin(device=device, model=model, resumed_at=len(log.history))
    batches = Batches(canvas, job.sides_px[0], recipe.fill, device.torch_device)
    sides = {side: _side(job, canvas, side) for side in SIDES}
    epochs = _epochs(recipe, model, optimizer, averaged, batches, sides["train"], clock, device)

    def predict(side: Side, views: int = 1) -> Predictions:
        said = _predict(state.scored, batches, sides[side], recipe=recipe, device=device, views=views)
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
        except _DivergedError as error:
            raise TrainingError(_diverged(job, epoch, error)) from None
        train_s = time.perf_counter() - start
        start = time.perf_counter()
        val = predict("val")
        clock.add("val_s", start)
        _check_alive(val, job, epoch)
        val_loss, val_accuracy = log_loss(val.probs, val.target), 1 - val.n_errors / len(val)
        rate = len(draws.order) / train_s
        row = EpochRow(epoch, recipe.lr_at(epoch), loss, accuracy, val_loss, val_accuracy, rate)
        log.add(row, train_s)
        watcher.on_epoch(row, recipe.epochs)

    if recipe.select_epoch == "best_val":
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
        job.arch, len(job.manifest.classes), head=job.recipe.head, seed=job.seed, imagenet_state=state
    )


def _epochs(
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averaged: Averaged | None,
    batches: Batches,
    side: _Side,
    clock: Clock,
    device: Device,
) -> Epochs:
    weights = None
    if recipe.class_weights == "balanced":
        weights = class_weights(side.target, len(side.classes)).to(device.torch_device)
    objective = Objective(
        class_weights=weights,
        aux_weight=recipe.aux_weight,
        label_smoothing=recipe.label_smoothing,
        mixup=recipe.mixup,
        device=device.torch_device,
    )

    def step(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        done = train_step(model, optimizer, images, target, objective, device=device)
        if averaged:
            averaged.follow()
        return done

    if device.torch_device.type == "cuda":
        n = epoch_size(len(side.target), recipe.batch_size)
        return DeviceEpochs(batches, step, n=n, batch_size=recipe.batch_size, clock=clock)
    return HostEpochs(batches, step, batch_size=recipe.batch_size, clock=clock)


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
            _check_losses(losses, n_classes=len(side.classes))
        watcher.on_step(epoch, done, steps)

    model.train()
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.manual_seed(draws.torch_seed)  # dropout reads the global generator
        losses, correct = epochs.run(
            side.rows[draws.order], draws.matrices, side.target[draws.order], on_step, before_step
        )
    n = len(draws.order)
    return float((losses.cpu().numpy().astype(np.float64) * draws.sizes).sum() / n), int(correct) / n


class _DivergedError(Exception):
    """The loss of a step, counted from 1, is not below the limit."""

    def __init__(self, step: int, loss: float, limit: float) -> None:
        self.step, self.loss, self.limit = step, loss, limit


def _check_losses(losses: Tensor, n_classes: int) -> None:
    values = losses.cpu().numpy()
    limit = DIVERGED * np.log(n_classes)
    bad = np.flatnonzero(~(values < limit))  # NaN compares false
    if bad.size:
        raise _DivergedError(int(bad[0]) + 1, float(values[bad[0]]), float(limit))


def _diverged(job: Job, epoch: int, error: _DivergedError) -> str:
    return (
        f"{job.name} diverged in epoch {epoch}, step {error.step}: the loss is {error.loss:.4g}, expected less than "
        f"{error.limit:.0f}; try a lower rate (--set lr={job.recipe.lr / 10:g}) or --set precision=fp32"
    )


def _check_alive(val: Predictions, job: Job, epoch: int) -> None:
    # A ReLU after the classifier (SqueezeNet's) or a last layer without input passes no gradient back.
    # A probability of exactly 1 is another thing: a softmax out of its range, which training can mend.
    if len(val) > 1 and np.ptp(val.probs, axis=0).max() == 0 and val.probs.max() < 1:
        raise TrainingError(
            f"{job.name} died in epoch {epoch}: it gives all {len(val):,} validation images the same probabilities "
            f"and cannot learn any more; try a lower rate (--set lr={job.recipe.lr / 10:g}) or another seed"
        )


def _predict(
    model: nn.Module, batches: Batches, side: _Side, *, recipe: Recipe, device: Device, views: int
) -> Predictions:
    probs = predict_probs(model, batches, side.rows, device=device, view=recipe.eval_view, turned=views > 1)
    probs = probs.astype(np.float32).astype(np.float64)  # as the file will hold them
    return Predictions(side.classes, side.paths, side.target, probs, probs.argmax(axis=1))
