import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from statsmodels.stats.proportion import confint_proportions_2indep

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.evaluation.intervals import binomial_cdf, clopper_pearson, newcombe, surely_more, wilson

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_ten_errors_in_2056_give_the_interval_of_the_paper_s_ensemble():
    low, high = wilson(2046, 2056)
    assert (round(100 * float(low), 2), round(100 * float(high), 2)) == (99.11, 99.74)


@given(COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_bounds_are_the_proportions_the_score_test_just_allows(counts, confidence):
    hits, n = counts
    z = norm.ppf(0.5 + confidence / 2)
    low, high = (float(bound) for bound in wilson(hits, n, confidence=confidence))
    assert 0 <= low <= hits / n <= high <= 1
    for bound in (low, high):  # |p_hat - p| = z sqrt(p (1 - p) / n), squared
        assert (hits / n - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / n, rel=1e-6, abs=1e-12)


@given(st.lists(COUNTS, min_size=1, max_size=8))
def test_vectors_agree_with_scipy_one_by_one(counts):
    hits, n = np.array(counts).T
    low, high = wilson(hits, n)
    for i, (k, total) in enumerate(counts):
        want = binomtest(k, total).proportion_ci(method="wilson")
        np.testing.assert_allclose(
            [low[i], high[i]], [want.low, want.high], atol=1e-12, err_msg=f"{k}/{total}"
        )


def test_no_trials_give_no_interval_beside_defined_ones():
    low, high = wilson([0, 3], [0, 4])
    assert np.isnan([low[0], high[0]]).all()
    assert 0 < low[1] < 0.75 < high[1] < 1
    assert np.isnan(wilson(0, 0)).all()


def test_nothing_and_everything_reach_the_ends_exactly():
    for n in range(1, 400):
        low, high = wilson([0, n], n)
        assert low[0] == 0.0, n
        assert high[1] == 1.0, n
        assert high[0] > 0, n
        assert low[1] < 1, n


def test_one_number_of_trials_serves_a_whole_array():
    low, high = wilson(np.array([[1, 2], [3, 4]]), 10)
    assert low.shape == high.shape == (2, 2)


@pytest.mark.parametrize(("hits", "n"), [(3, 2), (-1, 4), ([1, 5], [4, 4])])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(ShapeError, match="0 <= successes <= n"):
        wilson(hits, n)


@pytest.mark.parametrize(("hits", "n"), [(0.5, 2), (1, 2.0)])
def test_fractions_of_counts_are_refused(hits, n):
    with pytest.raises(ShapeError, match="whole counts"):
        wilson(hits, n)


def test_the_interval_at_a_mean_of_counts_lies_between_those_of_the_counts():
    ends = [np.array(wilson(hits, 3, means=True)) for hits in (1, 1.5, 2)]
    for below, above in itertools.pairwise(ends):
        assert (below < above).all()
    assert ends[0] == pytest.approx(np.array(wilson(1, 3)))
    assert ends[1].sum() == pytest.approx(1)  # as far from 0 as from 1
    with pytest.raises(ShapeError, match="0 <= successes <= n"):
        wilson(float("nan"), 3, means=True)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1, float("nan")])
def test_a_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        wilson(1, 2, confidence=confidence)


@given(COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_exact_interval_is_scipy_s(counts, confidence):
    hits, n = counts
    want = binomtest(hits, n).proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(
        clopper_pearson(hits, n, confidence=confidence), [want.low, want.high], atol=1e-9
    )


@given(COUNTS, st.sampled_from([0.001, 0.01, 0.3, 0.99]))
def test_the_tail_that_a_promise_is_tested_by_is_scipy_s(counts, p):
    k, n = counts
    assert binomial_cdf(k, n, p) == pytest.approx(binom.cdf(k, n, p), rel=1e-9, abs=1e-200)


RUEMKE = """
    0: 0-4, 1: 0-6, 2: 0-8, 3: 0-9, 4: 1-10, 5: 1-12, 10: 4-18, 15: 8-24, 20: 12-30, 25: 16-35, 30: 21-40,
    50: 39-61
"""


@pytest.mark.parametrize("line", RUEMKE.split(","))
def test_a_hundred_cells_give_ruemke_s_table(line):
    """The column n = 100 of Rümke's table, as haematology text books print it: whole percents, outwards."""
    percent, low, high = (int(number) for number in line.replace(":", "-").split("-"))
    exact = clopper_pearson(percent, 100)
    assert (np.floor(100 * exact[0]), np.ceil(100 * exact[1])) == (low, high)


def test_nothing_counted_leaves_everything_open():
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5)])
def test_the_exact_interval_refuses_counts_outside(hits, n):
    with pytest.raises(ShapeError, match="0 <= successes <= n"):
        clopper_pearson(hits, n)


@given(COUNTS, COUNTS)
def test_the_interval_of_a_difference_is_statsmodels(first, second):
    rates = [(k / n, *(float(end) for end in wilson(k, n))) for k, n in (first, second)]
    want = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
    assert newcombe(rates[0], rates[1]) == pytest.approx(want, abs=1e-9)


def test_what_is_no_more_than_before_is_seldom_said_to_be_surely_more():
    rng = np.random.default_rng(0)
    for before, n, share in ((99, 200, 0.01), (300, 5000, 0.01), (2000, 1000, 0.05)):
        alarms = [
            surely_more(int(rng.binomial(n, share)), n, (int(rng.binomial(before, share)), before))
            for _ in range(1500)
        ]
        assert np.mean(alarms) <= 0.03
    assert surely_more(12, 12, (2, 40))
    assert not surely_more(0, 0, (2, 40))
    assert not surely_more(5, 5, (0, 0))
