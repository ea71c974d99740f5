"""Arrays that statistics are computed from, checked: an error names the first value that does not hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.records import FloatArray, IntArray

__all__ = ["checked_classes", "checked_fraction", "checked_probs", "checked_scores"]

SUM_TOLERANCE = 1e-3  # half precision adds up no better


def checked_probs(probs: ArrayLike) -> FloatArray:
    """Return softmax probabilities, shape (N, C), at most 1; a row that does not sum to 1 raises `ShapeError`."""
    array = np.asarray(probs, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ShapeError(
            f"probs must have shape (N, C) with N >= 1 images and C >= 2 classes; got shape {array.shape}"
        )
    with np.errstate(invalid="ignore"):  # inf - inf; NaN fails both comparisons
        fine = (array >= 0).all(axis=1) & (np.abs(array.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not fine.all():
        first = int(np.argmin(fine))
        raise ShapeError(
            f"every row of probs must be fractions that sum to 1; got {array[first].tolist()} in row {first} "
            f"({int((~fine).sum())} of {fine.size} rows so); pass softmax probabilities, not logits"
        )
    return np.minimum(array, 1.0)


def checked_classes(name: str, values: ArrayLike, shape: tuple[int, ...]) -> IntArray:
    """Return one class index an image, shape (N,), where the probabilities have `shape`; else raise `ShapeError`."""
    array, (n, n_classes) = np.asarray(values), shape
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ShapeError(
            f"{name} must hold one integer class index an image, shape ({n},); "
            f"got {array.dtype} of shape {array.shape}"
        )
    outside = (array < 0) | (array >= n_classes)
    if outside.any():
        first = int(np.argmax(outside))
        raise ShapeError(f"{name} must lie in [0, {n_classes}); got {array[first]} at position {first}")
    return array.astype(np.int64)


def checked_scores(name: str, values: ArrayLike) -> FloatArray:
    """Return one finite number an image, shape (N,); else raise `ShapeError`."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(
            f"{name} must hold one number an image, shape (N,) with N >= 1; got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise ShapeError(f"{name} must hold finite numbers; got {array[first]} at position {first}")
    return array


def checked_fraction(name: str, value: float) -> float:
    """Return a number strictly between 0 and 1; else raise `ConfigError`."""
    if not 0 < value < 1:
        raise ConfigError(f"{name} must lie strictly between 0 and 1; got {value}")
    return value
