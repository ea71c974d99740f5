"""Intervals of scores that are no proportion, by the stratified bootstrap with bias correction and acceleration (BCa).

Images are drawn again within their true classes. Of whatever follows from the confusion matrix such a draw is exactly
a multinomial draw of every row, so that ten thousand cost nothing however many images there are; and leaving one image
out gives at most C² different matrices. The macro AUROC needs the scores: its draw is in `auroc`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ShapeError
from hemoscope.evaluation.intervals import clopper_pearson
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "DRAWS",
    "STATISTICS",
    "Estimate",
    "balanced_accuracy",
    "balanced_estimate",
    "bca",
    "cohens_kappa",
    "intervals_of",
    "macro_precision",
    "macro_specificity",
    "mcc",
]

Statistic = Callable[[NDArray[np.integer]], FloatArray]

DRAWS = 10_000
FEW = 10  # images of a class
_IN_HAND = 2**22  # counts that are looked at together


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its 95 % interval; NaN bounds where every draw is the same, as without any error, or the score is undefined."""

    value: float
    low: float
    high: float


def intervals_of(
    confusion: IntArray,
    statistics: Mapping[str, Statistic],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """Return scores of a confusion matrix with their BCa intervals, the true classes as strata.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.
        statistics: Each takes counts, shape (..., C, C), and returns scores, shape (...).
        draws: How many matrices to draw, the same for all.
        seed: Of the draws.
        confidence: Coverage.

    Raises:
        ShapeError: If there is no image, or the counts have another shape.

    Source:
        B. Efron, J. Am. Stat. Assoc. 82 (1987) 171-185; for strata A. C. Davison, D. V. Hinkley, Bootstrap Methods and
        their Application (1997), equation 5.29.
    """
    counts = np.asarray(confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.sum():
        raise ShapeError(
            f"an interval needs counts of shape (C, C) of at least one image; got shape {counts.shape}"
        )
    found = _draw(counts, statistics, draws, np.random.default_rng(seed))
    rows, columns = np.nonzero(counts)
    n = counts.sum(axis=1)[rows]
    told: dict[str, Estimate] = {}
    for name, statistic in statistics.items():
        value = float(statistic(counts))
        if not np.isfinite(value):
            told[name] = Estimate(value, value, value)
            continue
        less = np.concatenate([statistic(some) for some in _without_one(counts)])
        influence = (n - 1) / n * np.nan_to_num(value - less)
        told[name] = bca(value, found[name], influence, weights=counts[rows, columns], confidence=confidence)
    return told


def _without_one(counts: IntArray) -> Iterator[IntArray]:
    """Yield the counts without one image of each kind there is, row by row, some at once, shape (n, C, C)."""
    rows, columns = np.nonzero(counts)
    step = max(1, _IN_HAND // counts.size)
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        less = np.repeat(counts[None], len(rows[here]), axis=0)
        less[np.arange(len(less)), rows[here], columns[here]] -= 1
        yield less


def bca(
    value: float, draws: FloatArray, influence: FloatArray, *, weights: ArrayLike, confidence: float = 0.95
) -> Estimate:
    """Return the BCa interval of a score from its draws and its jackknife.

    Args:
        value: The score of the images themselves.
        draws: The scores of images drawn again, shape (B,).
        influence: (n - 1) / n times what the score loses when one image goes, n images being in its stratum, shape (M,).
        weights: How many images lose as much, shape (M,).
        confidence: Coverage.
    """
    from scipy.special import ndtr, ndtri

    if np.ptp(draws) < 1e-12:  # nothing varies
        return Estimate(value, float("nan"), float("nan"))
    below = (np.mean(draws < value - 1e-12) + np.mean(draws <= value + 1e-12)) / 2  # ties count half
    bias = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    times = np.asarray(weights)
    squares = np.sum(times * influence**2)
    acceleration = np.sum(times * influence**3) / (6 * squares**1.5) if squares > 0 else 0.0
    z = ndtri(0.5 + confidence / 2)
    ends = [ndtr(bias + (bias + end) / (1 - acceleration * (bias + end))) for end in (-z, z)]
    low, high = np.quantile(draws, ends)
    return Estimate(value, float(low), float(high))


def balanced_accuracy(confusion: NDArray[np.integer]) -> FloatArray:
    """Return the mean sensitivity over the classes that have images; (..., C, C) to (...)."""
    images = confusion.sum(axis=-1)
    return _mean_where(images > 0, _share(_diagonal(confusion), images))


def balanced_estimate(confusion: IntArray, *, draws: int = DRAWS) -> Estimate:
    """Return the balanced accuracy with an interval that holds where classes have few images, too.

    One image drawn again is always itself: the bootstrap takes a class of few, and one without an error or without a hit, as known.
    So where a class has fewer than `FEW`, or nothing or all of it is wrong, it is that of a sum of independent rates, each with Clopper
    and Pearson's.

    Source:
        G. Y. Zou, A. Donner, Stat. Med. 27 (2008) 1693-1702.
    """
    counts = np.asarray(confusion)
    images = counts.sum(axis=1)
    right, n = _diagonal(counts)[images > 0], images[images > 0]
    if (n >= FEW).all() and ((right > 0) & (right < n)).all():
        return intervals_of(counts, {"it": balanced_accuracy}, draws=draws)["it"]
    low, high = np.transpose([clopper_pearson(int(k), int(m)) for k, m in zip(right, n, strict=True)])
    down, up = (float(np.sqrt(((right / n - end) ** 2).sum()) / len(n)) for end in (low, high))
    value = float((right / n).mean())
    return Estimate(value, value - down, value + up)


def macro_precision(confusion: NDArray[np.integer]) -> FloatArray:
    """Return the mean precision over the classes that have images, 0 for one that is never predicted."""
    images, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return _mean_where(images > 0, _share(_diagonal(confusion), said))


def macro_specificity(confusion: NDArray[np.integer]) -> FloatArray:
    """Return the mean one-vs-rest specificity over the classes that have images; NaN where that is one class."""
    images, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    n, right = confusion.sum(axis=(-2, -1))[..., None], _diagonal(confusion)
    mean = _mean_where(images > 0, _share(n - images - said + right, n - images))
    return np.where((images > 0).sum(axis=-1) > 1, mean, np.nan)


def mcc(confusion: NDArray[np.integer]) -> FloatArray:
    """Return Matthews' correlation coefficient for several classes; 0 where one side is a single class.

    Source:
        J. Gorodkin, Comput. Biol. Chem. 28 (2004) 367-374.
    """
    counts = confusion.astype(np.float64)
    true, said, n = counts.sum(axis=-1), counts.sum(axis=-2), counts.sum(axis=(-2, -1))
    together = _diagonal(counts).sum(axis=-1) * n - (true * said).sum(axis=-1)
    apart = (n**2 - (true**2).sum(axis=-1)) * (n**2 - (said**2).sum(axis=-1))
    return _share(together, np.sqrt(apart))


def cohens_kappa(confusion: NDArray[np.integer]) -> FloatArray:
    """Return the agreement with the truth beyond chance; 0 where chance already agrees everywhere.

    Source:
        J. Cohen, Educ. Psychol. Meas. 20 (1960) 37-46.
    """
    counts = confusion.astype(np.float64)
    n = counts.sum(axis=(-2, -1))
    chance = _share((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1), n**2)
    return _share(_share(_diagonal(counts).sum(axis=-1), n) - chance, 1 - chance)


STATISTICS: Mapping[str, Statistic] = {
    "balanced_accuracy": balanced_accuracy,
    "macro_precision": macro_precision,
    "macro_specificity": macro_specificity,
    "mcc": mcc,
    "cohens_kappa": cohens_kappa,
}


def _draw(
    counts: IntArray, statistics: Mapping[str, Statistic], draws: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Return each score of matrices drawn row by row, shape (B,)."""
    found = {name: np.empty(draws) for name in statistics}
    n = counts.sum(axis=1)
    shares = counts / np.maximum(n, 1)[:, None]
    shares[n == 0, 0] = 1  # of none, none is drawn
    step = max(1, _IN_HAND // counts.size)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = np.stack([rng.multinomial(k, p, size) for k, p in zip(n, shares, strict=True)], axis=1)
        for name, statistic in statistics.items():
            found[name][start : start + size] = statistic(drawn)
    return found


def _diagonal(counts: NDArray[np.generic]) -> NDArray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _share(part: NDArray, whole: NDArray) -> FloatArray:
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _mean_where(there: NDArray[np.bool_], rates: FloatArray) -> FloatArray:
    return _share((rates * there).sum(axis=-1), there.sum(axis=-1))
