"""How far a network's own certainty can be believed: temperature, reliability, calibration error.

Everything is fitted on validation images and reported on others; nothing here knows a network. Where to stop
believing it: `refusal`.

Throughout, `probs` are softmax probabilities, shape (N, C), and `target` and `pred` are class
indices, shape (N,). A `ShapeError` names an array that is empty, of another shape or type, not finite
or out of range; a `ConfigError` names such a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ConfigError
from hemoscope.evaluation.checked import checked_classes, checked_probs
from hemoscope.evaluation.metrics import log_loss
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "Reliability",
    "adaptive_calibration_error",
    "apply_temperature",
    "brier_score",
    "classwise_calibration_error",
    "ece_if_calibrated",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability",
]

TINY = float(np.finfo(np.float32).tiny)  # stands for the zeros of a float32 softmax
TEMPERATURES = (0.05, 20.0)


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


def fit_temperature(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the temperature in [0.05, 20] that makes the targets likeliest; above 1 it softens.

    The mean negative log-likelihood is convex in 1 / T, so that it has one minimum along log T, which
    golden sections close in on. Where no temperature beats T = 1, that is the answer. Where every
    target is the likeliest class, the minimum lies at 0.05: too few errors to learn doubt from.

    Source:
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    """
    logits = _log(checked_probs(probs))
    own = np.arange(len(logits)), checked_classes("target", target, logits.shape)

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
    return np.exp(_log_softmax(_log(checked_probs(probs)) / temperature))


def negative_log_likelihood(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the mean of -log of the true class's probability; see `metrics.log_loss`.

    >>> round(negative_log_likelihood([[0.5, 0.5], [1.0, 0.0]], [1, 0]), 4)
    0.3466
    """
    probs = checked_probs(probs)
    return log_loss(probs, checked_classes("target", target, probs.shape))


def brier_score(probs: ArrayLike, target: ArrayLike) -> float:
    """Return the squared distance of `probs` from the truth, in [0, 2]: sum over classes, mean over images.

    >>> brier_score([[0.5, 0.5], [1.0, 0.0]], [1, 0])
    0.25
    """
    probs = checked_probs(probs)
    truth = np.eye(probs.shape[1])[checked_classes("target", target, probs.shape)]
    return float(((probs - truth) ** 2).sum(axis=1).mean())


def reliability(probs: ArrayLike, pred: ArrayLike, target: ArrayLike, *, n_bins: int = 15) -> Reliability:
    """Return stated confidence beside accuracy, in bins of equal width over [0, 1].

    The confidence of an image is the probability of its predicted class, which a majority vote may
    have chosen against the argmax.
    """
    if n_bins < 1:
        raise ConfigError(f"a reliability diagram needs at least 1 bin, such as 15; got n_bins={n_bins}")
    probs = checked_probs(probs)
    pred, target = checked_classes("pred", pred, probs.shape), checked_classes("target", target, probs.shape)
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


def ece_if_calibrated(
    probs: ArrayLike, pred: ArrayLike, *, n_bins: int = 15, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return where 95 % of the calibration errors of these answers would lie, were each as certain as it says.

    A calibration error is never below 0, so that of few images is large by chance alone. Here every answer is right
    with the probability it states, drawn `draws` times.

    Source:
        Vaicenavicius et al., Evaluating model calibration in classification, AISTATS 2019.
    """
    probs = checked_probs(probs)
    stated = probs[np.arange(len(probs)), checked_classes("pred", pred, probs.shape)]
    index = np.maximum(np.ceil(stated * n_bins).astype(np.int64) - 1, 0)
    order = np.argsort(index, kind="stable")
    edges = np.flatnonzero(np.diff(index[order], prepend=-1))
    stated, rng = stated[order], np.random.default_rng(seed)
    sums = np.add.reduceat(stated, edges)
    errors = [
        np.abs(np.add.reduceat(rng.random(len(stated)) < stated, edges, dtype=np.float64) - sums).sum()
        for _ in range(draws)
    ]
    low, high = np.quantile(np.array(errors) / len(stated), [0.025, 0.975])
    return float(low), float(high)


def adaptive_calibration_error(
    probs: ArrayLike, pred: ArrayLike, target: ArrayLike, *, n_bins: int = 15
) -> float:
    """Return the calibration error over bins that hold equally many images, to within one.

    Source:
        Nguyen & O'Connor, EMNLP 2015.

    >>> round(adaptive_calibration_error([[0.9, 0.1], [0.8, 0.2]], [0, 0], [0, 1], n_bins=2), 4)
    0.45
    """
    probs = checked_probs(probs)
    pred, target = checked_classes("pred", pred, probs.shape), checked_classes("target", target, probs.shape)
    stated = probs[np.arange(len(probs)), pred]
    order = np.argsort(stated, kind="stable")
    gaps = ((pred == target) - stated)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, n_bins)) / len(gaps))


def classwise_calibration_error(probs: ArrayLike, target: ArrayLike, *, n_bins: int = 15) -> float:
    """Return the mean over classes of the calibration error of each class's probability, likely or not.

    Source:
        Kull et al., Beyond temperature scaling, NeurIPS 2019.

    >>> round(classwise_calibration_error([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 4)
    0.4
    """
    probs = checked_probs(probs)
    n, n_classes = probs.shape
    target = checked_classes("target", target, probs.shape)
    index = np.maximum(np.ceil(probs * n_bins).astype(np.int64) - 1, 0) + n_bins * np.arange(n_classes)
    gaps = probs - (target[:, None] == np.arange(n_classes))
    sums = np.bincount(index.ravel(), weights=gaps.ravel(), minlength=n_bins * n_classes)
    return float(np.abs(sums).sum() / (n * n_classes))


def _log(probs: FloatArray) -> FloatArray:
    return np.log(np.maximum(probs, TINY))


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
