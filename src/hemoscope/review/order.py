"""In which order a wall shows its cells: the most doubtful first, or those that could still change a flag first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.differential.reference import ReferenceTable
from hemoscope.records import FloatArray
from hemoscope.review.cells import REVIEW, UNIDENTIFIED, Cell
from hemoscope.review.state import State
from hemoscope.review.unreviewed import draw_slide, posterior_probs, sides_of

__all__ = ["by_doubt", "by_influence", "influence"]

RANK = {UNIDENTIFIED: 0, REVIEW: 1}


def by_doubt(cells: Sequence[Cell], state: State) -> list[int]:
    """Return the numbers of all cells: unidentified, for review, accepted, each the smallest margin first; reviewed ones last."""

    def key(cell: Cell) -> tuple[bool, int, float, int]:
        held = state.held[cell.cell]
        return held.reviewed, RANK.get(held.place, 2), cell.margin, cell.cell

    return [cell.cell for cell in sorted(cells, key=key)]


def by_influence(
    cells: Sequence[Cell], state: State, confusion: ArrayLike, reference: ReferenceTable, *, seed: int = 0
) -> list[int]:
    """Return the numbers of all cells, those first that could change a flag most; of equal ones as by doubt.

    Where nobody knows how the model errs, nothing says what a cell could change, and all are as by doubt.

    Args:
        cells: Those that the state holds.
        state: Where they lie.
        confusion: Validation counts[true, predicted] of the model, shape (C, C).
        reference: Ranges of the classes.
        seed: Of the posterior draws.
    """
    most = dict(
        zip(
            (cell.cell for cell in cells),
            influence(cells, state, confusion, reference, seed=seed).tolist(),
            strict=True,
        )
    )
    return sorted(by_doubt(cells, state), key=lambda cell: -most[cell])


def influence(
    cells: Sequence[Cell], state: State, confusion: ArrayLike, reference: ReferenceTable, *, seed: int = 0
) -> FloatArray:
    """Return how far each cell is expected to move the probabilities of being outside the ranges, shape (N,).

    It is 0 once reviewed, and for all cells where nobody knows how the model errs.

    A cell that turns out to be of another class shifts the shares of both. How much of a class's probability lies near
    a limit of its range, so that the shift matters, is its posterior density there; how likely the cell is of the other
    class, its probability.

    Raises:
        ConfigError: If the table does not know a class.
    """
    sides, matrix = sides_of(cells, state), np.asarray(confusion, dtype=np.int64)
    entries = reference.of(state.classes)
    white = np.array([entry.role == "white" for entry in entries])
    drawn = draw_slide(sides, matrix, seed=seed)
    if drawn is None:
        return np.zeros(len(cells))
    ratios = drawn.shares / drawn.shares[:, white].sum(axis=1, keepdims=True)
    density = np.zeros(len(entries))
    for i, entry in enumerate(entries):
        limits = [limit for limit in entry.percent or () if limit > 0 and entry.role != "other"]
        density[i] = sum(_density(ratios[:, i], limit / 100) for limit in limits)
    n_white = max(1.0, float(drawn.true[:, white].sum(axis=1).mean()))
    gains = (np.eye(len(entries)) - np.outer(white, ratios.mean(axis=0))) / n_white  # [a cell more of, ratio]
    comes = np.abs(gains) @ density
    moves = np.abs(gains[None, :, :] - gains[:, None, :]) @ density  # [from, to]
    likely = posterior_probs(sides, matrix)
    unreviewed = ~sides.reviewed
    expected = np.where(
        sides.unreviewed, (likely * moves[sides.pred]).sum(axis=1), (likely * comes).sum(axis=1)
    )
    return np.where(unreviewed, expected, 0.0)


def _density(draws: FloatArray, at: float) -> float:
    """A normal kernel's estimate, of the width of Silverman's rule."""
    width = max(1.06 * float(draws.std()) * len(draws) ** -0.2, 1e-6)
    return float(np.exp(-0.5 * ((draws - at) / width) ** 2).mean() / (width * np.sqrt(2 * np.pi)))
