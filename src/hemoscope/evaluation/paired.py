"""Two models on the same images: is one better, and with which certainty.

Only images that one gets right and the other wrong say anything. Of `a` that only the first gets right and `b` that only
the second does, McNemar's exact test asks how odd that is between equals; the posterior asks which is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "POWER",
    "chance_better",
    "chance_of_no_better",
    "discordant",
    "holm",
    "images_needed",
    "mcnemar",
    "mcnemar_power",
    "together",
]

POWER = 0.8  # chance to tell two models apart that a count of images is given for


def discordant(right: NDArray[np.bool_]) -> IntArray:
    """Return how many images the row's model gets right and the column's wrong, shape (M, M).

    Args:
        right: Whether each model is right on each image, shape (M, N).
    """
    hits = right.astype(np.float64)
    return np.rint(hits @ (1 - hits).T).astype(np.int64)


def mcnemar(only_first: ArrayLike, only_second: ArrayLike) -> FloatArray:
    """Return the two-sided p-value of McNemar's exact test, elementwise; 1 where no image tells them apart.

    Args:
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.

    Source:
        Q. McNemar, Psychometrika 12 (1947) 153-157; exact by the binomial distribution.

    >>> float(mcnemar(10, 2).round(4))
    0.0386
    """
    from scipy.stats import binom

    first, second = _counts(only_first, only_second)
    few, n = np.minimum(first, second), first + second
    return np.minimum(1.0, 2 * binom.cdf(few, n, 0.5))


def holm(p_values: ArrayLike) -> FloatArray:
    """Return Holm's adjusted p-values: below 0.05 are those that hold with all others, at most one wrong in twenty.

    Args:
        p_values: One a comparison, shape (K,).

    Source:
        S. Holm, Scand. J. Statist. 6 (1979) 65-70.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, raised)
    return adjusted


def chance_better(only_first: ArrayLike, only_second: ArrayLike) -> FloatArray:
    """Return the probability that the first is the better one, elementwise.

    The four outcomes of an image (both right, one, the other, none) have a uniform Dirichlet prior; which is better
    depends on the two discordant ones alone.

    Source:
        Claims Reloaded, arXiv 2505.04720.

    >>> float(chance_better(4, 0).round(4))
    0.9688
    """
    from scipy.stats import beta

    first, second = _counts(only_first, only_second)
    return np.asarray(beta.sf(0.5, first + 1, second + 1))


def chance_of_no_better(fewer: int, more: int, n: int) -> tuple[float, float]:
    """Return the range of the probability that the one with fewer errors is no better, over every possible overlap.

    For results of which only the numbers of errors were published.

    Args:
        fewer: Errors of the one that seems better.
        more: Errors of the other.
        n: Images, the same for both.

    >>> tuple(round(chance, 3) for chance in chance_of_no_better(10, 14, 2056))
    (0.031, 0.212)
    """
    if not 0 <= fewer <= more <= n:
        raise ShapeError(f"expected 0 <= fewer <= more <= n errors; got {fewer}, {more} and {n}")
    shared = np.arange(max(0, fewer + more - n), fewer + 1)
    chances = 1 - chance_better(more - shared, fewer - shared)
    return float(chances.min()), float(chances.max())


def mcnemar_power(n: int, only_first: float, only_second: float, *, alpha: float = 0.05) -> float:
    """Return the chance that McNemar's exact test tells two models apart on n images.

    Args:
        n: Images.
        only_first: Share of images that only the first gets right.
        only_second: Share of images that only the second gets right.
        alpha: Level of the test.

    >>> round(mcnemar_power(2056, 0.004, 0.002), 2)
    0.14
    """
    from scipy.stats import binom

    both = only_first + only_second
    if not (only_first >= 0 and only_second >= 0 and 0 < both <= 1):
        raise ShapeError(
            f"expected two shares that sum to at most 1 and more than 0; got {only_first}, {only_second}"
        )
    low, high = (int(binom.ppf(q, n, both)) for q in (1e-9, 1 - 1e-9))
    m = np.arange(max(low, 1), high + 1)  # discordant images
    critical = binom.ppf(alpha / 2, m, 0.5)  # reject where the smaller count is below it, or at it
    critical = np.where(2 * binom.cdf(critical, m, 0.5) <= alpha, critical, critical - 1)
    share = only_first / both
    rejected = binom.cdf(critical, m, share) + binom.sf(m - critical - 1, m, share)
    return float((binom.pmf(m, n, both) * rejected).sum())


def images_needed(only_first: float, only_second: float, *, alpha: float = 0.05) -> int | None:
    """Return about how many images tell two models apart with a chance of `POWER`; None where more than ten million.

    The chance rises in small steps and falls back between them, so that the answer is good to a few percent.

    Args:
        only_first: Share of images that only the first gets right.
        only_second: Share of images that only the second gets right.
        alpha: Level of McNemar's exact test.
    """
    low, high = 1, 2
    while mcnemar_power(high, only_first, only_second, alpha=alpha) < POWER:
        low, high = high, 2 * high
        if high > 10_000_000:
            return None
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        enough = mcnemar_power(middle, only_first, only_second, alpha=alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def together(ranked: Sequence[int], differ: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the longest stretches of a ranking, first and last place, in which no two can be told apart.

    Args:
        ranked: Models, best first.
        differ: Whether two can be told apart, shape (M, M).

    >>> list(together([2, 0, 1], np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=bool)))
    [(0, 1), (1, 2)]
    """
    last = -1
    for first in range(len(ranked)):
        end = first
        while (
            end + 1 < len(ranked)
            and not differ[ranked[end + 1], [ranked[i] for i in range(first, end + 1)]].any()
        ):
            end += 1
        if end > last:
            yield first, end
            last = end


def _counts(first: ArrayLike, second: ArrayLike) -> tuple[IntArray, IntArray]:
    a, b = np.broadcast_arrays(np.asarray(first), np.asarray(second))
    if (
        not (np.issubdtype(a.dtype, np.integer) and np.issubdtype(b.dtype, np.integer))
        or (a < 0).any()
        or (b < 0).any()
    ):
        raise ShapeError("discordant images are whole numbers from 0")
    return a, b
