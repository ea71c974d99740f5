"""All scores of one set of predictions in one record, and the JSON document made of it.

Everything follows from the confusion matrix. Nothing here rounds: rounding belongs to tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hemoscope.errors import ShapeError
from hemoscope.evaluation import metrics
from hemoscope.evaluation.bootstrap import balanced_estimate
from hemoscope.evaluation.intervals import wilson
from hemoscope.records import FloatArray, IntArray, Predictions

__all__ = ["Macro", "Rates", "Scores", "balanced", "confusion_of", "score", "score_counts"]

MOST_ROWS = 100
"""Classes of a confusion matrix that a document holds with all its zeros."""

MOST_CLASSES = 100
"""Classes that the balanced accuracy has an interval for: its draws are of whole matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """One rate a class with its Wilson 95 % interval; each array has shape (C,), NaN = undefined."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Macro:
    """Plain means over the classes that have images, as in the paper's Table 3; NaN where nothing can be counted.

    A class that has images and is never predicted has a precision of 0 here: leaving it out would raise the mean.
    The mean sensitivity is the balanced accuracy.
    """

    precision: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the predictions of one side are worth. All rates are fractions.

    Attributes:
        classes: Class names, length C.
        confusion: Counts, shape (C, C); row = true class, column = predicted class.
        accuracy: Correct images of all; NaN without images.
        accuracy_ci: Its Wilson 95 % interval.
        precision: TP / (TP + FP) of every class.
        sensitivity: TP / (TP + FN) of every class.
        specificity: TN / (TN + FP) of every class.
        macro: Means over the classes that have images.
    """

    classes: tuple[str, ...]
    confusion: IntArray
    accuracy: float
    accuracy_ci: tuple[float, float]
    precision: Rates
    sensitivity: Rates
    specificity: Rates
    macro: Macro

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def errors(self) -> int:
        """Images predicted wrong."""
        return self.n - int(np.trace(self.confusion))

    @property
    def support(self) -> IntArray:
        """Images of every true class, shape (C,)."""
        return self.confusion.sum(axis=1)

    @property
    def without_images(self) -> tuple[str, ...]:
        """Classes that the means leave out."""
        return tuple(name for name, n in zip(self.classes, self.support, strict=True) if not n)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `train`, `evaluate` and `ensemble` print; undefined is None."""
        return {
            "n": self.n,
            "errors": self.errors,
            "accuracy": _known(self.accuracy),
            "accuracy_ci": [_known(bound) for bound in self.accuracy_ci],
            "macro": {
                "precision": _known(self.macro.precision),
                "sensitivity": _known(self.macro.sensitivity),
                "specificity": _known(self.macro.specificity),
            },
            "without_images": list(self.without_images),
            "classes": {name: self._class_json(i) for i, name in enumerate(self.classes)},
            "confusion": self._confusion_json(),
        }

    def _confusion_json(self) -> list[list[int]] | dict[str, list[int]]:
        if len(self.classes) <= MOST_ROWS:
            return self.confusion.tolist()
        true, predicted = np.nonzero(self.confusion)
        images = self.confusion[true, predicted]
        return {"true": true.tolist(), "predicted": predicted.tolist(), "images": images.tolist()}

    def _class_json(self, i: int) -> dict[str, Any]:
        rates = {
            "precision": self.precision,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
        }
        return {
            **{name: _known(rate.value[i]) for name, rate in rates.items()},
            "support": int(self.support[i]),
            **{f"{name}_ci": [_known(rate.low[i]), _known(rate.high[i])] for name, rate in rates.items()},
        }


def score(predictions: Predictions) -> Scores:
    """Score the predictions of one side.

    Args:
        predictions: Its `pred` decides; probabilities play no part.

    Raises:
        ShapeError: If a target or prediction lies outside the classes.
    """
    n_classes = len(predictions.classes)
    return score_counts(
        metrics.confusion_matrix(predictions.target, predictions.pred, n_classes), classes=predictions.classes
    )


def score_counts(confusion: IntArray, *, classes: Sequence[str]) -> Scores:
    """Score a confusion matrix, such as one out of a paper.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.
        classes: C class names.

    Raises:
        ShapeError: If `confusion` is not a (C, C) matrix of counts with C >= 2.

    >>> scores = score_counts(np.array([[9, 1], [0, 10]]), classes=["ig", "neutrophil"])
    >>> scores.n, scores.errors, scores.accuracy, scores.macro.sensitivity
    (20, 1, 0.95, 0.95)
    """
    tp, fp, fn, tn = metrics.one_vs_rest(confusion)
    if len(classes) != len(tp):
        raise ShapeError(f"{len(tp)} rows of counts need {len(tp)} class names; got {len(classes)}")
    low, high = wilson(tp.sum(), np.sum(confusion))
    precision = _rates(metrics.precision(confusion), tp, tp + fp)
    sensitivity = _rates(metrics.sensitivity(confusion), tp, tp + fn)
    specificity = _rates(metrics.specificity(confusion), tn, tn + fp)
    return Scores(
        classes=tuple(classes),
        confusion=np.array(confusion, dtype=np.int64),
        accuracy=metrics.accuracy(confusion),
        accuracy_ci=(float(low), float(high)),
        precision=precision,
        sensitivity=sensitivity,
        specificity=specificity,
        macro=Macro(
            precision=metrics.macro_mean(np.where(tp + fp == 0, 0.0, precision.value), tp + fn),
            sensitivity=metrics.macro_mean(sensitivity.value, tp + fn),
            specificity=metrics.macro_mean(specificity.value, tp + fn),
        ),
    )


def balanced(scores: Scores) -> dict[str, Any]:
    """Return the document of scores with the balanced accuracy and its 95 % interval.

    It is the mean sensitivity of the classes that have images. Where there is no image, or more than `MOST_CLASSES` classes, there is
    no interval.
    """
    document = scores.to_json()
    value = document["macro"]["sensitivity"]
    bounds: list[float | None] = [None, None]
    if value is not None and len(scores.classes) <= MOST_CLASSES:
        found = balanced_estimate(scores.confusion)
        bounds = [_known(found.low), _known(found.high)]
    return {"balanced_accuracy": value, "balanced_accuracy_ci": bounds, **document}


def confusion_of(document: Mapping[str, Any]) -> IntArray:
    """Return the counts, shape (C, C), that a document of scores holds, with all their zeros or without them.

    Args:
        document: What `Scores.to_json` returned, as `run.json` has it under `metrics.test`.
    """
    found = document["confusion"]
    if not isinstance(found, Mapping):
        return np.array(found, dtype=np.int64)
    n_classes = len(document["classes"])
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    counts[found["true"], found["predicted"]] = found["images"]
    return counts


def _rates(value: FloatArray, hits: IntArray, trials: IntArray) -> Rates:
    low, high = wilson(hits, trials)
    return Rates(value=value, low=low, high=high)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
