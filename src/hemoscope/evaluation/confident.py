"""Confident learning: which labels look wrong, from probabilities of networks that were not trained on them.

A label is doubted where a network is as sure of another class as it is, on average, of that class's own images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.evaluation.checked import checked_classes, checked_probs
from hemoscope.records import FloatArray, IntArray

__all__ = ["ConfidentLearning", "confident_learning"]

ROUNDING = 1e-6  # probabilities are stored as float32


@dataclass(frozen=True, slots=True, eq=False)
class ConfidentLearning:
    """What N images of C classes say about their labels.

    Attributes:
        thresholds: Mean probability of a class over the images labelled so, shape (C,); NaN where there is none.
        confident: The class that an image surely is of, shape (N,); -1 where it reaches no threshold.
        joint: The confident joint: counts[label, confident class], shape (C, C).
        estimated: Images by label and true class, calibrated so that every row sums to the images labelled so,
            shape (C, C).
        margin: Normalised margin, probability of the label less the largest other one, shape (N,), -1 to 1.
        suspects: Images whose label looks wrong, by ascending margin, shape (S,).
    """

    thresholds: FloatArray
    confident: IntArray
    joint: IntArray
    estimated: FloatArray
    margin: FloatArray
    suspects: IntArray

    @property
    def share(self) -> float:
        """Estimated share of wrong labels."""
        return float(1 - np.trace(self.estimated) / self.estimated.sum())


def confident_learning(probs: ArrayLike, target: ArrayLike) -> ConfidentLearning:
    """Estimate how many labels are wrong, class by class, and name those that look so.

    A suspect is counted off the diagonal of the confident joint, and is predicted as something else than its
    label: the first alone would also doubt what a network calls as it is labelled.

    Args:
        probs: Softmax probabilities, shape (N, C), of networks that were not trained on the images.
        target: Labels, shape (N,), in [0, C).

    Raises:
        ShapeError: If the arrays do not fit or the probabilities are none.

    Source:
        Northcutt, Jiang and Chuang, Confident Learning, JAIR 70 (2021) 1373-1411: thresholds, equation 2; confident
        joint, equation 1; calibration, equation 3; normalised margin, section 3.2.

    >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    >>> found = confident_learning(probs, np.array([0, 0, 0, 1, 1]))
    >>> found.joint.tolist(), found.suspects.tolist()
    ([[2, 1], [0, 1]], [2])
    """
    probs = checked_probs(probs)
    target = checked_classes("target", target, probs.shape)
    rows, n_classes = np.arange(len(target)), probs.shape[1]
    labelled = np.bincount(target, minlength=n_classes)  # (C,)
    own = probs[rows, target]  # (N,)
    with np.errstate(invalid="ignore"):  # 0 / 0: no image is labelled so
        thresholds = np.bincount(target, weights=own, minlength=n_classes) / labelled
    reached = probs >= thresholds - ROUNDING  # (N, C); nothing reaches NaN
    confident = np.where(reached, probs, -1.0).argmax(axis=1)
    confident[~reached.any(axis=1)] = -1
    sure = confident >= 0
    joint = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(joint, (target[sure], confident[sure]), 1)

    others = probs.copy()
    others[rows, target] = -1.0
    margin = own - others.max(axis=1)
    doubted = np.flatnonzero(sure & (confident != target) & (margin < 0))
    suspects = doubted[np.argsort(margin[doubted], kind="stable")]
    return ConfidentLearning(thresholds, confident, joint, _calibrated(joint, labelled), margin, suspects)


def _calibrated(joint: IntArray, labelled: IntArray) -> FloatArray:
    """Return the joint with every row scaled to the images labelled so, shape (C, C).

    Of every class at least one image counts as right, so that a row without any sure one is divided by nothing.
    """
    counts = joint.astype(np.float64)
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1.0))
    return counts / counts.sum(axis=1, keepdims=True) * labelled[:, None]
