"""Intervals of calibration: against SciPy's bootstrap, and against a simulation whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import bootstrap

from hemoscope.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from hemoscope.evaluation.calibration_intervals import calibration_estimates


def drawn(n: int, rng: np.random.Generator, *, sharper: float = 1.0):
    """Return answers of two classes whose margins are stated so many times too large."""
    margin = rng.normal(1.5, 2.0, n)
    probs = np.stack([1 - expit(sharper * margin), expit(sharper * margin)], axis=1)
    target = (rng.random(n) < expit(margin)).astype(np.int64)
    return probs, probs.argmax(axis=1), target


def test_the_values_are_the_scores_themselves_and_lie_within_their_intervals():
    probs, pred, target = drawn(400, np.random.default_rng(1), sharper=2)
    found = calibration_estimates(probs, pred, target, draws=2000)
    assert found["ece"].value == pytest.approx(expected_calibration_error(probs, pred, target))
    assert found["brier"].value == pytest.approx(brier_score(probs, target))
    assert found["log_loss"].value == pytest.approx(negative_log_likelihood(probs, target))
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_of_one_class_the_intervals_of_means_are_scipy_s_bca():
    """Without strata the bootstrap is the plain one."""
    probs, pred, _ = drawn(150, np.random.default_rng(2))
    target = np.ones(150, np.int64)
    assert (pred == 0).sum() >= 5
    found = calibration_estimates(probs, pred, target, draws=20_000)
    each = {"brier": 2 * probs[:, 0] ** 2, "log_loss": -np.log(probs[:, 1])}
    for name, values in each.items():
        want = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=3).confidence_interval
        width = want.high - want.low
        assert found[name].low == pytest.approx(want.low, abs=0.04 * width)
        assert found[name].high == pytest.approx(want.high, abs=0.04 * width)


@pytest.mark.slow
def test_the_lower_end_is_zero_where_nothing_is_shown_and_the_truth_lies_within():
    """Calibrated answers: the error's truth is near 0, and 95 in 100 intervals have to reach down to it."""
    rng = np.random.default_rng(4)
    zero = [calibration_estimates(*drawn(300, rng), draws=300, seed=s)["ece"].low == 0 for s in range(300)]
    assert np.mean(zero) > 0.93
    sharp = [
        calibration_estimates(*drawn(300, rng, sharper=4), draws=300, seed=s)["ece"].low == 0
        for s in range(50)
    ]
    assert np.mean(sharp) < 0.1


@pytest.mark.slow
def test_the_intervals_hold_the_truth_as_often_as_the_results_say():
    rng = np.random.default_rng(5)
    truth = calibration_estimates(*drawn(1_000_000, np.random.default_rng(6), sharper=2), draws=1)
    held = dict.fromkeys(truth, 0)
    for seed in range(250):
        for name, one in calibration_estimates(*drawn(300, rng, sharper=2), draws=300, seed=seed).items():
            held[name] += one.low <= truth[name].value <= one.high
    assert held["ece"] > 0.84 * 250
    assert min(held["brier"], held["log_loss"]) > 0.88 * 250


def test_with_a_few_wrong_answers_there_is_no_interval():
    rng = np.random.default_rng(7)
    sure = rng.uniform(0.7, 1.0, 200)
    probs, pred = np.stack([1 - sure, sure], axis=1), np.ones(200, int)
    for wrong, given in ((4, False), (5, True)):
        target = (np.arange(200) >= wrong).astype(int)
        found = calibration_estimates(probs, pred, target, draws=100)
        assert found["brier"].value == pytest.approx(brier_score(probs, target))
        assert found["ece"].value == pytest.approx(expected_calibration_error(probs, pred, target))
        assert all(np.isfinite([one.low, one.high]).all() == given for one in found.values())
