"""How far to trust an answer: chosen on validation answers, measured on test answers.

Reads answers only. `calibrate` never sees a test image, and `measure` changes nothing that was chosen.
Both ask `decide`, as the model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hemoscope.bundle.card import Calibration
from hemoscope.evaluation import calibration as cal
from hemoscope.evaluation import refusal
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.predict.verdict import decide, is_unknown
from hemoscope.records import FloatArray, Predictions

__all__ = ["Goals", "calibrate", "measure", "rate_of"]


@dataclass(frozen=True, slots=True)
class Goals:
    """What the thresholds of a bundle are chosen for.

    Attributes:
        error_rate: Wrong answers among those accepted; at most this, with 95 % confidence.
        coverage: How often the conformal set holds the true class.
        by_class: Whether `coverage` is to hold in every class by itself, not on average over images.
        unknown_share: Share of known cells that may be called unknown.
    """

    error_rate: float = 0.01
    coverage: float = 0.99
    unknown_share: float = 0.01
    by_class: bool = False


def calibrate(
    val: Predictions,
    distance: FloatArray | None = None,
    goals: Goals = Goals(),
    *,
    temperature: float | None = None,
    near: FloatArray | None = None,
) -> Calibration:
    """Choose temperature and thresholds on validation images; nothing is measured yet.

    What is unknown is chosen first. Only the other images can be accepted, so the review threshold is
    chosen among them, and the confusion counts them alone, as a differential count does.

    Args:
        val: What the model, or the ensemble's vote, said of the validation images.
        distance: Their distances from the known cells, shape (N,), in the order of `val`; None if there
            are none.
        goals: What to choose for.
        temperature: What the probabilities are to be divided by; by default it is fitted.
        near: Distances of cells that are known ones without doubt and say how far one may be, shape (M,); by default
            those of the validation images.
    """
    near = distance if near is None else near
    unknown = None
    if near is not None and np.isfinite(near).all():  # a cell that is remembered alone is near none
        unknown = refusal.unknown_threshold(near, share=goals.unknown_share)
        unknown = unknown if np.isfinite(unknown) else None  # too few images to say
    draft = Calibration(
        n_val=len(val),
        temperature=cal.fit_temperature(val.probs, val.target) if temperature is None else temperature,
        review_below=None,
        error_rate=goals.error_rate,
        conformal_score=1.0,
        coverage=goals.coverage,
        unknown_above=unknown,
        unknown_share=goals.unknown_share,
        confusion=(),
        measured={},
    )
    found = decide(val.probs, val.pred, distance, draft)
    known = ~found.unknown
    right = (val.pred == val.target)[known]
    review = (
        refusal.review_threshold(found.certainty[known], right, error_rate=goals.error_rate)
        if known.any()
        else None
    )
    confusion = confusion_matrix(val.target[known], val.pred[known], len(val.classes))
    by_class = refusal.conformal_thresholds_by_class(found.probs, val.target, coverage=goals.coverage)
    return draft.model_copy(
        update={
            "review_below": None if review is None else review.threshold,
            "conformal_score": refusal.conformal_threshold(found.probs, val.target, coverage=goals.coverage),
            "conformal_by_class": tuple(by_class.tolist()) if goals.by_class else None,
            "confusion": tuple(map(tuple, confusion.tolist())),
        }
    )


def measure(
    test: Predictions,
    distance: FloatArray | None,
    trust: Calibration,
    *,
    strange_distances: Mapping[str, FloatArray] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what the thresholds do on test images, by name; a rate of nothing is None.

    Args:
        test: What the same model said of the test images.
        distance: Their distances from the known cells, shape (N,); None if there are none.
        trust: What `calibrate` chose.
        strange_distances: Distances of images without a known cell, by kind.
    """
    found = decide(test.probs, test.pred, distance, trust)
    wrong = test.pred != test.target
    held = found.candidates[np.arange(len(test)), test.target]
    n, n_wrong, n_accepted = len(test), int(wrong.sum()), int(found.accepted.sum())
    measured = {
        "n": n,
        "ece_before": cal.expected_calibration_error(test.probs, test.pred, test.target),
        "ece": cal.expected_calibration_error(found.probs, test.pred, test.target),
        "log_loss_before": cal.negative_log_likelihood(test.probs, test.target),
        "log_loss": cal.negative_log_likelihood(found.probs, test.target),
        "brier_before": cal.brier_score(test.probs, test.target),
        "brier": cal.brier_score(found.probs, test.target),
        "accepted": rate_of(n_accepted, n),
        "review": rate_of(int(found.review.sum()), n),
        "errors_among_accepted": rate_of(int((found.accepted & wrong).sum()), n_accepted),
        "errors_sent_to_review": rate_of(int((found.review & wrong).sum()), n_wrong),
        "conformal_coverage": rate_of(int(held.sum()), n),
        "conformal_coverage_by_class": {
            name: rate_of(int(held[test.target == c].sum()), int((test.target == c).sum()))
            for c, name in enumerate(test.classes)
        },
        "conformal_mean_size": float(found.candidates.sum(axis=1).mean()),
    }
    if trust.unknown_above is None:
        return measured
    called = {kind: is_unknown(each, trust) for kind, each in strange_distances.items()}
    return {
        **measured,
        "called_unknown": rate_of(int(found.unknown.sum()), n),
        "errors_called_unknown": rate_of(int((found.unknown & wrong).sum()), n_wrong),
        "strange_called_unknown": {
            kind: rate_of(int(each.sum()), len(each)) for kind, each in called.items()
        },
    }


def rate_of(hits: int, n: int) -> dict[str, Any]:
    """Return a rate with its counts and Wilson's 95 % interval, as cards hold it; null where there is none to take it of."""
    low, high = wilson(hits, n)
    return {
        "count": hits,
        "of": n,
        "rate": hits / n if n else None,
        "ci": [float(low), float(high)] if n else [None, None],
    }
