"""How far to trust an answer: chosen on validation predictions, measured on test predictions.

Reads predictions only. What the figures of the test side say never changes what was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from hemoscope.evaluation import calibration as cal
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.inference.card import Calibration
from hemoscope.records import FloatArray, Predictions

__all__ = ["calibrate"]


def calibrate(
    val: Predictions,
    test: Predictions,
    *,
    val_distance: FloatArray | None = None,
    test_distance: FloatArray | None = None,
    strange_distances: Mapping[str, FloatArray] = MappingProxyType({}),
    error_rate: float = 0.01,
    coverage: float = 0.99,
    unknown_share: float = 0.01,
) -> Calibration:
    """Choose temperature and thresholds on one side, and measure them on the other.

    Args:
        val: What the model, or the ensemble's vote, said of the validation images.
        test: The same of the test images.
        val_distance: Distances of the validation images from the known cells, shape (N,), in the order of `val`;
            None if there are none.
        test_distance: The same of the test images.
        strange_distances: The same of images without a known cell, by kind.
        error_rate: Wrong answers among those accepted; at most this, with 95 % confidence.
        coverage: How often the conformal set holds the true class.
        unknown_share: Share of known cells that may be called unknown.
    """
    temperature = cal.fit_temperature(val.probs, val.target)
    val_probs = cal.apply_temperature(val.probs, temperature)
    review = cal.review_threshold(_of_pred(val_probs, val), val.pred == val.target, error_rate=error_rate)
    conformal = cal.conformal_threshold(val_probs, val.target, coverage=coverage)
    unknown = None if val_distance is None else cal.unknown_threshold(val_distance, share=unknown_share)
    if unknown is not None and not np.isfinite(unknown):
        unknown = None  # too few images to say
    review_below = None if review is None else float(review.threshold)
    measured = _measure(test, temperature, review_below, conformal)
    if unknown is not None and test_distance is not None:
        measured["called_unknown"] = _called(test_distance, unknown)
        measured["strange_called_unknown"] = {
            kind: _called(distance, unknown) for kind, distance in strange_distances.items()
        }
    return Calibration(
        n_val=len(val),
        temperature=temperature,
        review_below=review_below,
        error_rate=error_rate,
        conformal_score=conformal,
        coverage=coverage,
        unknown_above=unknown,
        unknown_share=unknown_share,
        confusion=tuple(map(tuple, confusion_matrix(val.target, val.pred, len(val.classes)).tolist())),
        measured=measured,
    )


def _measure(
    test: Predictions, temperature: float, review_below: float | None, conformal: float
) -> dict[str, Any]:
    probs = cal.apply_temperature(test.probs, temperature)
    right = test.pred == test.target
    accepted = (
        np.zeros(len(test), dtype=bool) if review_below is None else _of_pred(probs, test) >= review_below
    )
    sets = cal.conformal_sets(probs, conformal)
    covered = sets[np.arange(len(test)), test.target]
    return {
        "n": len(test),
        "ece_before": cal.expected_calibration_error(test.probs, test.pred, test.target),
        "ece": cal.expected_calibration_error(probs, test.pred, test.target),
        "log_loss_before": cal.negative_log_likelihood(test.probs, test.target),
        "log_loss": cal.negative_log_likelihood(probs, test.target),
        "brier_before": cal.brier_score(test.probs, test.target),
        "brier": cal.brier_score(probs, test.target),
        "accepted": _rate(int(accepted.sum()), len(test)),
        "errors_among_accepted": _rate(int((accepted & ~right).sum()), int(accepted.sum())),
        "errors_sent_to_review": _rate(int((~accepted & ~right).sum()), int((~right).sum())),
        "conformal_coverage": _rate(int(covered.sum()), len(test)),
        "conformal_mean_size": float(sets.sum(axis=1).mean()),
    }


def _of_pred(probs: FloatArray, predictions: Predictions) -> FloatArray:
    """Return the probability of the predicted class, shape (N,)."""
    return probs[np.arange(len(probs)), predictions.pred]


def _called(distance: FloatArray, unknown: float) -> dict[str, Any]:
    return _rate(int((distance > unknown).sum()), len(distance))


def _rate(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    value = hits / n if n else float("nan")
    return {"count": hits, "of": n, "rate": value, "ci": [float(low), float(high)]}
