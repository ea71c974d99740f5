"""How far a network's own certainty can be believed, and where to stop believing it.

Temperature, reliability, and the thresholds that send an image to review, widen its answer to a set
of classes, or call its cell unknown. Everything is fitted on validation images and reported on
others; nothing here knows a network, and no threshold holds for images of another kind.

Throughout, `probs` are softmax probabilities, shape (N, C), and `target` and `pred` are class
indices, shape (N,). A `ShapeError` names an array that is empty, of another shape or type, not finite
or out of range; a `ConfigError` names such a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.evaluation.intervals import binomial_cdf, clopper_pearson, wilson
from hemoscope.evaluation.summary import Rates
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "Reliability",
    "SetSummary",
    "Threshold",
    "apply_temperature",
    "auroc",
    "brier_score",
    "conformal_sets",
    "conformal_summary",
    "conformal_threshold",
    "detection_rate",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability",
    "review_threshold",
    "unknown_threshold",
]

TINY = float(np.finfo(np.float32).tiny)  # stands for the zeros of a float32 softmax
TEMPERATURES = (0.05, 20.0)
SUM_TOLERANCE = 1e-3  # half precision adds up no better


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Bins of equal width over the stated confidence, each shape (n_bins,); NaN in an empty bin.

    Attributes:
        count: Images a bin; bin m holds confidences in (m / n_bins, (m + 1) / n_bins].
        confidence: Mean probability of the predicted class.
        accuracy: Fraction predicted right.
    """

    count: IntArray
    confidence: FloatArray
    accuracy: FloatArray


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


@dataclass(frozen=True, slots=True, eq=False)
class SetSummary:
    """How often sets of classes hold the true class, and how large they are.

    Attributes:
        coverage: Fraction of images whose set holds their class.
        coverage_ci: Its Wilson 95 % interval.
        by_class: The same of every true class; NaN for a class without images.
        mean_size: Mean number of classes in a set.
        singletons: Fraction of sets of exactly one class.
    """

    coverage: float
    coverage_ci: tuple[float, float]
    by_class: Rates
    mean_size: float
    singletons: float


