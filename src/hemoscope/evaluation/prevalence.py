"""Precision where the classes come as they do in blood, and not as somebody collected them.

A data set with as many basophils as neutrophils makes the precision of basophils look good: in blood there are sixty
neutrophils to one of them, and of sixty times as many some are mistaken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ShapeError
from hemoscope.evaluation.bootstrap import Estimate, intervals_of
from hemoscope.records import FloatArray, IntArray

__all__ = ["precision_at", "predictive_values", "shares_met"]


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


def precision_at(confusion: IntArray, shares: Sequence[float]) -> list[Estimate]:
    """Return the same with BCa 95 % intervals, the true classes as strata; one a class. Without any image all are NaN."""

    def of(c: int):
        return lambda counts: np.nan_to_num(predictive_values(counts, shares)[..., c])

    named = np.flatnonzero(np.isfinite(predictive_values(confusion, shares))).tolist()
    found = intervals_of(confusion, {str(c): of(c) for c in named}) if named else {}
    none = Estimate(float("nan"), float("nan"), float("nan"))
    return [found.get(str(c), none) for c in range(len(shares))]
