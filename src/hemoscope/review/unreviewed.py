"""Which of a model's confusions are left in the cells that nobody has looked at.

Who looks at the doubtful cells first finds most of the model's errors, and what is left is better than the model is on
average. With the confusion of all validation cells the interval would then hold less often than it says. So the share
of each confusion that is left is taken from the probabilities: of the cells called p, which part of the probability
of t lies on those that nobody has looked at. Without a review that is all of it, and of cells chosen by chance it is
their share; only which errors are left hangs on the probabilities, never how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hemoscope.differential.composition import Drawn, drawn, is_known
from hemoscope.records import FloatArray, IntArray
from hemoscope.review.cells import Cell
from hemoscope.review.state import State

__all__ = [
    "CHAINS",
    "KEEP",
    "SWEEPS",
    "Sides",
    "counted",
    "draw_slide",
    "known",
    "posterior_probs",
    "shares_left",
    "sides_of",
]

CHAINS, SWEEPS, KEEP = 400, 16, 5


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """The cells of a slide that count, as arrays, the model's side and the readers' side.

    Attributes:
        cells: Their numbers, shape (N,).
        pred: Predicted class, shape (N,).
        probs: Calibrated probabilities, shape (N, C).
        called: The model alone would count it: it is not unknown, shape (N,).
        reviewed: A person has confirmed or moved it, shape (N,).
        place: The class a person put it into, shape (N,); -1 where no person has, or it is not classed.
    """

    cells: IntArray
    pred: IntArray
    probs: FloatArray
    called: NDArray[np.bool_]
    reviewed: NDArray[np.bool_]
    place: IntArray

    @property
    def unreviewed(self) -> NDArray[np.bool_]:
        """Counted as the model says, shape (N,)."""
        return self.called & ~self.reviewed


def sides_of(cells: Sequence[Cell], state: State) -> Sides:
    """Return the cells that the state holds, as arrays; in a blind reading no cell counts before it is placed."""
    index = {name: i for i, name in enumerate(state.classes)}
    held = [state.held[cell.cell] for cell in cells]
    n, c = len(cells), len(state.classes)
    blind = np.full(n, state.blind)
    return Sides(
        cells=np.array([cell.cell for cell in cells], dtype=np.int64),
        pred=np.array([index[cell.pred] for cell in cells], dtype=np.int64),
        probs=np.array([cell.probs for cell in cells], dtype=np.float64).reshape(n, c),
        called=np.array([cell.status != "unknown" for cell in cells], dtype=bool) & ~blind,
        reviewed=np.array([each.reviewed for each in held], dtype=bool),
        place=np.array([index.get(each.place, -1) if each.reviewed else -1 for each in held], dtype=np.int64),
    )


def posterior_probs(sides: Sides, confusion: IntArray) -> FloatArray:
    """Return probabilities for a slide, whose classes come in other shares than the validation cells', shape (N, C).

    Source:
        Saerens, Latinne and Decaestecker, Neural Computation 14 (2002) 21-41, equation 2.4; the shares are those counted.
    """
    weighted = sides.probs * ((counted(sides) + 0.5) / (confusion.sum(axis=1) + 0.5))
    return weighted / weighted.sum(axis=1, keepdims=True)


def shares_left(sides: Sides, confusion: IntArray) -> FloatArray:
    """Return which share of the cells of a true class and a prediction nobody has looked at, shape (C, C), [true, predicted].

    Args:
        sides: The slide's cells.
        confusion: Validation counts[true, predicted], shape (C, C); its rows are the prior of the probabilities.
    """
    c = confusion.shape[0]
    all_of, left = np.zeros((c, c)), np.zeros((c, c))
    probs = posterior_probs(sides, confusion)
    np.add.at(all_of, sides.pred[sides.called], probs[sides.called])
    np.add.at(left, sides.pred[sides.unreviewed], probs[sides.unreviewed])
    return np.divide(left, all_of, out=np.ones((c, c)), where=all_of > 0).clip(0, 1).T


def counted(sides: Sides) -> IntArray:
    """Return the cells a class: where a person put them, otherwise as predicted, shape (C,)."""
    c = sides.probs.shape[1]
    return np.bincount(sides.pred[sides.unreviewed], minlength=c) + known(sides)


def known(sides: Sides) -> IntArray:
    """Return the cells a class that persons put there, shape (C,)."""
    return np.bincount(sides.place[sides.place >= 0], minlength=sides.probs.shape[1])


def draw_slide(sides: Sides, confusion: IntArray, *, seed: int = 0) -> Drawn | None:
    """Draw the true composition of a slide of which some cells were reviewed.

    Returns:
        Draws; None where cells are left that nobody has looked at, and nobody knows how the model errs on them.
    """
    if sides.unreviewed.any() and not is_known(confusion):
        return None
    left = shares_left(sides, confusion)
    unreviewed = np.bincount(sides.pred[sides.unreviewed], minlength=confusion.shape[0])
    return _drawn(
        tuple(unreviewed.tolist()), tuple(known(sides).tolist()), left.tobytes(), confusion.tobytes(), seed
    )


@lru_cache(maxsize=64)  # 16 MB
def _drawn(
    unreviewed: tuple[int, ...], sure: tuple[int, ...], left: bytes, confusion: bytes, seed: int
) -> Drawn:
    """The model's side of a slide is asked for after every command, and does not change."""
    c = len(unreviewed)
    return drawn(
        unreviewed,
        np.frombuffer(confusion, dtype=np.int64).reshape(c, c),
        known=sure,
        left=np.frombuffer(left).reshape(c, c),
        draws=CHAINS,
        sweeps=SWEEPS,
        keep=KEEP,
        seed=seed,
    )
