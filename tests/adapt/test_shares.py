"""Class shares by expectation maximisation, against a planted mixture and direct maximisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import binomtest, entropy

from hemoscope.adapt.shares import STEPS, estimate_shares, share_intervals
from hemoscope.errors import ShapeError

MEANS = np.array([-1.0, 0.5, 2.0])


def calibrated(shares: np.ndarray, n: int, prior: np.ndarray, seed: int = 0) -> np.ndarray:
    """Posteriors, under the prior, of numbers drawn from three normal distributions mixed in these shares."""
    rng = np.random.default_rng(seed)
    x = rng.normal(MEANS[rng.choice(3, n, p=shares)], 1.0)
    likelihood = np.exp(-((x[:, None] - MEANS) ** 2) / 2)
    joint = likelihood * prior
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("prior", [[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]])
def test_calibrated_probabilities_give_the_planted_shares_whatever_prior_they_assume(prior: list[float]):
    planted = np.array([0.1, 0.2, 0.7])
    probs = calibrated(planted, 40_000, np.array(prior))
    found = estimate_shares(probs, prior)
    np.testing.assert_allclose(found.shares, planted, atol=0.02)
    assert np.abs(probs.mean(axis=0) - planted).max() > 0.1  # what counting the probabilities alone would say
    np.testing.assert_allclose(found.posterior.mean(axis=0), found.shares, atol=1e-3)


@settings(max_examples=20)
@given(
    hnp.arrays(np.float64, (12, 3), elements=st.floats(-3, 3)),
    hnp.arrays(np.float64, 3, elements=st.floats(0.1, 1)),
)
def test_no_shares_are_likelier_than_those_found(logits: np.ndarray, weights: np.ndarray):
    probs, prior = softmax(logits, axis=1), weights / weights.sum()
    likelihood = probs / prior

    def surprise(free: np.ndarray) -> float:
        return float(-np.log(likelihood @ softmax(free)).mean())

    found = estimate_shares(probs, prior, pseudo_count=0).shares
    best = minimize(surprise, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    # Each step lowers it as mirror descent does, so this much at most is left (Kunstner et al., AISTATS 2021).
    left = entropy(softmax(best.x), prior) / STEPS
    assert -np.log(likelihood @ found).mean() <= best.fun + left + 1e-5


def test_a_cell_that_counts_twice_is_two_cells():
    probs = np.array([[0.8, 0.2], [0.3, 0.7]])
    weighed = estimate_shares(probs, [0.5, 0.5], weights=[2, 1]).shares
    twice = estimate_shares(probs[[0, 0, 1]], [0.5, 0.5]).shares
    np.testing.assert_allclose(weighed, twice, atol=1e-9)


def test_intervals_are_as_wide_as_estimates_from_new_cells_differ():
    planted, prior = np.array([0.2, 0.3, 0.5]), np.full(3, 1 / 3)
    low, high = share_intervals(calibrated(planted, 300, prior), prior, draws=200, seed=0)
    anew = [estimate_shares(calibrated(planted, 300, prior, seed), prior).shares for seed in range(1, 200)]
    spread = np.subtract(*np.quantile(anew, [0.975, 0.025], axis=0))
    np.testing.assert_allclose(high - low, spread, rtol=0.4)


@pytest.mark.parametrize("n", [64, 300])
def test_the_interval_of_a_class_without_a_cell_begins_at_none_and_is_as_wide_as_counting_makes_it(n: int):
    probs = np.tile([0.001, 0.998, 0.001], (n, 1))
    probs[: n // 2] = [0.001, 0.001, 0.998]
    low, high = share_intervals(probs, np.full(3, 1 / 3), draws=50, seed=0)
    assert low[0] == pytest.approx(0, abs=1e-6)
    assert high[0] == pytest.approx(binomtest(0, n).proportion_ci().high)


def test_a_class_that_a_draw_leaves_out_has_an_interval_too():
    probs = np.tile([0.0, 1.0], (64, 1))
    probs[0] = [1.0, 0.0]
    low, high = share_intervals(probs, np.full(2, 0.5), draws=50, seed=0)
    assert (low <= [1 / 64, 63 / 64]).all()
    assert (high >= [1 / 64, 63 / 64]).all()


def test_a_prior_that_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="expected 2 shares above 0"):
        estimate_shares([[0.5, 0.5]], [1.0, 0.0])
    with pytest.raises(ShapeError, match="expected 1 weights"):
        estimate_shares([[0.5, 0.5]], [0.5, 0.5], weights=[1, 1])
