"""How many more cells would settle a class whose interval straddles a limit of its reference range.

What more cells bring is reckoned from the variance of the share. The part of every cell alone, sampling and which of
them the model gets wrong, shrinks with their number. The part that all cells have in common, how often the model
errs, does not: where it is too large, no number of cells that only the model reads will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemoscope.differential.composition import Drawn, endless
from hemoscope.differential.count import CellShare, Differential
from hemoscope.records import FloatArray, IntArray
from hemoscope.review.unreviewed import Sides, counted

__all__ = ["Settles", "Spread", "settles", "straddled", "taken_by_review", "what_settles"]

COMMON_DRAWS = 200
MOST = 100_000  # cells; more than anybody counts


@dataclass(frozen=True, slots=True)
class Settles:
    """What would settle a class whose interval straddles a limit of its range, if its share stays what it is.

    Attributes:
        name: The class.
        limit: The limit, cells for each white cell.
        more_cells: White cells to count beyond those there are, read by the model alone; None where no number would do.
        more_reviewed: The same where a person looks at every cell, the present ones too; 0 where that alone would do,
            None where no number would do.
    """

    name: str
    limit: float
    more_cells: int | None
    more_reviewed: int | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the variance of a class's share comes from; of a white cell's share, or of one in a class and the white cells.

    Attributes:
        n: Cells among which the share is.
        unreviewed: Those of them that nobody has looked at.
        now: Variance of the share as it stands.
        each: Variance that a cell read by the model alone brings, divided by n where there are n.
        common: Variance that cells read by the model alone have in common.
    """

    n: int
    unreviewed: int
    now: float
    each: float
    common: float


def straddled(share: CellShare) -> tuple[float, ...]:
    """Return the limits of the reference range that lie within the interval."""
    low, high = share.interval
    return tuple(limit for limit in share.reference or () if limit > 0 and low < limit < high)


def settles(share: CellShare, limit: float, spread: Spread) -> Settles:
    """Return how many more cells bring the end of the 95 % interval to the limit.

    Args:
        share: The class.
        limit: A limit of its range, cells for each white cell.
        spread: Where the variance comes from.
    """
    ratio = share.role != "white"  # counted apart: as a share in its own cells and the white ones
    middle, line = ((x / (1 + x) if ratio else x) for x in (share.corrected, limit))
    white = 1 - middle if ratio else 1.0  # white cells among those counted
    more = np.unique(np.concatenate([[0], np.geomspace(1, MOST, 400).round()])).astype(np.int64)
    x = more / white
    both = spread.n + x
    alone = (
        spread.now * spread.n**2 + spread.each * x + spread.common * (x**2 + 2 * spread.unreviewed * x)
    ) / both**2
    sampling = middle * (1 - middle) / (both + 1)
    return Settles(
        share.name,
        limit,
        _first(more, _beyond(middle, alone, line)),
        _first(more, _beyond(middle, sampling, line)),
    )


def taken_by_review(found: Differential, classes: Sequence[str], true: IntArray) -> dict[str, float]:
    """Return which share of every class's variance would go if a person looked at every cell; sampling stays.

    Args:
        found: The count.
        classes: In the model's order, length C.
        true: Draws of the true cells a class, shape (N, C).
    """
    n_white = true[:, _white(found, classes)].sum(axis=1)
    halves = len(_white(found, classes)) / 2  # of Jeffreys' prior
    told = {}
    for share in found.shares:
        a = true[:, classes.index(share.name)] + 0.5
        size = n_white + halves + (0 if share.role == "white" else a)
        mean = a / size
        by_cells, by_sampling = mean.var(), (mean * (1 - mean) / (size + 1)).mean()
        told[share.name] = float(by_cells / (by_cells + by_sampling))
    return told


def what_settles(
    found: Differential,
    classes: Sequence[str],
    sides: Sides,
    confusion: IntArray,
    before: Drawn,
    after: Drawn,
) -> tuple[Settles, ...]:
    """Return what would settle every class whose interval straddles a limit of its range.

    Args:
        found: The count after review.
        classes: In the model's order, length C.
        sides: The slide's cells.
        confusion: Validation counts[true, predicted], shape (C, C).
        before: Draws by the model alone.
        after: Draws after review.
    """
    wanted = [(share, limit) for share in found.shares for limit in straddled(share)]
    if not wanted or not found.n_white:
        return ()
    white = _white(found, classes)
    predicted = np.bincount(sides.pred[sides.called], minlength=len(classes))
    limits = endless(predicted, confusion, draws=COMMON_DRAWS, seed=0)
    told = []
    for share, limit in wanted:
        i = classes.index(share.name)
        among = white if share.role == "white" else [*white, i]

        def variance(shares: FloatArray, i: int = i, among: list[int] = among) -> float:
            return float((shares[:, i] / shares[:, among].sum(axis=1)).var())

        common = variance(limits)
        n_model = int(predicted[among].sum())
        each = max(n_model * (variance(before.shares) - common), share.corrected * (1 - share.corrected), 0)
        spread = Spread(
            n=int(counted(sides)[among].sum()),
            unreviewed=int(np.isin(sides.pred[sides.unreviewed], among).sum()),
            now=variance(after.shares),
            each=each,
            common=common,
        )
        told.append(settles(share, limit, spread))
    return tuple(told)


def _beyond(middle: float, variance: FloatArray, limit: float) -> FloatArray:
    """Probability beyond the limit, seen from the middle, of the beta distribution with this mean and variance."""
    from scipy.special import betainc

    size = np.maximum(middle * (1 - middle) / variance - 1, 1e-3)
    below = betainc(middle * size, (1 - middle) * size, limit)
    return 1 - below if limit > middle else below


def _first(more: IntArray, beyond: FloatArray) -> int | None:
    enough = np.flatnonzero(beyond <= 0.025)
    return int(more[enough[0]]) if enough.size else None


def _white(found: Differential, classes: Sequence[str]) -> list[int]:
    return [classes.index(share.name) for share in found.shares if share.role == "white"]
