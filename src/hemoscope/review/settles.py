"""How many more cells would settle a class whose interval straddles a limit of its reference range.

What more cells bring is reckoned from the variance of the share. The part of every cell alone, sampling and which of
them the model gets wrong, shrinks with their number. The part that all cells have in common, how often the model
errs, does not: where it is too large, no number of cells that only the model reads will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hemoscope.differential.composition import Drawn, endless
from hemoscope.differential.count import CellShare, Differential
from hemoscope.records import FloatArray, IntArray
from hemoscope.review.unreviewed import Sides

__all__ = ["Settles", "taken_by_review", "what_settles"]

COMMON_DRAWS = 200
MOST = 100_000  # cells; more than anybody counts
MORE = np.unique(np.concatenate([[0], np.geomspace(1, MOST, 600).round()])).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Settles:
    """What would settle a class whose interval straddles a limit of its range, if its share stays what it is.

    Attributes:
        name: The class.
        limit: The limit, cells for each white cell.
        more_cells: White cells to count beyond those there are, read by the model alone; None where no number would
            do, and in a blind reading.
        more_reviewed: The same where a person looks at every cell, the present ones too; 0 where looking at these would
            do, None where no number would.
    """

    name: str
    limit: float
    more_cells: int | None
    more_reviewed: int | None


@dataclass(frozen=True, slots=True)
class _Share:
    """What is known of a class's share: in the white cells, or of a class counted apart in its own cells and the white ones.

    Attributes:
        n: Cells among which it is, expected.
        rate: Share of them, expected.
        prior: How many cells the prior weighs.
        mean: Mean of the posterior.
        by_cells: Its variance, as far as the cells' true classes would take it away.
        by_sampling: The rest of it.
    """

    n: float
    rate: float
    prior: float
    mean: float
    by_cells: float
    by_sampling: float

    @property
    def variance(self) -> float:
        return self.by_cells + self.by_sampling


def taken_by_review(found: Differential, classes: Sequence[str], drawn: Drawn) -> dict[str, float]:
    """Return which share of every class's variance would go if a person looked at every cell; sampling stays.

    Args:
        found: The count.
        classes: In the model's order, length C.
        drawn: Draws of what is true of the slide.
    """
    shares = {each.name: _share(drawn.true, *_among(found, classes, each)) for each in found.shares}
    return {name: each.by_cells / each.variance for name, each in shares.items()}


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
    wanted = [(each, limit) for each in found.shares for limit in _straddled(each)]
    if not wanted or not found.n_white:
        return ()
    predicted = np.bincount(sides.pred[sides.called], minlength=len(classes))
    limits = _endless(tuple(predicted.tolist()), confusion.tobytes())
    told = []
    for each, limit in wanted:
        i, among = _among(found, classes, each)
        model, now = _share(before.true, i, among), _share(after.true, i, among)
        common = float((limits[:, i] / limits[:, among].sum(axis=1)).var())
        alone = max(model.n * (model.variance - common), now.rate * (1 - now.rate))
        unreviewed = int(np.isin(sides.pred[sides.unreviewed], among).sum())
        apart = each.role != "white"
        x = MORE / ((1 - now.rate) if apart else 1.0)  # white cells bring those of the class along
        both = now.n + x
        mean = (now.n * now.mean + x * now.rate) / both
        variance = now.variance * now.n**2 + alone * x + common * (x**2 + 2 * unreviewed * x)
        size = np.maximum(mean * (1 - mean) * both**2 / variance - 1, 1e-3)
        hits = now.rate * both + 0.5
        line = limit / (1 + limit) if apart else limit
        high = now.rate < line
        told.append(
            Settles(
                each.name,
                limit,
                _first(_beyond(mean * size, (1 - mean) * size, line, high=high), least=1)
                if sides.called.any()
                else None,
                _first(_beyond(hits, both + now.prior - hits, line, high=high), least=0 if unreviewed else 1),
            )
        )
    return tuple(told)


@lru_cache(maxsize=64)
def _endless(predicted: tuple[int, ...], confusion: bytes) -> FloatArray:
    """The model's side of a slide is asked for after every command, and does not change."""
    c = len(predicted)
    return endless(predicted, np.frombuffer(confusion, dtype=np.int64).reshape(c, c), draws=COMMON_DRAWS)


def _straddled(share: CellShare) -> tuple[float, ...]:
    """The limits of the reference range that lie within the interval."""
    low, high = share.interval
    return tuple(limit for limit in share.reference or () if limit > 0 and low < limit < high)


def _among(found: Differential, classes: Sequence[str], share: CellShare) -> tuple[int, list[int]]:
    """A class, and the classes among which its share is."""
    white = [classes.index(each.name) for each in found.shares if each.role == "white"]
    i = classes.index(share.name)
    return i, white if share.role == "white" else [*white, i]


def _share(true: IntArray, i: int, among: list[int]) -> _Share:
    """What draws of the true cells, shape (N, C), say of a class; the prior is Jeffreys'."""
    prior = len(among) / 2
    n = true[:, among].sum(axis=1)
    mean = (true[:, i] + 0.5) / (n + prior)
    return _Share(
        n=float(n.mean()),
        rate=float(true[:, i].mean() / max(n.mean(), 1)),
        prior=prior,
        mean=float(mean.mean()),
        by_cells=float(mean.var()),
        by_sampling=float((mean * (1 - mean) / (n + prior + 1)).mean()),
    )


def _beyond(a: FloatArray, b: FloatArray, limit: float, *, high: bool) -> FloatArray:
    """Probability of beta distributions on the far side of the limit."""
    from scipy.special import betainc

    below = betainc(a, b, limit)
    return 1 - below if high else below


def _first(beyond: FloatArray, *, least: int) -> int | None:
    enough = np.flatnonzero((beyond <= 0.025) & (least <= MORE))
    return int(MORE[enough[0]]) if enough.size else None
