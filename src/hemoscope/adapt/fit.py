"""One network learns some cells: epochs of pseudo-labels and steps, from the last checkpoint on.

Everything drawn follows from (seed, epoch), so that a fit that was killed ends with the same bytes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hemoscope.adapt.batch_norm import recompute, set_momentum
from hemoscope.adapt.look import Looked, images_of, look
from hemoscope.adapt.objective import Taught, adaptation_loss
from hemoscope.adapt.pseudo import PseudoLabels, pseudo_labels
from hemoscope.adapt.recipe import AdaptRecipe
from hemoscope.adapt.shares import estimate_shares
from hemoscope.data.canvas import Canvas
from hemoscope.errors import TrainingError
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.average import Averaged
from hemoscope.training.batches import Batches
from hemoscope.training.checkpoint import Pace, State, read_state, write_state
from hemoscope.training.draws import EpochDraws, draw_epoch
from hemoscope.training.looks import Looks
from hemoscope.training.rates import make_optimizer, set_rate

__all__ = ["EpochTold", "Lesson", "Tell", "fit", "set_learning", "with_new_statistics"]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a network is to learn.

    Attributes:
        network: Before, as it looks at these cells.
        canvas: Its squares.
        unlabelled: Rows without a label, shape (N,).
        labelled: Rows with one, shape (M,).
        target: Their classes, shape (M,).
        prior: Class shares that the network's probabilities assume, shape (C,).
    """

    network: Network
    canvas: Canvas
    unlabelled: IntArray
    labelled: IntArray
    target: IntArray
    prior: FloatArray

    @property
    def rows(self) -> IntArray:
        """All rows, shape (N + M,)."""
        return np.concatenate([self.unlabelled, self.labelled])


@dataclass(frozen=True, slots=True, eq=False)
class EpochTold:
    """What is told of an epoch when it is done.

    Attributes:
        epoch: Counted from 1.
        epochs: In all.
        shares: Class shares estimated before its steps, shape (C,).
        used: Share of the cells whose pseudo-label was learnt from; NaN without unlabelled cells.
        kept: Share of the cells that were given the same class before anything was learnt.
        loss: Mean over its steps.
    """

    epoch: int
    epochs: int
    shares: FloatArray
    used: float
    kept: float
    loss: float


Tell = Callable[[EpochTold], None]


def with_new_statistics(lesson: Lesson, recipe: AdaptRecipe) -> Network:
    """Return a copy of the network with batch statistics of the cells, before any step."""
    network = lesson.network
    model = copy.deepcopy(network.model)
    batches = images_of(network, lesson.canvas, lesson.rows, batch_size=recipe.training.batch_size)
    recompute(model, batches, share=recipe.bn, device=network.device)
    return replace(network, model=model, known=None)


def fit(
    lesson: Lesson, recipe: AdaptRecipe, *, seed: int, folder: Path, digest: str, tell: Tell | None = None
) -> Network:
    """Return the network after it has learnt, the mean of its weights over the last steps.

    Args:
        lesson: What to learn.
        recipe: How.
        seed: Of everything that is drawn.
        folder: Where its checkpoint is, made if it is not there.
        digest: Of all that the result follows from; a checkpoint of anything else is not used.
        tell: Called after each epoch, and not for those of a checkpoint.

    Raises:
        TrainingError: If the loss is no number any more.
    """
    begun = with_new_statistics(lesson, recipe)
    seen = look(begun, lesson.canvas, lesson.rows, views=recipe.turns)
    before = seen.mean_probs.argmax(axis=1)
    model, device = begun.model, begun.device.torch_device
    set_momentum(model, recipe.bn_momentum)
    head = model.get_submodule(begun.head)
    set_learning(model, head, head_learns=bool(len(lesson.labelled)))
    rates = recipe.training
    averaged = Averaged(model, rates.ema)
    state = State(model, make_optimizer(model, rates, heads=[head], device=device), averaged)
    kept, pace = replace(begun, model=averaged.model), Pace()
    file = folder / f"{digest[:16]}.safetensors"
    about = read_state(file, state, digest=digest) or {"epoch": 0}
    if about["epoch"]:
        seen = look(kept, lesson.canvas, lesson.rows, views=recipe.turns)
    for epoch in range(about["epoch"] + 1, rates.epochs + 1):
        shares, labels = _labels(seen, lesson, recipe)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            loss = _epoch(lesson, begun, state, shares, labels, recipe, seed=seed, epoch=epoch)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {epoch} is no number any more; the model stays as it was. Try another --seed"
            )
        start = time.monotonic()
        if pace.due(start) or epoch == rates.epochs:
            write_state(file, state, {"digest": digest, "epoch": epoch})
            pace.saved(start, time.monotonic())
        seen = look(kept, lesson.canvas, lesson.rows, views=recipe.turns)
        if tell:
            used = float(labels.used.mean()) if len(labels.used) else float("nan")
            same = float((seen.mean_probs.argmax(axis=1) == before).mean())
            tell(EpochTold(epoch, rates.epochs, shares, used, same, loss))
    return kept


