"""The training loop, read from top to bottom: prepare, epochs, test predictions once, run folder.

Every epoch draws its order, its augmentation and its dropout from (seed, epoch) alone, so a run that
was killed and started again ends with the numbers of a run that never was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hemoscope.data.augment import Augmentation, draw_affine
from hemoscope.data.canvas import Canvas
from hemoscope.errors import TrainingError
from hemoscope.models.build import build
from hemoscope.models.weights import load_imagenet
from hemoscope.records import FloatArray, IntArray, Predictions, Side
from hemoscope.runs import (
    DONE,
    HISTORY,
    MODEL,
    PREDICTIONS,
    EpochRow,
    format_history,
    write_predictions,
    write_text,
)
from hemoscope.training.card import RunCard
from hemoscope.training.checkpoint import FILE, load_checkpoint, save_checkpoint, save_model
from hemoscope.training.device import Device
from hemoscope.training.job import Job
from hemoscope.training.step import Batches, predict_probs, train_step

__all__ = ["Watcher", "fit"]

# The loss of guessing is ln(classes). A hundred times that is not a bad start but a lost run.
DIVERGED = 100.0
CHECK_EVERY = 50  # steps between two looks at the losses; a look makes a GPU wait


class Watcher:
    """What a caller may want to hear of; this one listens to nothing."""

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that a training step ended."""

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Hear that an epoch ended."""


@dataclass
class Clock:
    """Seconds spent on data, steps and validation."""

    seconds: dict[str, float] = field(default_factory=lambda: {"data_s": 0.0, "step_s": 0.0, "val_s": 0.0})

    def add(self, name: str, start: float) -> float:
        """Book the time since `start`; return the time now."""
        now = time.perf_counter()
        self.seconds[name] += now - start
        return now


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
    recipe = job.recipe
    model = _network(job, card).to(device.torch_device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    history, trained_s = load_checkpoint(folder, model=model, optimizer=optimizer, digest=job.digest)
    card.begin(device=device, model=model, resumed_at=len(history))
    batches = Batches(canvas, job.sides_px[0], recipe.fill, device.torch_device)
    sides = {side: _targets(job, canvas, side) for side in ("train", "val", "test")}
    clock, val = Clock(), None

    for epoch in range(len(history) + 1, recipe.epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(epoch)
        start = time.perf_counter()
        loss, accuracy, n = _train_epoch(
            model,
            optimizer,
            batches,
            sides["train"],
            job=job,
            epoch=epoch,
            device=device,
            clock=clock,
            watcher=watcher,
        )
        epoch_s = time.perf_counter() - start
        trained_s += epoch_s
        start = time.perf_counter()
        val = _predict(model, batches, sides["val"], job=job, device=device)
        clock.add("val_s", start)
        _check_alive(val, job, epoch)
        val_loss, val_accuracy = _loss_and_accuracy(val)
        row = EpochRow(epoch, recipe.lr_at(epoch), loss, accuracy, val_loss, val_accuracy, n / epoch_s)
        if recipe.select_epoch == "best_val" and val_accuracy > max(
            (r.val_accuracy for r in history), default=-1.0
        ):
            save_model(folder / f"best.{MODEL}", model, {"epoch": str(epoch)})
        history.append(row)
        save_checkpoint(
            folder, model=model, optimizer=optimizer, history=history, digest=job.digest, train_s=trained_s
        )
        write_text(folder / HISTORY, format_history(history))
        watcher.on_epoch(row, recipe.epochs)

    if recipe.select_epoch == "best_val":
        _load_best(model, folder)
        val = None
    if val is None:  # resumed after the last epoch, or another epoch's weights were chosen
        val = _predict(model, batches, sides["val"], job=job, device=device)
    start = time.perf_counter()
    test = _predict(model, batches, sides["test"], job=job, device=device)  # once, and nowhere else
    clock.seconds["test_s"] = time.perf_counter() - start
    write_text(folder / HISTORY, format_history(history))
    write_predictions(folder / PREDICTIONS, {"val": val, "test": test})
    save_model(folder / MODEL, model, {"arch": job.arch, "digest": job.digest})
    images = len(sides["train"].rows) * recipe.epochs
    card.finish(val=val, test=test, seconds=clock.seconds, train_s=trained_s, images=images)
    write_text(folder / DONE, f"{job.digest}\n")
    (folder / FILE).unlink(missing_ok=True)
    (folder / f"best.{MODEL}").unlink(missing_ok=True)
    for part in folder.glob(".*.part"):  # of processes that were killed while they wrote
        part.unlink()


@dataclass(frozen=True)
class _SideData:
    paths: tuple[str, ...]
    rows: IntArray
    target: IntArray


def _targets(job: Job, canvas: Canvas, side: Side) -> _SideData:
    rows = job.split.side(side)
    index = {name: target for target, name in enumerate(job.manifest.classes)}
    paths = tuple(row.path for row in rows)
    target = np.array([index[row.class_name] for row in rows], dtype=np.int64)
    return _SideData(paths, canvas.rows(list(paths)), target)


def _network(job: Job, card: RunCard) -> nn.Module:
    state = None
    if job.recipe.weights == "imagenet":
        state, weights, digest = load_imagenet(job.arch)
        card.pretrained(weights, digest)
    return build(
        job.arch, len(job.manifest.classes), head=job.recipe.head, seed=job.seed, imagenet_state=state
    )


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    side: _SideData,
    *,
    job: Job,
    epoch: int,
    device: Device,
    clock: Clock,
    watcher: Watcher,
) -> tuple[float, float, int]:
    """Return mean loss, accuracy (both on augmented images, as they came) and images seen."""
    recipe = job.recipe
    rng = np.random.default_rng([job.seed, epoch])
    order = _order(side.target, rng, recipe.sampler)
    if len(order) % recipe.batch_size == 1:
        order = order[:-1]  # batch normalisation cannot learn from a batch of one
    matrices = draw_affine(
        len(order),
        rng,
        canvas_px=batches.canvas.canvas_px,
        image_px=batches.image_px,
        augmentation=_augmentation(job),
    )
    target = torch.from_numpy(side.target[order]).to(device.torch_device)
    class_weights = (
        _class_weights(side.target, job).to(device.torch_device) if recipe.class_weights != "none" else None
    )
    starts = range(0, len(order), recipe.batch_size)
    losses = torch.zeros(len(starts), device=device.torch_device)
    correct = torch.zeros((), dtype=torch.int64, device=device.torch_device)
    sizes = np.array([min(recipe.batch_size, len(order) - first) for first in starts])
    model.train()
    devices = [device.torch_device] if device.torch_device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.integers(2**63)))  # dropout reads the global generator
        for step, first in enumerate(starts):
            here = slice(first, first + recipe.batch_size)
            start = time.perf_counter()
            images = batches.images(side.rows[order[here]], matrices[here])
            start = clock.add("data_s", start)
            losses[step], right = train_step(
                model,
                optimizer,
                images,
                target[here],
                device=device,
                class_weights=class_weights,
                aux_weight=recipe.aux_weight,
            )
            correct += right
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == len(starts):
                _check_losses(losses[: step + 1], job, epoch)
            clock.add("step_s", start)
            watcher.on_step(epoch, step + 1, len(starts))
    mean_loss = float((losses.cpu().numpy().astype(np.float64) * sizes).sum() / len(order))
    return mean_loss, int(correct) / len(order), len(order)


def _augmentation(job: Job) -> Augmentation:
    recipe = job.recipe
    return Augmentation(recipe.rotation_deg, recipe.hflip, recipe.vflip, recipe.crop)


def _order(target: IntArray, rng: np.random.Generator, sampler: str) -> IntArray:
    if sampler == "shuffle":
        return rng.permutation(len(target))
    share = 1.0 / np.bincount(target)[target]  # every class is drawn equally often
    return rng.choice(len(target), size=len(target), p=share / share.sum())


def _class_weights(target: IntArray, job: Job) -> Tensor:
    counts = np.bincount(target, minlength=len(job.manifest.classes))
    return torch.tensor(len(target) / (len(counts) * counts), dtype=torch.float32)


def _check_losses(losses: Tensor, job: Job, epoch: int) -> None:
    values = losses.cpu().numpy()
    limit = DIVERGED * np.log(len(job.manifest.classes))
    bad = np.flatnonzero(~(values < limit))  # NaN compares false
    if bad.size:
        step = int(bad[0])
        raise TrainingError(
            f"{job.name} diverged in epoch {epoch}, step {step + 1}: the loss is {values[step]:.4g}, expected less "
            f"than {limit:.0f}; try a lower rate (--set lr={job.recipe.lr / 10:g}) or --set precision=fp32"
        )


def _check_alive(val: Predictions, job: Job, epoch: int) -> None:
    # A ReLU after the classifier (SqueezeNet's) or a last layer without input passes no gradient back.
    if len(val) > 1 and np.ptp(val.probs, axis=0).max() == 0:
        raise TrainingError(
            f"{job.name} died in epoch {epoch}: it gives all {len(val):,} validation images the same probabilities "
            f"and cannot learn any more; try a lower rate (--set lr={job.recipe.lr / 10:g}) or another seed"
        )


def _predict(model: nn.Module, batches: Batches, side: _SideData, *, job: Job, device: Device) -> Predictions:
    probs = predict_probs(model, batches, side.rows, device=device, view=job.recipe.eval_view)
    probs = probs.astype(np.float32).astype(np.float64)  # as the file will hold them
    return Predictions(job.manifest.classes, side.paths, side.target, probs, probs.argmax(axis=1))


def _loss_and_accuracy(predictions: Predictions) -> tuple[float, float]:
    truth: FloatArray = predictions.probs[np.arange(len(predictions)), predictions.target]
    loss = -np.log(np.maximum(truth, np.finfo(np.float32).tiny)).mean()
    return float(loss), 1 - predictions.n_errors / len(predictions)


def _load_best(model: nn.Module, folder: Path) -> None:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / f"best.{MODEL}"))
