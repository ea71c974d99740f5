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
from hemoscope.training.checkpoint import FILE, Pace, load_checkpoint, save_checkpoint, save_model
from hemoscope.training.device import Device
from hemoscope.training.epochs import Clock, DeviceEpochs, Epochs, HostEpochs
from hemoscope.training.job import Job
from hemoscope.training.step import Batches, predict_probs, train_step

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
    began = time.perf_counter()
    watcher = watcher or Watcher()
    recipe = job.recipe
    model = _network(job, card).to(device.torch_device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=_learning_rate(recipe.lr, device),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    history, trained_s = load_checkpoint(folder, model=model, optimizer=optimizer, digest=job.digest)
    card.begin(device=device, model=model, resumed_at=len(history))
    batches = Batches(canvas, job.sides_px[0], recipe.fill, device.torch_device)
    sides = {side: _targets(job, canvas, side) for side in ("train", "val", "test")}
    clock, pace, val = Clock(), Pace(), None
    epochs = _epochs(job, model, optimizer, batches, sides["train"], clock, device)

    for epoch in range(len(history) + 1, recipe.epochs + 1):
        _set_learning_rate(optimizer, recipe.lr_at(epoch))
        start = time.perf_counter()
        loss, accuracy, n = _train_epoch(
            model, epochs, batches, sides["train"], job=job, epoch=epoch, watcher=watcher
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
        start = time.perf_counter()
        if epoch == recipe.epochs or pace.due(start):
            save_checkpoint(
                folder,
                model=model,
                optimizer=optimizer,
                history=history,
                digest=job.digest,
                train_s=trained_s,
            )
            pace.saved(start, clock.add("save_s", start))
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
    other_s = time.perf_counter() - began - sum(clock.seconds.values())
    seconds = clock.seconds | {"other_s": other_s}
    card.finish(val=val, test=test, seconds=seconds, train_s=trained_s, images=images, device=device)
    write_text(folder / DONE, f"{job.digest}\n")
    (folder / FILE).unlink(missing_ok=True)
    (folder / f"best.{MODEL}").unlink(missing_ok=True)
    for part in folder.glob(".*.part"):  # of processes that were killed while they wrote
        part.unlink()


def _learning_rate(lr: float, device: Device) -> float | Tensor:
    # A CUDA graph would keep a number as it was at the capture; it reads a tensor at every launch.
    return torch.tensor(lr, device=device.torch_device) if device.torch_device.type == "cuda" else lr


def _set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


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


def _epochs(
    job: Job,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    side: _SideData,
    clock: Clock,
    device: Device,
) -> Epochs:
    recipe = job.recipe
    weights = (
        _class_weights(side.target, job).to(device.torch_device) if recipe.class_weights != "none" else None
    )

    def step(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return train_step(
            model,
            optimizer,
            images,
            target,
            device=device,
            class_weights=weights,
            aux_weight=recipe.aux_weight,
        )

    if device.torch_device.type == "cuda":
        n = _epoch_size(len(side.target), recipe.batch_size)
        return DeviceEpochs(batches, step, n=n, batch_size=recipe.batch_size, clock=clock)
    return HostEpochs(batches, step, batch_size=recipe.batch_size, clock=clock)


def _train_epoch(
    model: nn.Module,
    epochs: Epochs,
    batches: Batches,
    side: _SideData,
    *,
    job: Job,
    epoch: int,
    watcher: Watcher,
) -> tuple[float, float, int]:
    """Return mean loss, accuracy (both on augmented images, as they came) and images seen."""
    recipe = job.recipe
    rng = np.random.default_rng([job.seed, epoch])
    n = _epoch_size(len(side.target), recipe.batch_size)
    order = _order(side.target, rng, recipe.sampler)[:n]
    matrices = draw_affine(
        n, rng, canvas_px=batches.canvas.canvas_px, image_px=batches.image_px, augmentation=_augmentation(job)
    )
    sizes = np.diff([*range(0, n, recipe.batch_size), n])
    on_cuda = batches.device.type == "cuda"

    def on_step(done: int, losses: Tensor) -> None:
        if done == len(sizes) or (done % CHECK_EVERY == 0 and not on_cuda):
            _check_losses(losses, job, epoch)
        watcher.on_step(epoch, done, len(sizes))

    model.train()
    with torch.random.fork_rng(devices=[batches.device] if on_cuda else []):
        torch.manual_seed(int(rng.integers(2**63)))  # dropout reads the global generator
        losses, correct = epochs.run(side.rows[order], matrices, side.target[order], on_step)
    mean_loss = float((losses.cpu().numpy().astype(np.float64) * sizes).sum() / n)
    return mean_loss, int(correct) / n, n


def _epoch_size(n: int, batch_size: int) -> int:
    return n - (n % batch_size == 1)  # batch normalisation cannot learn from a batch of one


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
    # A probability of exactly 1 is another thing: a softmax out of its range, which training can mend.
    if len(val) > 1 and np.ptp(val.probs, axis=0).max() == 0 and val.probs.max() < 1:
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
