"""Counts and rates: the confusion matrix and the one-vs-rest metrics of the paper's Appendix A.

Pure functions on integer arrays. Nothing here rounds, averages away an undefined value, or knows
where predictions come from. A rate with nothing to count is NaN: undefined is not zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "SMALLEST_PROB",
    "accuracy",
    "confusion_matrix",
    "log_loss",
    "macro_mean",
    "one_vs_rest",
    "precision",
    "sensitivity",
    "specificity",
]

SMALLEST_PROB = 1e-15  # what a probability of 0 counts as in a log-loss


def confusion_matrix(target: ArrayLike, pred: ArrayLike, n_classes: int) -> IntArray:
    """Count images by true and predicted class.

    Args:
        target: True classes, shape (N,), integers in [0, n_classes).
        pred: Predicted classes, the same.
        n_classes: Number of classes C, at least 2.

    Returns:
        Counts, shape (C, C); row = true class, column = predicted class.

    Raises:
        ShapeError: If the lists differ in length, are not flat, not integers or out of range.

    >>> confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], n_classes=3)
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    if n_classes < 2:
        raise ShapeError(f"a confusion matrix needs at least 2 classes; got n_classes={n_classes}")
    true = _class_indices("target", target, n_classes)
    said = _class_indices("pred", pred, n_classes)
    if true.shape != said.shape:
        raise ShapeError(
            f"target and pred must name the same images; got {true.size} targets and {said.size} predictions"
        )
    flat = np.bincount(true * n_classes + said, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def one_vs_rest(confusion: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return TP, FP, FN and TN of every class against all others.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.

    Returns:
        Four count arrays, each of shape (C,), in the order TP, FP, FN, TN.

    Raises:
        ShapeError: If `confusion` is not a square matrix of counts with C >= 2.

    Source:
        Gavas & Olpadkar, Appendix A.
    """
    counts = _counts(confusion)
    tp = np.diagonal(counts).copy()
    fp = counts.sum(axis=0) - tp
    fn = counts.sum(axis=1) - tp
    return tp, fp, fn, counts.sum() - tp - fp - fn


def accuracy(confusion: IntArray) -> float:
    """Return the fraction of images on the diagonal; NaN without images.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.

    Raises:
        ShapeError: If `confusion` is not a square matrix of counts with C >= 2.

    >>> accuracy(np.array([[3, 1], [0, 4]]))
    0.875
    """
    counts = _counts(confusion)
    return float(_ratio(np.trace(counts), counts.sum()))


def precision(confusion: IntArray) -> FloatArray:
    """Return the precision of every class, TP / (TP + FP).

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.

    Returns:
        Fractions in [0, 1], shape (C,). NaN for a class that was never predicted.

    Raises:
        ShapeError: If `confusion` is not a square matrix of counts with C >= 2.

    Source:
        Gavas & Olpadkar, Appendix A.

    >>> precision(np.array([[3, 1, 0], [0, 4, 0], [1, 0, 0]]))
    array([0.75, 0.8 ,  nan])
    """
    tp, fp, _, _ = one_vs_rest(confusion)
    return _ratio(tp, tp + fp)


def sensitivity(confusion: IntArray) -> FloatArray:
    """Return the sensitivity of every class, TP / (TP + FN).

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.

    Returns:
        Fractions in [0, 1], shape (C,). NaN for a class without images.

    Raises:
        ShapeError: If `confusion` is not a square matrix of counts with C >= 2.

    Source:
        Gavas & Olpadkar, Appendix A.

    >>> sensitivity(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    array([0.75, 1.  ,  nan])
    """
    tp, _, fn, _ = one_vs_rest(confusion)
    return _ratio(tp, tp + fn)


def specificity(confusion: IntArray) -> FloatArray:
    """Return the one-vs-rest specificity of every class, TN / (TN + FP).

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.

    Returns:
        Fractions in [0, 1], shape (C,). NaN where all images are of the class.

    Raises:
        ShapeError: If `confusion` is not a square matrix of counts with C >= 2.

    Source:
        Gavas & Olpadkar, Appendix A.

    >>> specificity(np.array([[3, 1], [0, 0]]))
    array([ nan, 0.75])
    """
    _, fp, _, tn = one_vs_rest(confusion)
    return _ratio(tn, tn + fp)


def macro_mean(rates: FloatArray, images: IntArray) -> float:
    """Return the plain mean over the classes that have images, as in the paper's Table 3.

    Which classes these are depends on the data alone, so that networks are compared on the same ones. NaN if a
    rate of one of them is undefined, or none has images.

    Args:
        rates: One rate a class, shape (C,).
        images: Images of every class, shape (C,).

    Raises:
        ShapeError: If `rates` is not flat, holds no class, or `images` is of another shape.

    >>> macro_mean(np.array([1.0, 0.5, np.nan]), np.array([2, 4, 0]))
    0.75
    >>> macro_mean(np.array([1.0, np.nan]), np.array([2, 4]))
    nan
    """
    rates = np.asarray(rates, dtype=np.float64)
    if rates.ndim != 1 or rates.size == 0 or np.shape(images) != rates.shape:
        raise ShapeError(
            f"a macro mean needs one rate and one count a class, shape (C,); got shapes {rates.shape} and "
            f"{np.shape(images)}"
        )
    there = rates[np.asarray(images) > 0]
    return float(there.mean()) if there.size else float("nan")


def _ratio(part: NDArray[np.integer] | np.integer, whole: NDArray[np.integer] | np.integer) -> FloatArray:
    part, whole = np.asarray(part), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _class_indices(name: str, values: ArrayLike, n_classes: int) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ShapeError(f"{name} must be one class index an image, shape (N,); got shape {array.shape}")
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise ShapeError(f"{name} must hold integer class indices; got {array.dtype}")
    outside = (array < 0) | (array >= n_classes)
    if outside.any():
        first = int(np.argmax(outside))
        raise ShapeError(
            f"{name} must lie in [0, {n_classes}); got {array[first]} at position {first} "
            f"({int(outside.sum())} of {array.size} outside)"
        )
    return array.astype(np.int64)


def _counts(confusion: IntArray) -> IntArray:
    counts = np.asarray(confusion)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.shape[0] >= 2
    if not square:
        raise ShapeError(f"a confusion matrix has shape (C, C) with C >= 2; got shape {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ShapeError("a confusion matrix holds counts, whole numbers from 0; got fractions or negatives")
    return counts.astype(np.int64)


def log_loss(probs: FloatArray, target: IntArray) -> float:
    """Return the mean of -log of the probability of the true class; infinite without images.

    A probability below `SMALLEST_PROB` counts as that, so that one image cannot make it infinite.

    Args:
        probs: Probabilities, shape (N, C).
        target: True classes, shape (N,).

    >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 4)
    0.4904
    """
    if not len(target):
        return float("inf")
    true = probs[np.arange(len(target)), target]
    return float(-np.log(np.maximum(true, SMALLEST_PROB)).mean())
