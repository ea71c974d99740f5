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

from hemoscope.adapt.assumed import loses_lean
from hemoscope.adapt.batch_norm import norm_layers, recompute, set_momentum
from hemoscope.adapt.look import Looked, images_of, look
from hemoscope.adapt.objective import Taught, adaptation_loss
from hemoscope.adapt.pseudo import (
    PseudoLabels,
    balanced_weights,
    drawn,
    pseudo_labels,
    smoothed,
    there,
)
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
        classes: Their names.
        lean: What its logits lean by, shape (C,), until the batch statistics are new; None: nowhere.
    """

    network: Network
    canvas: Canvas
    unlabelled: IntArray
    labelled: IntArray
    target: IntArray
    prior: FloatArray
    classes: tuple[str, ...]
    lean: FloatArray | None = None

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

LEAST_DRAWN, STATISTICS_BATCH = 256, 64


def with_new_statistics(lesson: Lesson, recipe: AdaptRecipe) -> Network:
    """Return a copy of the network with batch statistics of the cells, before any step; its answers lean nowhere any more.

    A network learnt its own statistics from classes as they were mixed there. So cells are drawn such that every class has
    the same part in the new ones, by what the network takes them for; a few times, for it then takes fewer wrongly. Until then a
    lean to what is common in blood is what is known of them; from then on they say it themselves.
    """
    network, rows = lesson.network, lesson.rows
    for turn in range(recipe.bn_rounds):
        seen = look(network, lesson.canvas, rows, views=recipe.turns)
        posterior = _told(estimate_shares(seen.mean_probs, lesson.prior).posterior, lesson)
        rng = np.random.default_rng(turn)
        chosen = rng.choice(rows, max(len(rows), LEAST_DRAWN), p=balanced_weights(posterior))
        model = copy.deepcopy(lesson.network.model)
        batches = images_of(lesson.network, lesson.canvas, chosen, batch_size=STATISTICS_BATCH)
        recompute(model, batches, share=recipe.bn, device=network.device)
        network = replace(lesson.network, model=model, known=None)
    _without_lean(network, lesson.lean)
    return network


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
    labels_given = bool(len(lesson.labelled))
    norm_only = recipe.learns == "norm" and not labels_given and bool(norm_layers(lesson.network.model))
    recipe = recipe.with_labels() if labels_given else recipe.for_norm() if norm_only else recipe
    begun = with_new_statistics(lesson, recipe)
    seen = look(begun, lesson.canvas, lesson.rows, views=recipe.turns)
    before = seen.mean_probs.argmax(axis=1)
    open_ = there(seen.mean_probs, lesson.classes, sure=recipe.sure, known=np.unique(lesson.target).tolist())
    model, device = begun.model, begun.device.torch_device
    set_momentum(model, recipe.bn_momentum)
    head = model.get_submodule(begun.head)
    set_learning(model, head, norm_only=norm_only, head_learns=labels_given)
    rates = recipe.training
    averaged = Averaged(model, rates.ema)
    state = State(model, make_optimizer(model, rates, heads=[head], device=device), averaged)
    kept, pace = replace(begun, model=averaged.model), Pace()
    file = folder / f"{digest[:16]}.safetensors"
    about = read_state(file, state, digest=digest) or {"epoch": 0, "probs": seen.mean_probs}
    probs = np.asarray(about["probs"])
    if about["epoch"]:
        seen = look(kept, lesson.canvas, lesson.rows, views=recipe.turns)
    for epoch in range(about["epoch"] + 1, rates.epochs + 1):
        shares = estimate_shares(probs, lesson.prior).shares
        labels = _labels(probs, seen, lesson, open_, recipe, epoch)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            loss = _epoch(lesson, begun, state, labels, recipe, seed=seed, epoch=epoch)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {epoch} is no number any more; the model stays as it was. Try another --seed"
            )
        seen = look(kept, lesson.canvas, lesson.rows, views=recipe.turns)
        probs = recipe.memory * probs + (1 - recipe.memory) * seen.mean_probs
        start = time.monotonic()
        if pace.due(start) or epoch == rates.epochs:
            write_state(file, state, {"digest": digest, "epoch": epoch, "probs": probs.tolist()})
            pace.saved(start, time.monotonic())
        if tell:
            used = float(labels.used.mean()) if len(labels.used) else float("nan")
            same = float((seen.mean_probs.argmax(axis=1) == before).mean())
            tell(EpochTold(epoch, rates.epochs, shares, used, same, loss))
    return kept


def set_learning(model: nn.Module, head: nn.Module, *, norm_only: bool, head_learns: bool) -> None:
    """Say which parameters learn. The head, by which a class is known, learns only where there are labels.

    Args:
        model: All of them.
        head: Its last layer.
        norm_only: Of the rest only the scale and shift of batch normalisation learn. So few parameters can hardly forget what a
            class is, and two seeds end alike more often.
        head_learns: Whether there are labels.

    Source:
        Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021, for what learns.
    """
    model.requires_grad_(not norm_only)
    for layer in norm_layers(model):
        layer.requires_grad_(True)
    head.requires_grad_(head_learns)


def _without_lean(network: Network, lean: FloatArray | None) -> None:
    if lean is not None and loses_lean(network):
        bias = network.model.get_parameter(f"{network.head}.bias")
        with torch.no_grad():
            bias -= torch.from_numpy(lean).to(bias)


def _told(probs: FloatArray, lesson: Lesson) -> FloatArray:
    """Return probabilities with those of labelled cells replaced by what they are, shape (N + M, C)."""
    told = probs.copy()
    told[len(lesson.unlabelled) :] = np.eye(probs.shape[1])[lesson.target]
    return told


def _labels(
    probs: FloatArray, seen: Looked, lesson: Lesson, classes: list[int], recipe: AdaptRecipe, epoch: int
) -> PseudoLabels:
    """Return what each unlabelled cell is taken for, and which are learnt from in this epoch."""
    n, epochs = len(lesson.unlabelled), recipe.training.epochs
    if not n or not classes:
        return PseudoLabels(np.zeros(n, np.int64), np.zeros(n, bool))
    near = smoothed(seen.mean_features, _told(probs, lesson), recipe.neighbours)[:n]
    share = recipe.first + (recipe.last - recipe.first) * (epoch - 1) / max(1, epochs - 1)
    return pseudo_labels(near, classes, share=share, least=recipe.least)


def _epoch(
    lesson: Lesson,
    network: Network,
    state: State,
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
    steps = max(1, round(len(lesson.rows) / recipe.training.batch_size))
    chosen, free = _pseudo_draws(labels, network, recipe, steps, seed=seed, epoch=epoch)
    told = _labelled_draws(lesson, network, recipe, steps, seed=seed, epoch=epoch)
    torch.manual_seed(free.torch_seed if free else told.torch_seed if told else seed)
    state.model.train()
    losses = []
    for step in range(steps):
        set_rate(state.optimizer, recipe.training.lr_at(epoch, (step + 0.5) / steps))
        a, b = _part(free, step, recipe.training.batch_size), _part(told, step, recipe.labelled_batch)
        one, other = chosen[a[0]], b[0] % max(1, len(lesson.labelled))
        rows = np.concatenate([lesson.unlabelled[one], lesson.labelled[other]])
        images = looks(batches.images(rows, np.concatenate([a[1], b[1]])))
        taught = Taught(
            torch.from_numpy(labels.target[one]).to(device), torch.from_numpy(lesson.target[other]).to(device)
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


def _pseudo_draws(
    labels: PseudoLabels, network: Network, recipe: AdaptRecipe, steps: int, *, seed: int, epoch: int
) -> tuple[IntArray, EpochDraws | None]:
    """Draw the cells of an epoch's steps that pseudo-labels are learnt from, and how each is shown."""
    if not labels.used.any():
        return np.zeros(0, np.int64), None
    n = steps * recipe.training.batch_size
    chosen = drawn(labels, n, balance=recipe.balance, rng=np.random.default_rng([seed, epoch]))
    return chosen, draw_epoch(
        np.zeros(n, np.int64), recipe.training, seed=seed, epoch=epoch, **_sides(network)
    )


def _labelled_draws(
    lesson: Lesson, network: Network, recipe: AdaptRecipe, steps: int, *, seed: int, epoch: int
) -> EpochDraws | None:
    """Draw labelled cells for each step, the classes equally often; none where there are none."""
    m = len(lesson.labelled)
    if not m:
        return None
    often = np.tile(lesson.target, steps * recipe.labelled_batch // m + 2)
    balanced = recipe.training.model_copy(update={"sampler": "balanced"})
    return draw_epoch(often, balanced, seed=seed, epoch=epoch, **_sides(network))


def _sides(network: Network) -> dict[str, int]:
    return {"canvas_px": network.canvas_px, "image_px": network.image_px}


def _part(draws: EpochDraws | None, step: int, size: int) -> _Part:
    """Return the places and warps of a step's cells; none without draws."""
    if draws is None:
        return np.zeros(0, np.int64), np.zeros((0, 2, 3))
    here = slice(step * size, (step + 1) * size)
    return draws.order[here], draws.matrices[here]
