"""What a model answered under every corruption and in every background test, and the figures that follow from it.

Counts and arithmetic only: no image, no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.class_map import ClassMap
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.evaluation.summary import Scores, score_counts
from hemoscope.records import FloatArray, IntArray, Side
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES

__all__ = [
    "CLEAN",
    "NOT_ASKED",
    "Condition",
    "Example",
    "Relative",
    "Stressed",
    "Subject",
    "constant_share",
    "errors_of",
    "recognises_background",
    "relative_to",
    "scores_of",
    "share_right",
]

Condition = tuple[str, int]
"""A corruption and its severity, or a background test and 0."""

CLEAN: Condition = ("clean", 0)
NOT_ASKED = -1


@dataclass(frozen=True, eq=False)
class Subject:
    """One network, or the vote of several.

    Attributes:
        name: What tables call it.
        arch: Its architecture; empty for a vote.
        preds: By condition its predicted classes, shape (N,); `NOT_ASKED` for an image that took no part.
    """

    name: str
    arch: str
    preds: Mapping[Condition, IntArray]


@dataclass(frozen=True, eq=False)
class Example:
    """One cell as the model was shown it: pixels, its content for the draws, and its images by background test."""

    pixels: NDArray[np.uint8]
    content: str
    tests: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Stressed:
    """What was asked and what was answered.

    Attributes:
        root: The data.
        classes: Class names of the model.
        target: True classes, shape (N,).
        subjects: Networks and their vote, the reference last where it is not one of them.
        reference: Place of the reference among them; None without one.
        no_reference: Why there is none; empty where there is one.
        side: The side of the model's split that the images are of; None for all of the data.
        limit: Most images a class; 0 for all.
        seed: Of the choice of images and of every draw.
        radius: Of the disc that hides every cell, a share of the shorter side; NaN where no cell was found.
        usable: Images whose cell was found and lies in the disc, shape (N,).
        no_second: Why no cell was put on the second acquisition; empty where some were.
        class_map: Which of the model's classes each of the data's is.
        seen: How many of the images were on each side of the model's split; None where that is not known.
        cameras: By condition the diameter of the nuclei that cells were framed by, in pixels; None where none are framed.
        example: One cell for the pictures.
    """

    root: Path
    classes: tuple[str, ...]
    target: IntArray
    subjects: tuple[Subject, ...]
    reference: int | None
    no_reference: str
    side: Side | None
    limit: int
    seed: int
    radius: float
    usable: NDArray[np.bool_]
    no_second: str
    class_map: ClassMap
    seen: Mapping[str, int] | None
    cameras: Mapping[Condition, float | None]
    example: Example


@dataclass(frozen=True, eq=False)
class Relative:
    """Errors beside those of a reference; NaN where the reference's are none.

    Attributes:
        ce: Corruption error of each of K corruptions, shape (K,).
        relative_ce: The same of what a corruption adds to the clean error, shape (K,).
        mce: Mean of `ce` over where it is defined.
        relative_mce: Mean of `relative_ce` over where it is defined.
    """

    ce: FloatArray
    relative_ce: FloatArray
    mce: float
    relative_mce: float


def scores_of(found: Stressed, subject: Subject, condition: Condition) -> Scores:
    """Return the scores under a condition, over the images that took part."""
    pred = subject.preds[condition]
    asked = pred != NOT_ASKED
    return score_counts(
        confusion_matrix(found.target[asked], pred[asked], len(found.classes)), classes=found.classes
    )


def errors_of(found: Stressed, subject: Subject) -> tuple[FloatArray, float]:
    """Return the share of wrong answers under every corruption at every severity, shape (K, 5), and on clean images."""
    wrong = [
        [(subject.preds[corruption.name, severity] != found.target).mean() for severity in SEVERITIES]
        for corruption in CORRUPTIONS
    ]
    return np.array(wrong, dtype=np.float64), float((subject.preds[CLEAN] != found.target).mean())


def relative_to(
    errors: FloatArray, clean: float, reference_errors: FloatArray, reference_clean: float
) -> Relative:
    """Return errors relative to those of a reference network.

    The corruption error is the sum over the severities, divided by the reference's. The relative one is the same of
    what is added to the clean error; it is undefined where the reference loses nothing.

    Args:
        errors: Shares of wrong answers, shape (K, 5).
        clean: Of clean images.
        reference_errors: The reference's, shape (K, 5).
        reference_clean: The reference's, of clean images.

    Source:
        Hendrycks and Dietterich, ICLR 2019, section 4.1; there the reference is AlexNet.

    >>> found = relative_to(np.full((1, 5), 0.3), 0.1, np.full((1, 5), 0.6), 0.2)
    >>> round(found.mce, 3), round(found.relative_mce, 3)
    (0.5, 0.5)
    """
    ce = _ratio(errors.sum(axis=1), reference_errors.sum(axis=1))
    relative_ce = _ratio((errors - clean).sum(axis=1), (reference_errors - reference_clean).sum(axis=1))
    return Relative(ce, relative_ce, _mean(ce), _mean(relative_ce))


def constant_share(target: IntArray) -> float:
    """Return how often the best constant answer would be right: the share of the largest class; NaN without images."""
    return float(np.bincount(target).max() / len(target)) if len(target) else float("nan")


def share_right(right: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return a share with its Wilson 95 % interval; NaN without images."""
    hits, n = int(right.sum()), len(right)
    low, high = wilson(hits, n)
    return hits / n if n else float("nan"), float(low), float(high)


def recognises_background(right: NDArray[np.bool_], target: IntArray) -> bool:
    """Whether answers to images without their cell are right more often than any constant answer.

    Answers that have nothing to do with the class are right at most as often as the best constant one, whatever the
    network's habits. So background is recognised where even the lower end of the Wilson 95 % interval lies above that.

    Args:
        right: Which answers to hidden cells are right, shape (N,).
        target: True classes, shape (N,).
    """
    return len(right) > 0 and share_right(right)[1] > constant_share(target)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 1e-12)


def _mean(values: Sequence[float] | FloatArray) -> float:
    there = np.asarray(values)[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
