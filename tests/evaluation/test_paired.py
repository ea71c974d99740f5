"""Two models on the same images, against SciPy, statsmodels, simulation and the paper's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

from hemoscope.errors import ShapeError
from hemoscope.evaluation.paired import (
    chance_better,
    chance_of_no_better,
    discordant,
    holm,
    images_needed,
    mcnemar,
    mcnemar_power,
    together,
)

few = settings(max_examples=50, deadline=None)
COUNTS = st.integers(0, 60)


@few
@given(COUNTS, COUNTS)
def test_mcnemars_test_is_statsmodels_exact_one(a: int, b: int):
    want = their_mcnemar([[5, a], [b, 3]], exact=True).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(min(1.0, want))


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holms_values_are_those_of_statsmodels(p: list[float]):
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_counts_of_all_pairs_are_those_of_the_definition():
    right = np.random.default_rng(0).random((5, 200)) < 0.8
    found = discordant(right)
    for a in range(5):
        for b in range(5):
            assert found[a, b] == (right[a] & ~right[b]).sum()


def test_equal_models_are_called_different_in_at_most_one_of_twenty_and_of_many_pairs_no_more():
    rng = np.random.default_rng(1)
    alone, family = 0, 0
    for _ in range(400):
        right = rng.random((6, 500)) < 0.95
        counts = discordant(right)
        upper = np.triu_indices(6, 1)
        p = mcnemar(counts[upper], counts.T[upper])
        alone += p[0] < 0.05
        family += (holm(p) < 0.05).any()
    most = binom.ppf(0.999, 400, 0.05)
    assert alone <= most
    assert family <= most


def test_the_chance_is_that_of_drawing_from_the_posterior_of_all_four_outcomes():
    rng = np.random.default_rng(2)
    drawn = rng.dirichlet([900 + 1, 12 + 1, 7 + 1, 30 + 1], 200_000)
    assert chance_better(12, 7) == pytest.approx((drawn[:, 1] > drawn[:, 2]).mean(), abs=0.005)
    assert chance_better(3, 3) == pytest.approx(0.5)


def test_the_papers_ten_errors_against_fourteen_leave_three_to_twenty_one_percent():
    low, high = chance_of_no_better(10, 14, 2056)
    assert (round(100 * low), round(100 * high)) == (3, 21)
    assert low == pytest.approx(1 - chance_better(4, 0))
    assert high == pytest.approx(1 - chance_better(14, 10))


@few
@given(st.integers(0, 12), st.integers(0, 12), st.integers(12, 30))
def test_no_possible_overlap_lies_outside_the_range(a: int, b: int, n: int):
    fewer, more = sorted((a, b))
    low, high = chance_of_no_better(fewer, more, n)
    for shared in range(max(0, a + b - n), fewer + 1):
        assert low <= 1 - chance_better(more - shared, fewer - shared) <= high


def test_errors_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="fewer <= more"):
        chance_of_no_better(14, 10, 2056)
    with pytest.raises(ShapeError, match="whole numbers"):
        mcnemar(-1, 2)
    with pytest.raises(ShapeError, match="two shares"):
        mcnemar_power(100, 0.7, 0.6)


@pytest.mark.parametrize(("n", "a", "b"), [(500, 0.05, 0.02), (2056, 0.004, 0.002), (200, 0.1, 0.1)])
def test_the_power_is_the_share_of_simulated_tests_that_reject(n: int, a: float, b: float):
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(n, [a, b, 1 - a - b], 20_000)
    rejected = float((mcnemar(drawn[:, 0], drawn[:, 1]) < 0.05).mean())
    assert mcnemar_power(n, a, b) == pytest.approx(rejected, abs=4 * np.sqrt(0.25 / 20_000))


def test_as_many_images_as_are_said_are_needed():
    needed = images_needed(0.01, 0.004)
    assert needed is not None
    assert mcnemar_power(needed, 0.01, 0.004) >= 0.8
    assert mcnemar_power(round(0.9 * needed), 0.01, 0.004) < 0.8
    assert images_needed(0.0001, 0.00009999) is None


def test_stretches_hold_no_two_that_differ_and_cannot_be_longer():
    rng = np.random.default_rng(4)
    for _ in range(50):
        differ = np.triu(rng.random((7, 7)) < 0.3, 1)
        differ = differ | differ.T
        order = rng.permutation(7).tolist()
        found = list(together(order, differ))
        fine = {
            (i, j)
            for i in range(7)
            for j in range(i, 7)
            if not differ[np.ix_(order[i : j + 1], order[i : j + 1])].any()
        }
        longest = {
            (i, j) for i, j in fine if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in fine)
        }
        assert set(found) == longest


def test_a_single_comparison_is_scipys():
    assert mcnemar(14, 3) == pytest.approx(binomtest(3, 17).pvalue)
