"""Confidence intervals of proportions: how far a rate counted on so many images may be off."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.records import FloatArray

__all__ = ["wilson"]


def wilson(successes: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's score interval of successes / n, elementwise.

    Unlike the normal approximation it stays inside [0, 1] and keeps its width when nothing, or
    everything, succeeded: 282 right of 282 is not certainty.

    Args:
        successes: Whole counts in [0, n], any shape.
        n: Number of trials, a shape that broadcasts with it.
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper bounds, fractions in [0, 1], of the broadcast shape. NaN where n is 0.

    Raises:
        ShapeError: If the counts are not whole or do not satisfy 0 <= successes <= n.
        ConfigError: If `confidence` is not strictly between 0 and 1.

    Source:
        E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212; computed by statsmodels.

    >>> low, high = wilson(2046, 2056)
    >>> f"{low:.4f} to {high:.4f}"
    '0.9911 to 0.9974'
    """
    from statsmodels.stats.proportion import proportion_confint

    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie strictly between 0 and 1, such as 0.95; got {confidence}")
    hits, trials = np.broadcast_arrays(np.asarray(successes), np.asarray(n))
    if not (np.issubdtype(hits.dtype, np.integer) and np.issubdtype(trials.dtype, np.integer)):
        raise ShapeError(f"an interval needs whole counts; got {hits.dtype} of {trials.dtype}")
    if ((hits < 0) | (hits > trials)).any():
        raise ShapeError("an interval needs 0 <= successes <= n everywhere; got counts outside")
    low, high = np.full(hits.shape, np.nan), np.full(hits.shape, np.nan)
    known = trials > 0
    if known.any():
        low[known], high[known] = proportion_confint(
            hits[known], trials[known], alpha=1 - confidence, method="wilson"
        )
    # The score equation's own root, which floating point misses by an ulp.
    low[known & (hits == 0)] = 0.0
    high[known & (hits == trials)] = 1.0
    return low, high
