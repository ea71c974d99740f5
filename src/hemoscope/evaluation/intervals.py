"""Confidence intervals of proportions: how far a rate counted on so many images may be off.

Wilson's describes a rate: right on average, at times a little short. Whatever promises a bound asks the
binomial distribution itself, as `clopper_pearson` does.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.records import FloatArray

__all__ = ["binomial_cdf", "clopper_pearson", "newcombe", "surely_more", "wilson"]


def wilson(
    successes: ArrayLike, n: ArrayLike, *, confidence: float = 0.95, means: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's score interval of successes / n, elementwise.

    Unlike the normal approximation it stays inside [0, 1] and keeps its width when nothing, or
    everything, succeeded: 282 right of 282 is not certainty.

    Args:
        successes: Whole counts in [0, n], any shape.
        n: Number of trials, a shape that broadcasts with it.
        confidence: Coverage, in (0, 1).
        means: Whether `successes` are means of several counts, which need not be whole.

    Returns:
        Lower and upper bounds, fractions in [0, 1], of the broadcast shape. NaN where n is 0.

    Raises:
        ShapeError: If the counts are not whole or do not satisfy 0 <= successes <= n.
        ConfigError: If `confidence` is not strictly between 0 and 1.

    Source:
        E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.

    >>> low, high = wilson(2046, 2056)
    >>> f"{low:.4f} to {high:.4f}"
    '0.9911 to 0.9974'
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie strictly between 0 and 1, such as 0.95; got {confidence}")
    hits, trials = np.broadcast_arrays(np.asarray(successes), np.asarray(n))
    if not ((means or np.issubdtype(hits.dtype, np.integer)) and np.issubdtype(trials.dtype, np.integer)):
        raise ShapeError(f"an interval needs whole counts; got {hits.dtype} of {trials.dtype}")
    if not ((hits >= 0) & (hits <= trials)).all():
        raise ShapeError("an interval needs 0 <= successes <= n everywhere; got counts outside")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 of 0 is NaN
        middle = (hits + z**2 / 2) / (trials + z**2)
        half = z / (trials + z**2) * np.sqrt(hits * (1 - hits / trials) + z**2 / 4)
    # The ends are the score equation's own roots, which floating point misses by an ulp.
    low = np.where(hits == 0, 0.0 * half, middle - half)
    high = np.where(hits == trials, 1.0 + 0.0 * half, middle + half)
    return low, high


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of successes / n: Rümke's, the one of differential counts.

    Its coverage is never below `confidence`, at the price of being wider than Wilson's.

    Args:
        successes: Cells of the class, in [0, n].
        n: Cells counted. Where it is 0, nothing is known: (0, 1).
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper bound, fractions in [0, 1].

    Raises:
        ShapeError: If the counts do not satisfy 0 <= successes <= n.
        ConfigError: If `confidence` is not strictly between 0 and 1.

    Source:
        C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404-413; C. L. Rümke, Triangle 4 (1960)
        154-158 applied it to differential counts.

    >>> low, high = clopper_pearson(5, 100)
    >>> f"{low:.3f} to {high:.3f}"
    '0.016 to 0.113'
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie strictly between 0 and 1, such as 0.95; got {confidence}")
    if not 0 <= successes <= n:
        raise ShapeError(f"an interval needs 0 <= successes <= n; got {successes} of {n}")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def newcombe(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of a difference of two rates from independent samples, the first less the second.

    Args:
        first: A rate with the ends of its Wilson interval, fractions.
        second: The other.

    Source:
        R. G. Newcombe, Stat. Med. 17 (1998) 873-890, method 10.

    >>> rates = [(k / 2056, *(float(end) for end in wilson(k, 2056))) for k in (2034, 2046)]
    >>> "{:.4f} to {:.4f}".format(*newcombe(*rates))
    '-0.0117 to -0.0004'
    """
    (p, p_low, p_high), (q, q_low, q_high) = first, second
    gap = p - q
    return gap - math.hypot(p - p_low, q_high - q), gap + math.hypot(p_high - p, q - q_low)


def surely_more(successes: int, n: int, before: tuple[int, int]) -> bool:
    """Return whether there are surely more of a kind than there were before, by Fisher's exact test, one-sided at 2.5 %.

    Args:
        successes: Of the kind, in [0, n].
        n: Counted; of none nothing is sure.
        before: The same two of what is compared with, which were counted too and are no truth.

    Source:
        R. A. Fisher, J. R. Stat. Soc. 98 (1935) 39-82.

    >>> surely_more(5, 100, (20, 2000)), surely_more(5, 100, (1, 40))
    (True, False)
    """
    from scipy.stats import hypergeom

    had, of = before
    return n > 0 and bool(hypergeom.sf(successes - 1, n + of, successes + had, n) < 0.025)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return the probability of at most k successes in n trials, 0 < p < 1.

    >>> round(binomial_cdf(0, 299, 0.01), 4), round(binomial_cdf(0, 298, 0.01), 4)
    (0.0495, 0.05)
    """
    from scipy.special import bdtr

    return float(bdtr(k, n, p))
