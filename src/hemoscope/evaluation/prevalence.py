"""Precision where the classes come as they do in blood, and not as somebody collected them.

A data set with as many basophils as neutrophils makes the precision of basophils look good: in blood there are sixty
neutrophils to one of them, and of sixty times as many some are mistaken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ShapeError
from hemoscope.evaluation.bootstrap import DRAWS, Estimate
from hemoscope.evaluation.summary import MOST_CLASSES
from hemoscope.records import FloatArray, IntArray

__all__ = ["precision_at", "predictive_values", "shares_met"]

_IN_HAND = 2**22  # shares that are looked at together


def shares_met(confusion: IntArray, shares: ArrayLike) -> FloatArray:
    """Return the shares that precisions are of: of the classes that have images, made to sum to 1.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.
        shares: How large a part of all cells each class is, shape (C,), at least 0.

    Returns:
        Fractions, shape (C,); NaN for a class without images, whose answers nobody knows.

    >>> shares_met(np.array([[9, 1, 0], [0, 0, 0], [0, 0, 10]]), [0.3, 0.4, 0.3])
    array([0.5, nan, 0.5])
    """
    share = np.where(confusion.any(axis=1), shares, np.nan)
    total = np.nansum(share)
    return share / total if total else share * np.nan


def predictive_values(confusion: NDArray[np.integer], shares: ArrayLike) -> FloatArray:
    """Return the positive predictive value of every class at given class shares.

    Args:
        confusion: Counts, shape (..., C, C); row = true class, column = predicted class.
        shares: How large a part of all cells each class is, shape (C,), at least 0. Those of classes without images
            count as 0, and the others are made to sum to 1; see `shares_met`.

    Returns:
        Fractions, shape (..., C); NaN where nothing would be called so, and for a class without images.

    Source:
        Bayes; J. M. Bland, D. G. Altman, BMJ 309 (1994) 102.

    >>> predictive_values(np.array([[95, 5], [5, 95]]), [0.99, 0.01]).round(3)
    array([0.999, 0.161])
    """
    share = np.asarray(shares, dtype=np.float64)
    if share.shape != confusion.shape[-1:] or not (share >= 0).all() or not share.sum() > 0:
        raise ShapeError(
            f"expected a share of at least 0 for each of {confusion.shape[-1]} classes; got {share}"
        )
    images = confusion.sum(axis=-1, keepdims=True)
    weighted = np.divide(confusion * share[:, None], images, out=np.zeros(confusion.shape), where=images > 0)
    called = weighted.sum(axis=-2)
    right = np.diagonal(weighted, axis1=-2, axis2=-1)
    there = (called > 0) & (images[..., 0] > 0)
    return np.divide(right, called, out=np.full(called.shape, np.nan), where=there)


def precision_at(confusion: IntArray, shares: Sequence[float], *, seed: int = 0) -> list[Estimate]:
    """Return the same with 95 % intervals, one a class; NaN where it is not defined.

    Of more than `MOST_CLASSES` classes there is no interval.

    What was never mistaken among some hundred images can be mistaken, and in blood a rare mistake in a frequent class decides. Images
    drawn again never show it, so how the model errs is drawn from Dirichlet(row + 1/C), as for a differential count.
    """
    value = predictive_values(confusion, shares)
    share, c = np.nan_to_num(shares_met(confusion, shares)), len(value)
    none = float("nan")
    if c > MOST_CLASSES:
        return [Estimate(float(each), none, none) for each in value]
    rng = np.random.default_rng(seed)
    drawn = []
    step = max(1, _IN_HAND // c**2)
    for start in range(0, DRAWS, step):
        said = rng.standard_gamma(np.broadcast_to(confusion + 1 / c, (min(step, DRAWS - start), c, c)))
        called = said / said.sum(axis=2, keepdims=True) * share[:, None]
        drawn.append(np.diagonal(called, axis1=1, axis2=2) / np.maximum(called.sum(axis=1), 1e-300))
    ends = np.quantile(np.concatenate(drawn), (0.025, 0.975), axis=0)
    low, high = np.minimum(ends[0], value), np.maximum(ends[1], value)  # NaN where the value is
    return [Estimate(*map(float, each)) for each in zip(value, low, high, strict=True)]