def fit_temperature(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the temperature in [0.05, 20] that makes the targets likeliest; above 1 it softens.

    The mean negative log-likelihood is convex in 1 / T, so that it has one minimum along log T, which
    golden sections close in on. Where no temperature beats T = 1, that is the answer. Where every
    target is the likeliest class, the minimum lies at 0.05: too few errors to learn doubt from.

    Source:
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    """
    logits = _log(_probs(probs))
    own = np.arange(len(logits)), _classes("target", target, logits.shape)

    def loss(log_t: float) -> float:
        return float(-_log_softmax(logits / math.exp(log_t))[own].mean())

    low, high = map(math.log, TEMPERATURES)
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-7:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    best = (low + high) / 2
    return math.exp(best) if loss(best) < loss(0.0) else 1.0


def apply_temperature(probs: ArrayLike, temperature: float) -> FloatArray:
    """Return softmax(log(probs) / temperature), shape (N, C): softer above 1, sharper below.

    The order of the classes stays, and with it the argmax, as long as two probabilities differ by more
    than the rounding of double precision. Rows that sum to 1 only roughly are made to.

    >>> apply_temperature([[0.8, 0.2]], 2.0).round(4)
    array([[0.6667, 0.3333]])
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(f"a temperature must be above 0 and finite, 1 to change nothing; got {temperature}")
    return np.exp(_log_softmax(_log(_probs(probs)) / temperature))


def negative_log_likelihood(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the mean of -log of the true class's probability; a zero counts as 1.2e-38.

    >>> round(negative_log_likelihood([[0.5, 0.5], [1.0, 0.0]], [1, 0]), 4)
    0.3466
    """
    return float(-_log(_true_probs(probs, target)).mean())


def brier_score(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the squared distance of `probs` from the truth, in [0, 2]: sum over classes, mean over images.

    >>> brier_score([[0.5, 0.5], [1.0, 0.0]], [1, 0])
    0.25
    """
    probs = _probs(probs)
    truth = np.eye(probs.shape[1])[_classes("target", target, probs.shape)]
    return float(((probs - truth) ** 2).sum(axis=1).mean())


def reliability(probs: ArrayLike, pred: ArrayLike, target: ArrayLike, *, n_bins: int = 15) -> Reliability:
    """Return stated confidence beside accuracy, in bins of equal width over [0, 1].

    The confidence of an image is the probability of its predicted class, which a majority vote may
    have chosen against the argmax.
    """
    if n_bins < 1:
        raise ConfigError(f"a reliability diagram needs at least 1 bin, such as 15; got n_bins={n_bins}")
    probs = _probs(probs)
    pred, target = _classes("pred", pred, probs.shape), _classes("target", target, probs.shape)
    stated = probs[np.arange(len(probs)), pred]
    index = np.maximum(np.ceil(stated * n_bins).astype(np.int64) - 1, 0)  # 0 joins the first bin
    count = np.bincount(index, minlength=n_bins)
    some = np.where(count > 0, count, np.nan)
    return Reliability(
        count=count,
        confidence=np.bincount(index, weights=stated, minlength=n_bins) / some,
        accuracy=np.bincount(index, weights=pred == target, minlength=n_bins) / some,
    )


def expected_calibration_error(
    probs: ArrayLike, pred: ArrayLike, target: ArrayLike, *, n_bins: int = 15
) -> float:
    """Return the mean gap |accuracy - confidence| over the bins of `reliability`, weighted by images.

    Source:
        Guo et al., ICML 2017, equation 3.

    >>> round(expected_calibration_error([[0.9, 0.1], [0.9, 0.1]], pred=[0, 0], target=[0, 1]), 4)
    0.4
    """
    bins = reliability(probs, pred, target, n_bins=n_bins)
    return float(np.nansum(bins.count * np.abs(bins.accuracy - bins.confidence)) / bins.count.sum())


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
    score, right = _scores("score", score), np.asarray(correct)
    if right.shape != score.shape or right.dtype != np.bool_:
        raise ShapeError(
            f"correct must hold one boolean a score, shape {score.shape}; got {right.dtype} of shape {right.shape}"
        )
    _fraction("error_rate", error_rate)
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
    return _upper_quantile(1 - _true_probs(probs, target), _fraction("coverage", coverage), else_=1.0)


def conformal_sets(probs: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Return which classes are in each image's set, 1 - p <= threshold, shape (N, C).

    The likeliest class always is, so that no set is empty. This only enlarges sets, and keeps coverage.

    >>> conformal_sets([[0.9, 0.1], [0.55, 0.45]], threshold=0.6)
    array([[ True, False],
           [ True,  True]])
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must lie in [0, 1], as from conformal_threshold; got {threshold}")
    probs = _probs(probs)
    sets = 1 - probs <= threshold
    sets[np.arange(len(sets)), probs.argmax(axis=1)] = True
    return sets


def conformal_summary(sets: ArrayLike, target: ArrayLike) -> SetSummary:
    """Return how often `sets`, booleans of shape (N, C), hold the true class, and how large they are."""
    member = np.asarray(sets)
    if member.ndim != 2 or member.shape[0] < 1 or member.shape[1] < 2 or member.dtype != np.bool_:
        raise ShapeError(
            "sets must be booleans of shape (N, C) with N >= 1 images and C >= 2 classes, as from "
            f"conformal_sets; got {member.dtype} of shape {member.shape}"
        )
    n, n_classes = member.shape
    target = _classes("target", target, member.shape)
    held = member[np.arange(n), target]
    support = np.bincount(target, minlength=n_classes)
    covered = np.bincount(target[held], minlength=n_classes)
    low, high = wilson(held.sum(), n)
    sizes = member.sum(axis=1)
    return SetSummary(
        coverage=float(held.mean()),
        coverage_ci=(float(low), float(high)),
        by_class=Rates(covered / np.where(support > 0, support, np.nan), *wilson(covered, support)),
        mean_size=float(sizes.mean()),
        singletons=float((sizes == 1).mean()),
    )


def unknown_threshold(score: ArrayLike, *, share: float) -> float:
    """Return the strangeness above which a cell is unknown, so that at most `share` of known cells are.

    The ceil((n + 1) (1 - share))-th smallest of n scores of known validation cells, higher = stranger;
    +inf, which calls nothing unknown, where n is too small. The promise is kept on average.
    """
    return _upper_quantile(_scores("score", score), 1 - _fraction("share", share), else_=math.inf)


def detection_rate(unknown: ArrayLike, threshold: float) -> float:
    """Return the fraction of unknown cells that score above the threshold of `unknown_threshold`."""
    if math.isnan(threshold):
        raise ConfigError("threshold must be a number, as from unknown_threshold; got nan")
    return float((_scores("unknown", unknown) > threshold).mean())


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """Return the chance that an unknown cell scores above a known one; ties count half.

    >>> auroc(known=[1, 2, 3], unknown=[2, 4])
    0.75
    """
    ordered, strange = np.sort(_scores("known", known)), _scores("unknown", unknown)
    below = np.searchsorted(ordered, strange, side="left")
    not_above = np.searchsorted(ordered, strange, side="right")
    return float((below + not_above).mean() / (2 * ordered.size))


def _upper_quantile(values: FloatArray, share: float, *, else_: float) -> float:
    """The value that a new exchangeable one stays within with chance `share`, if there are enough."""
    rank = max(1, math.ceil((values.size + 1) * share - 1e-9))  # 1e-9: 100 * 0.55 is not above 55
    return float(np.sort(values)[rank - 1]) if rank <= values.size else else_


def _true_probs(probs: ArrayLike, target: ArrayLike) -> FloatArray:
    probs = _probs(probs)
    return probs[np.arange(len(probs)), _classes("target", target, probs.shape)]


def _log(probs: FloatArray) -> FloatArray:
    return np.log(np.maximum(probs, TINY))


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _probs(probs: ArrayLike) -> FloatArray:
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


def _classes(name: str, values: ArrayLike, shape: tuple[int, ...]) -> IntArray:
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


def _scores(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(
            f"{name} must hold one number an image, shape (N,) with N >= 1; got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise ShapeError(f"{name} must hold finite numbers; got {array[first]} at position {first}")
    return array


def _fraction(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ConfigError(f"{name} must lie strictly between 0 and 1; got {value}")
    return value
