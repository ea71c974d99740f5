"""One rule for what becomes of an answer: accepted, for review, or unknown.

The model judges by it, thresholds are chosen with it, and a card's figures are counted with it, so
that a card cannot describe another rule than the model has. Beyond it the model sends to review what is no image
like those of its runs, by size or bit depth: of their test images that is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.bundle.card import Calibration
from hemoscope.evaluation.calibration import apply_temperature
from hemoscope.evaluation.refusal import conformal_sets
from hemoscope.records import FloatArray, IntArray

__all__ = ["SIZE_FACTOR", "Decided", "decide", "is_unknown", "odd_size"]

SIZE_FACTOR = 2.0  # smaller or larger than what was trained on by more than this is for a person


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What became of N answers; an image is exactly one of accepted, for review, and unknown.

    Attributes:
        probs: Calibrated probabilities, shape (N, C).
        certainty: Probability of the predicted class, shape (N,).
        margin: `certainty` less the largest probability of another class, shape (N,).
        accepted: Like the known cells, and certain enough, shape (N,).
        review: Like the known cells, but for a person to look at, shape (N,).
        unknown: Unlike every known cell, however certain, shape (N,).
        candidates: Which classes are in the conformal set, shape (N, C); the predicted one always is.
    """

    probs: FloatArray
    certainty: FloatArray
    margin: FloatArray
    accepted: NDArray[np.bool_]
    review: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    candidates: NDArray[np.bool_]


def decide(probs: FloatArray, pred: IntArray, distance: FloatArray | None, trust: Calibration) -> Decided:
    """Return what becomes of answers under a bundle's thresholds.

    Args:
        probs: Probabilities before the temperature, the members' mean, shape (N, C).
        pred: Predicted class, which a majority may have chosen against the argmax, shape (N,).
        distance: From the nearest known cell, shape (N,); None where nothing is called unknown.
        trust: Temperature and thresholds.

    Raises:
        ShapeError: If a row of `probs` is no probabilities.
    """
    calibrated = apply_temperature(probs, trust.temperature)
    rows = np.arange(len(pred))
    certainty = calibrated[rows, pred]
    others = calibrated.copy()
    others[rows, pred] = -np.inf
    unknown = is_unknown(np.full(len(pred), np.nan) if distance is None else distance, trust)
    sure = np.zeros(len(pred), bool) if trust.review_below is None else certainty >= trust.review_below
    score = trust.conformal_score if trust.conformal_by_class is None else trust.conformal_by_class
    return Decided(
        probs=calibrated,
        certainty=certainty,
        margin=certainty - others.max(axis=1),
        accepted=sure & ~unknown,
        review=~sure & ~unknown,
        unknown=unknown,
        candidates=conformal_sets(calibrated, pred, score),
    )


def is_unknown(distance: FloatArray, trust: Calibration) -> NDArray[np.bool_]:
    """Return what is not within the threshold, shape (N,); a distance that is no number is not."""
    if trust.unknown_above is None:
        return np.zeros(distance.shape, dtype=bool)
    return ~(distance <= trust.unknown_above)


def odd_size(side_px: int, known_px: tuple[int, int] | None) -> bool:
    """Whether an image is so much smaller or larger than those trained on that it may be no single cell's.

    Args:
        side_px: The image's shorter side.
        known_px: Those of the images trained on, smallest and largest; None: not known, and none is odd.
    """
    return known_px is not None and not known_px[0] / SIZE_FACTOR <= side_px <= known_px[1] * SIZE_FACTOR
