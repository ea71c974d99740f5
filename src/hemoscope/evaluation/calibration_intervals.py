"""Intervals of calibration error, Brier score and log-loss: images drawn again within their classes, BCa.

All three are made of sums over images, so that a draw is how often each image was drawn, and ten thousand draws are
one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.evaluation.bootstrap import DRAWS, Estimate, bca
from hemoscope.evaluation.calibration import ece_if_calibrated
from hemoscope.evaluation.checked import checked_classes, checked_probs
from hemoscope.evaluation.metrics import SMALLEST_PROB
from hemoscope.records import FloatArray, IntArray

__all__ = ["calibration_estimates"]

_IN_HAND = 2**22  # numbers that are looked at together


def calibration_estimates(
    probs: ArrayLike,
    pred: ArrayLike,
    target: ArrayLike,
    *,
    n_bins: int = 15,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return `ece`, `brier` and `log_loss` with their 95 % intervals.

    That of the calibration error is of the error over these bins. Being a sum of absolute values it is larger in a
    draw than in truth; the bias correction takes most of that back. Where the error is no larger than calibrated
    answers have by chance (`ece_if_calibrated`), its lower end is 0. How often the intervals hold was simulated:
    docs/results/2026-11-intervals.

    Args:
        probs: Shape (N, C).
        pred: Predicted classes, shape (N,).
        target: True classes, shape (N,).
        n_bins: Of equal width, for the calibration error.
        draws: Of the bootstrap.
        seed: Of the draws.

    Raises:
        ShapeError: If an array is empty, of another shape, or out of range.

    Source:
        As `bootstrap.intervals_of`; the scores as in `calibration`.
    """
    probs = checked_probs(probs)
    pred, target = checked_classes("pred", pred, probs.shape), checked_classes("target", target, probs.shape)
    n = len(probs)
    parts = _parts(probs, pred, target, n_bins)  # (N, n_bins + 2)
    sums = parts.sum(axis=0)
    drawn = np.concatenate(list(_drawn_sums(parts, target, draws, np.random.default_rng(seed))))
    of_class = np.zeros((probs.shape[1], parts.shape[1]))
    np.add.at(of_class, target, parts)
    counts = np.bincount(target, minlength=probs.shape[1])
    apart = parts - (of_class / np.maximum(counts, 1)[:, None])[target]  # from the mean of the image's class
    ones = np.ones(n)
    ece = bca(
        float(np.abs(sums[:-2]).sum() / n),
        np.abs(drawn[:, :-2]).sum(axis=1) / n,
        apart[:, :-2] @ np.sign(sums[:-2]) / n,
        weights=ones,
    )
    if ece.value <= ece_if_calibrated(probs, pred, n_bins=n_bins, seed=seed)[1]:
        ece = replace(ece, low=0.0)
    return {
        "ece": ece,
        "brier": bca(float(sums[-2] / n), drawn[:, -2] / n, apart[:, -2] / n, weights=ones),
        "log_loss": bca(float(sums[-1] / n), drawn[:, -1] / n, apart[:, -1] / n, weights=ones),
    }


def _parts(probs: FloatArray, pred: IntArray, target: IntArray, n_bins: int) -> FloatArray:
    """Return what each image adds: its gap in the column of its bin, its Brier score, its log-loss."""
    rows = np.arange(len(probs))
    stated = probs[rows, pred]
    parts = np.zeros((len(probs), n_bins + 2))
    bins = np.maximum(np.ceil(stated * n_bins).astype(np.int64) - 1, 0)
    parts[rows, bins] = (pred == target) - stated
    parts[:, -2] = ((probs - (target[:, None] == np.arange(probs.shape[1]))) ** 2).sum(axis=1)
    parts[:, -1] = -np.log(np.maximum(probs[rows, target], SMALLEST_PROB))
    return parts


def _drawn_sums(
    parts: FloatArray, target: IntArray, draws: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """Yield sums of `parts` over images drawn again within their classes, shape (B, n_bins + 2) in all."""
    n = len(target)
    order = np.argsort(target, kind="stable")
    ordered = target[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    sizes = np.searchsorted(ordered, ordered, side="right") - starts
    step = max(1, _IN_HAND // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chosen = starts + (rng.random((size, n)) * sizes).astype(np.int64)
        times = np.bincount((chosen + n * np.arange(size)[:, None]).ravel(), minlength=size * n)
        yield times.reshape(size, n).astype(np.float64) @ parts[order]
