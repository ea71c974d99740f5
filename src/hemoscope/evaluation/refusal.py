"""Where to stop believing an answer: the thresholds behind review, the conformal set, and unknown.

Everything is chosen on validation images and reported on others; nothing here knows a network, and no
threshold holds for images of another kind. Arrays are as in `calibration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.evaluation.checked import checked_classes, checked_fraction, checked_probs, checked_scores
from hemoscope.evaluation.intervals import binomial_cdf, clopper_pearson
from hemoscope.records import FloatArray

__all__ = [
    "Threshold",
    "conformal_sets",
    "conformal_threshold",
    "conformal_thresholds_by_class",
    "review_threshold",
    "unknown_threshold",
]


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which score on an image needs no review, and what that cost on the validation images.

    Attributes:
        threshold: Accept an image whose score is at least this.
        error_rate: The rate of errors among accepted images that was asked for.
        coverage: Fraction of the validation images accepted.
        accepted: Number of them.
        errors: How many of the accepted are wrong.
        upper: One-sided upper bound of the error rate among accepted images, at most `error_rate`.
    """

    threshold: float
    error_rate: float
    coverage: float
    accepted: int
    errors: int
    upper: float


def review_threshold(
    score: ArrayLike, correct: ArrayLike, *, error_rate: float, confidence: float = 0.95
) -> Threshold | None:
    """Return the lowest score to accept unseen, so that few accepted images are wrong.

    The best of many thresholds looks better than it is. So they are tested in an order fixed before
    looking at `correct`, the surest 1 %, 2 %, ... 100 % of the images, and the first failure ends it:
    then the chance that any accepted threshold is a false one is that of a single test. The order
    starts where an error-free share could pass; a single error that early leaves no threshold. The
    test is the exact binomial one (Clopper and Pearson's bound), so that an error rate just above
    `error_rate` passes in at most 1 - confidence of all data sets. At 1 % and 95 % the first that can
    pass are 299 images without an error. Equal scores stay together.

    Args:
        score: Certainty of every validation image, higher = surer, shape (N,).
        correct: Whether its prediction is right, booleans, shape (N,).
        error_rate: Highest tolerable fraction of errors among accepted images, in (0, 1).
        confidence: Of the one-sided bound, in (0.5, 1).

    Returns:
        The threshold and its counts, or None where none passes: then every image needs review.

    Source:
        Clopper & Pearson, Biometrika 26 (1934) 404-413; Angelopoulos et al., Learn then Test, 2021
        (fixed-sequence testing).
    """
    score, right = checked_scores("score", score), np.asarray(correct)
    if right.shape != score.shape or right.dtype != np.bool_:
        raise ShapeError(
            f"correct must hold one boolean a score, shape {score.shape}; got {right.dtype} of shape {right.shape}"
        )
    checked_fraction("error_rate", error_rate)
    if not 0.5 < confidence < 1:
        raise ConfigError(f"confidence must lie strictly between 0.5 and 1, such as 0.95; got {confidence}")
    n, chance = len(score), 1 - confidence
    ranks = n - (np.arange(1, 101) * n + 99) // 100  # where the surest 1 % to 100 %, rounded up, begin
    ordered, wrong = np.sort(score), np.sort(score[~right])
    passed: tuple[float, int, int] | None = None
    for level in np.unique(ordered[ranks])[::-1]:
        accepted = n - int(np.searchsorted(ordered, level))
        if binomial_cdf(0, accepted, error_rate) > chance:
            continue  # so few could not pass without an error
        errors = wrong.size - int(np.searchsorted(wrong, level))
        if binomial_cdf(errors, accepted, error_rate) > chance:
            break
        passed = float(level), accepted, errors
    if passed is None:
        return None
    threshold, accepted, errors = passed
    return Threshold(
        threshold=threshold,
        error_rate=error_rate,
        coverage=accepted / n,
        accepted=accepted,
        errors=errors,
        upper=clopper_pearson(errors, accepted, confidence=2 * confidence - 1)[1],
    )


def conformal_threshold(probs: ArrayLike, target: ArrayLike, *, coverage: float) -> float:
    """Return the threshold with which sets hold the true class of at least `coverage` of new images.

    Split conformal prediction with the score 1 - p of the true class: the ceil((n + 1) coverage)-th
    smallest of n scores; 1, which lets every class in, where n is too small. The promise is kept on
    average over images exchangeable with these, not class by class.

    Source:
        Sadinle, Lei & Wasserman, J. Am. Stat. Assoc. 114 (2019) 223-234; Angelopoulos & Bates,
        A Gentle Introduction to Conformal Prediction, 2021.
    """
    probs = checked_probs(probs)
    true = probs[np.arange(len(probs)), checked_classes("target", target, probs.shape)]
    return _upper_quantile(1 - true, checked_fraction("coverage", coverage), else_=1.0)


def conformal_thresholds_by_class(probs: ArrayLike, target: ArrayLike, *, coverage: float) -> FloatArray:
    """Return a threshold for every class, shape (C,), each from that class's images alone; 1 where they are too few.

    Then the promise of `conformal_threshold` is kept class by class: at 99 % it takes 99 images of a class.

    Source:
        Vovk, Lindsay, Nouretdinov & Gammerman, Mondrian Confidence Machine, 2003.
    """
    probs = checked_probs(probs)
    target = checked_classes("target", target, probs.shape)
    true = 1 - probs[np.arange(len(probs)), target]
    checked_fraction("coverage", coverage)
    return np.array([_upper_quantile(true[target == c], coverage, else_=1.0) for c in range(probs.shape[1])])


def conformal_sets(probs: ArrayLike, pred: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Return which classes are in each image's set, 1 - p <= threshold, shape (N, C).

    What is answered always is, so that no set is empty. This only enlarges sets, and keeps coverage.

    Args:
        probs: Probabilities, shape (N, C).
        pred: The class answered, shape (N,); a majority may have chosen it against the likeliest.
        threshold: Of `conformal_threshold`, or one for every class, shape (C,).

    >>> conformal_sets([[0.9, 0.1], [0.55, 0.45]], [0, 0], threshold=0.6)
    array([[ True, False],
           [ True,  True]])
    """
    threshold = np.asarray(threshold, np.float64)
    if not ((threshold >= 0) & (threshold <= 1)).all():
        raise ConfigError(f"threshold must lie in [0, 1], as from conformal_threshold; got {threshold}")
    probs = checked_probs(probs)
    sets = 1 - probs <= threshold
    sets[np.arange(len(sets)), checked_classes("pred", pred, probs.shape)] = True
    return sets


def unknown_threshold(score: ArrayLike, *, share: float) -> float:
    """Return the strangeness above which a cell is unknown, so that at most `share` of known cells are.

    The ceil((n + 1) (1 - share))-th smallest of n scores of known validation cells, higher = stranger;
    +inf, which calls nothing unknown, where n is too small. The promise is kept on average.
    """
    return _upper_quantile(
        checked_scores("score", score), 1 - checked_fraction("share", share), else_=math.inf
    )


def _upper_quantile(values: FloatArray, share: float, *, else_: float) -> float:
    """The value that a new exchangeable one stays within with chance `share`, if there are enough."""
    rank = max(1, math.ceil((values.size + 1) * share - 1e-9))  # 1e-9: 100 * 0.55 is not above 55
    return float(np.sort(values)[rank - 1]) if rank <= values.size else else_