def set_learning(model: nn.Module, head: nn.Module, *, head_learns: bool) -> None:
    """Let every parameter learn, those of the head only where there are labels: they are what a class is known by."""
    model.requires_grad_(True)
    head.requires_grad_(head_learns)


def _labels(seen: Looked, lesson: Lesson, recipe: AdaptRecipe) -> tuple[FloatArray, PseudoLabels]:
    """Return the class shares as the network sees them now, and what it takes each unlabelled cell for."""
    n = len(lesson.unlabelled)
    if not n:
        return lesson.prior, PseudoLabels(np.zeros(0, np.int64), np.zeros(0, bool))
    found = estimate_shares(seen.mean_probs[:n], lesson.prior)
    features = seen.mean_features[:n]
    return found.shares, pseudo_labels(features, found.posterior, confidence=recipe.confidence)


def _epoch(
    lesson: Lesson,
    network: Network,
    state: State,
    shares: FloatArray,
    labels: PseudoLabels,
    recipe: AdaptRecipe,
    *,
    seed: int,
    epoch: int,
) -> float:
    """Do every step of an epoch; return the mean loss."""
    device = network.device.torch_device
    batches = Batches(lesson.canvas, network.image_px, network.fill, device)
    looks = Looks(recipe.training, device)
    free, told, steps = _draws(lesson, network, recipe, seed=seed, epoch=epoch)
    torch.manual_seed(free.torch_seed if free else told.torch_seed if told else seed)
    state.model.train()
    if (
        told and epoch <= recipe.labels_first * recipe.training.epochs
    ):  # what it takes cells for may be all wrong
        recipe = recipe.model_copy(update=dict.fromkeys(("entropy", "diversity", "pseudo"), 0.0))
    losses = []
    for step in range(steps):
        set_rate(state.optimizer, recipe.training.lr_at(epoch, (step + 0.5) / steps))
        a, b = _part(free, step, recipe.training.batch_size), _part(told, step, recipe.labelled_batch)
        rows = np.concatenate([lesson.unlabelled[a[0]], lesson.labelled[b[0] % max(1, len(lesson.labelled))]])
        images = looks(batches.images(rows, np.concatenate([a[1], b[1]])))
        taught = Taught(
            torch.from_numpy(labels.target[a[0]]).to(device),
            torch.from_numpy(labels.used[a[0]]).float().to(device),
            torch.from_numpy(shares).float().to(device),
            torch.from_numpy(lesson.target[b[0] % max(1, len(lesson.labelled))]).to(device),
        )
        state.optimizer.zero_grad(set_to_none=True)
        with network.device.autocast():
            out = state.model(images)
        loss = adaptation_loss(out.logits if hasattr(out, "logits") else out, taught, recipe)
        loss.backward()
        state.optimizer.step()
        if state.averaged:
            state.averaged.follow()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


_Part = tuple[IntArray, FloatArray]


def _draws(
    lesson: Lesson, network: Network, recipe: AdaptRecipe, *, seed: int, epoch: int
) -> tuple[EpochDraws | None, EpochDraws | None, int]:
    """Draw an epoch: every unlabelled cell once, and so many labelled ones a step, the classes equally often."""
    sides = {"canvas_px": network.canvas_px, "image_px": network.image_px}
    training, n, m = recipe.training, len(lesson.unlabelled), len(lesson.labelled)
    steps = max(1, round(n / training.batch_size)) if n else -(-m // recipe.labelled_batch)
    free = draw_epoch(np.zeros(n, np.int64), training, seed=seed, epoch=epoch, **sides) if n else None
    told = None
    if m:
        often = np.tile(lesson.target, steps * recipe.labelled_batch // m + 2)
        balanced = training.model_copy(update={"sampler": "balanced"})
        told = draw_epoch(often, balanced, seed=seed, epoch=epoch, **sides)
    return free, told, steps


def _part(draws: EpochDraws | None, step: int, size: int) -> _Part:
    """Return the places and warps of a step's cells; none without draws."""
    if draws is None:
        return np.zeros(0, np.int64), np.zeros((0, 2, 3))
    here = slice(step * size, (step + 1) * size)
    return draws.order[here], draws.matrices[here]
