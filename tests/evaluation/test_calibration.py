import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import beta, binom
from sklearn.metrics import brier_score_loss, log_loss

from hemoscope.errors import ConfigError, ShapeError
from hemoscope.evaluation import calibration, refusal
from hemoscope.evaluation.calibration import (
    adaptive_calibration_error,
    apply_temperature,
    brier_score,
    classwise_calibration_error,
    ece_if_calibrated,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from hemoscope.evaluation.refusal import (
    conformal_sets,
    conformal_threshold,
    conformal_thresholds_by_class,
    review_threshold,
    unknown_threshold,
)

few = settings(max_examples=30, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=25)  # few values: many ties
HALF = [[0.5, 0.5]]


def draw(seed, n=200, n_classes=4, *, scale=2.0, sharpened=1.0):
    """Probabilities whose true temperature is `sharpened`, and targets that follow the unsharpened ones."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(n, n_classes))
    chance = softmax(logits, axis=1).cumsum(axis=1)
    target = np.minimum((rng.random((n, 1)) > chance).sum(axis=1), n_classes - 1)
    return softmax(sharpened * logits, axis=1), target


# --- temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpened", [0.4, 1.0, 2.0, 5.0])
def test_the_factor_that_miscalibrated_the_logits_is_recovered(sharpened):
    probs, target = draw(1, n=8000, sharpened=sharpened)
    assert fit_temperature(probs, target) == pytest.approx(sharpened, rel=0.05)


@few
@given(SEEDS, st.floats(0.3, 4))
def test_the_fitted_temperature_is_scipy_s_minimum(seed, sharpened):
    probs, target = draw(seed, n=60, sharpened=sharpened)

    def loss(log_t):
        return -log_softmax(np.log(probs) / np.exp(log_t), axis=1)[np.arange(60), target].mean()

    bounds = (math.log(0.05), math.log(20))
    want = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    got = math.log(fit_temperature(probs, target))
    assert loss(got) <= want.fun + 1e-9
    assert got == pytest.approx(want.x, abs=1e-3)


def test_an_overconfident_network_is_softened_and_its_calibration_error_falls():
    probs, target = draw(2, n=4000, sharpened=3.0)
    held_out, truth = draw(3, n=4000, sharpened=3.0)
    calm = apply_temperature(held_out, fit_temperature(probs, target))
    pred = held_out.argmax(axis=1)
    assert expected_calibration_error(calm, pred, truth) < 0.03
    assert expected_calibration_error(held_out, pred, truth) > 0.1
    assert negative_log_likelihood(calm, truth) < negative_log_likelihood(held_out, truth)


def test_targets_that_are_always_likeliest_reach_the_lower_end():
    probs = np.array([[0.6, 0.4], [0.45, 0.55]])
    assert fit_temperature(probs, [0, 1]) == pytest.approx(0.05, rel=1e-5)


def test_targets_against_confident_predictions_reach_the_upper_end_even_from_exact_zeros():
    assert fit_temperature([[1.0, 0.0], [0.0, 1.0]], [1, 0]) == pytest.approx(20, rel=1e-5)


def test_probabilities_that_no_temperature_changes_keep_temperature_one():
    assert fit_temperature(np.full((5, 4), 0.25), [0, 1, 2, 3, 0]) == 1.0


def test_one_wrong_zero_among_many_right_ones_is_weighed_by_the_clip_of_float32():
    probs = np.array([[1.0, 0.0]] * 99 + [[0.0, 1.0]])
    depth = -math.log(np.finfo(np.float32).tiny)  # two classes: right with chance 0.99 at logit log 99
    assert fit_temperature(probs, np.zeros(100, int)) == pytest.approx(depth / math.log(99), rel=1e-4)


@few
@given(SEEDS, st.floats(0.05, 20))
def test_temperature_keeps_the_argmax_and_rows_that_sum_to_one(seed, temperature):
    probs, _ = draw(seed, scale=5)
    probs = probs.astype(np.float32)
    got = apply_temperature(probs, temperature)
    np.testing.assert_array_equal(got.argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-12)


@few
@given(SEEDS)
def test_temperature_one_changes_nothing(seed):
    probs, _ = draw(seed, scale=10)
    np.testing.assert_allclose(apply_temperature(probs, 1.0), probs, atol=1e-12, rtol=0)
    np.testing.assert_allclose(apply_temperature([[1.0, 0.0]], 1.0), [[1, 0]], atol=1e-12, rtol=0)


@few
@given(SEEDS, st.floats(0.05, 20))
def test_temperature_divides_the_logits(seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(20, 5))
    got = apply_temperature(softmax(logits, axis=1), temperature)
    np.testing.assert_allclose(got, softmax(logits / temperature, axis=1), atol=1e-12)


# --- scores of probabilities ---------------------------------------------------------------------


@few
@given(SEEDS)
def test_likelihood_and_brier_score_agree_with_scikit_learn(seed):
    probs, target = draw(seed, n=40)
    assert negative_log_likelihood(probs, target) == pytest.approx(log_loss(target, probs, labels=range(4)))
    one_hot = (target[:, None] == np.arange(4)).astype(int)
    want = sum(brier_score_loss(one_hot[:, c], probs[:, c], pos_label=1) for c in range(4))
    assert brier_score(probs, target) == pytest.approx(want)


def test_a_certain_mistake_costs_two_and_a_finite_likelihood():
    assert brier_score([[1.0, 0.0]], [1]) == 2.0
    assert brier_score([[1.0, 0.0]], [0]) == negative_log_likelihood([[1.0, 0.0]], [0]) == 0.0
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(34.54, abs=0.01)


@few
@given(SEEDS, st.integers(1, 20))
def test_reliability_agrees_with_sorting_images_into_bins_one_by_one(seed, n_bins):
    probs, target = draw(seed, n=50)
    pred = np.random.default_rng(seed).integers(0, 4, 50)  # mostly not the argmax
    got = reliability(probs, pred, target, n_bins=n_bins)
    stated = probs[np.arange(50), pred]
    gap = 0.0
    for m in range(n_bins):
        inside = (stated > m / n_bins) & (stated <= (m + 1) / n_bins)
        assert got.count[m] == inside.sum()
        if not inside.any():
            assert np.isnan([got.confidence[m], got.accuracy[m]]).all()
            continue
        right = (pred == target)[inside].mean()
        np.testing.assert_allclose([got.confidence[m], got.accuracy[m]], [stated[inside].mean(), right])
        gap += inside.sum() / 50 * abs(right - stated[inside].mean())
    assert expected_calibration_error(probs, pred, target, n_bins=n_bins) == pytest.approx(gap, abs=1e-12)


def test_confidences_of_zero_and_one_fall_into_the_first_and_the_last_bin():
    got = reliability([[1.0, 0.0], [1.0, 0.0]], pred=[0, 1], target=[0, 0], n_bins=3)
    assert got.count.tolist() == [1, 0, 1]
    assert got.accuracy[[0, 2]].tolist() == [0.0, 1.0]


def test_fifteen_bins_are_the_default():
    assert reliability(HALF, [0], [0]).count.shape == (15,)


@few
@given(SEEDS, st.integers(1, 60), st.integers(1, 20))
def test_bins_of_equally_many_images_are_those_of_the_definition(seed, n, n_bins):
    probs, target = draw(seed, n=n)
    pred = probs.argmax(axis=1)
    ranked = sorted(zip(probs.max(axis=1), pred == target, strict=True), key=lambda pair: pair[0])
    sizes = [n // n_bins + (b < n % n_bins) for b in range(n_bins)]
    wanted = 0.0
    for size in sizes:
        part, ranked = ranked[:size], ranked[size:]
        wanted += abs(sum(hit for _, hit in part) - sum(p for p, _ in part)) / n
    assert adaptive_calibration_error(probs, pred, target, n_bins=n_bins) == pytest.approx(wanted)


@few
@given(SEEDS, st.integers(1, 60), st.integers(1, 20))
def test_the_error_of_a_class_is_that_of_its_own_probability(seed, n, n_bins):
    probs, target = draw(seed, n=n)
    errors = []
    for c in range(4):
        two = np.stack([1 - probs[:, c], probs[:, c]], axis=1)  # the class against the rest, always predicted
        errors.append(
            expected_calibration_error(two, np.ones(n, int), (target == c).astype(int), n_bins=n_bins)
        )
    assert classwise_calibration_error(probs, target, n_bins=n_bins) == pytest.approx(np.mean(errors))


def test_the_errors_of_a_calibrated_network_lie_where_it_is_said_and_those_of_a_boastful_one_do_not():
    inside = {1.0: 0, 2.0: 0}
    for seed in range(200):
        for sharpened in inside:
            probs, target = draw(seed, sharpened=sharpened)
            pred = probs.argmax(axis=1)
            low, high = ece_if_calibrated(probs, pred, draws=200, seed=seed)
            inside[sharpened] += low <= expected_calibration_error(probs, pred, target) <= high
    assert inside[1.0] >= binom.ppf(0.001, 200, 0.95)
    assert inside[2.0] < 20


# --- review --------------------------------------------------------------------------------------


def exact_upper(errors, n, confidence):
    """Clopper and Pearson's one-sided bound, as a quantile of the beta distribution."""
    return 1.0 if errors == n else float(beta.ppf(confidence, errors + 1, n - errors))


def walk(score, correct, error_rate, confidence):
    """The definition in plain words: (threshold, accepted, errors) of the last share that passes, or None."""
    best = None
    for percent in range(1, 101):
        size = math.ceil(percent * len(score) / 100 - 1e-9)
        level = sorted(score, reverse=True)[size - 1]
        taken = [right for s, right in zip(score, correct, strict=True) if s >= level]
        if exact_upper(0, len(taken), confidence) > error_rate:
            continue
        errors = taken.count(False)
        if exact_upper(errors, len(taken), confidence) > error_rate:
            break
        best = (level, len(taken), errors)
    return best


@few
@given(SEEDS, st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([0.8, 0.95]), st.sampled_from([5, 1000]))
def test_the_threshold_is_where_walking_share_by_share_ends(seed, error_rate, confidence, n_values):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, n_values, 90) / n_values
    correct = rng.random(90) < 0.7 + 0.35 * score
    got = review_threshold(score, correct, error_rate=error_rate, confidence=confidence)
    want = walk(score.tolist(), correct.tolist(), error_rate, confidence)
    if want is None:
        assert got is None
        return
    assert got is not None
    assert (got.threshold, got.accepted, got.errors) == want
    assert got.accepted == (score >= got.threshold).sum()
    assert got.errors == (~correct[score >= got.threshold]).sum()
    assert got.coverage == got.accepted / 90
    assert got.upper == pytest.approx(exact_upper(got.errors, got.accepted, confidence))
    assert got.upper <= got.error_rate == error_rate


def test_a_perfect_network_needs_no_review():
    got = review_threshold(np.arange(100.0), np.ones(100, bool), error_rate=0.05)
    assert got is not None
    assert (got.threshold, got.coverage, got.accepted, got.errors) == (0.0, 1.0, 100, 0)
    assert got.upper == pytest.approx(1 - 0.05 ** (1 / 100))


@pytest.mark.parametrize(("error_rate", "n_needed"), [(0.01, 299), (0.05, 59), (0.3, 9)])
def test_so_many_images_without_an_error_are_the_fewest_that_can_promise(error_rate, n_needed):
    """0.99^299 < 0.05 < 0.99^298: Wilson's bound let 268 images promise 1 %."""
    assert (1 - error_rate) ** n_needed <= 0.05 < (1 - error_rate) ** (n_needed - 1)
    for n, enough in ((n_needed - 1, False), (n_needed, True)):
        got = review_threshold(np.zeros(n), np.ones(n, bool), error_rate=error_rate)
        assert (got is not None) == enough, n


def test_equal_scores_are_accepted_or_reviewed_together():
    score = np.repeat([0.9, 0.5], [100, 100])
    correct = np.repeat([True, True, False], [100, 60, 40])  # ends with 40 errors, all at 0.5
    got = review_threshold(score, correct, error_rate=0.05)
    assert got is not None
    assert (got.threshold, got.accepted, got.errors) == (0.9, 100, 0)


def test_a_share_after_the_first_failure_is_not_taken_though_it_would_pass():
    score = np.arange(1000.0)[::-1]
    correct = np.ones(1000, bool)
    correct[[3, 4]] = False  # two mistakes among the surest 60, none after
    assert exact_upper(2, 1000, 0.95) < 0.05 < exact_upper(2, 60, 0.95)
    assert review_threshold(score, correct, error_rate=0.05) is None


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(5)
    score, shuffle = rng.random(300), rng.permutation(300)
    correct = rng.random(300) < 0.9 + 0.1 * score
    got = review_threshold(score, correct, error_rate=0.1)
    assert got is not None
    assert review_threshold(score[shuffle], correct[shuffle], error_rate=0.1) == got


def at_most(share, n):
    """A count that a chance of `share` exceeds once in 700 draws of n: three standard deviations."""
    return share * n + 3 * math.sqrt(n * share * (1 - share))


def test_a_promise_that_no_threshold_keeps_is_made_in_a_twentieth_of_data_sets_at_most():
    """The hardest case: at every score errors are just above the rate, so that any threshold breaks it."""
    rng, broken, best_of_all = np.random.default_rng(6), 0, 0
    sizes = np.arange(1, 601)
    most = binom.ppf(0.05, sizes, 0.05)
    most -= binom.cdf(most, sizes, 0.05) > 0.05  # errors with which the exact bound is within the rate
    for _ in range(3000):
        score, correct = rng.random(600), rng.random(600) >= 0.05001
        broken += review_threshold(score, correct, error_rate=0.05) is not None
        best_of_all += ((~correct[np.argsort(-score)]).cumsum() <= most).any()
    assert broken <= at_most(0.05, 3000)
    assert best_of_all > at_most(0.05, 3000)  # trying every threshold would fail this check


def test_a_useful_score_accepts_most_images_and_its_promise_holds_in_nineteen_of_twenty_data_sets():
    """With errors of chance 0.3 (1 - s)^12 at score s, a share c of the surest errs with 0.3 c^12 / 13."""
    rng, broken, coverage = np.random.default_rng(7), 0, []
    for _ in range(200):
        score = rng.random(2000)
        got = review_threshold(score, rng.random(2000) >= 0.3 * (1 - score) ** 12, error_rate=0.005)
        coverage.append(got.coverage if got else 0.0)
        broken += got is not None and 0.3 * (1 - got.threshold) ** 12 / 13 > 0.005
    assert broken <= at_most(0.05, 200)
    assert 0.75 < np.median(coverage) < (0.005 * 13 / 0.3) ** (1 / 12)  # the share that errs with 0.005


# --- conformal sets ------------------------------------------------------------------------------


@few
@given(SEEDS, st.integers(2, 40), st.sampled_from([0.5, 0.55, 0.8, 0.9, 0.95]))
def test_leaving_each_image_out_in_turn_covers_at_least_the_asked_share(seed, n, coverage):
    """The proof of split conformal prediction, counted: no luck is involved."""
    probs, target = draw(seed, n=n)
    if seed % 2:  # ties
        probs = np.round(probs * 4) / 4
        probs[:, 0] = np.maximum(1 - probs[:, 1:].sum(axis=1), 0)
        probs /= probs.sum(axis=1, keepdims=True)
    own = 1 - probs[np.arange(n), target]
    rest = [np.arange(n) != i for i in range(n)]
    held = [own[i] <= conformal_threshold(probs[r], target[r], coverage=coverage) for i, r in enumerate(rest)]
    assert sum(held) >= coverage * n - 1e-9
    if np.unique(own).size == n:
        assert sum(held) < coverage * n + 1


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.99])
def test_sets_cover_new_exchangeable_images_as_asked_whatever_the_calibration(coverage):
    covered, of_true = [], []
    for seed in range(60):
        probs, target = draw(seed, n=1300, n_classes=8, sharpened=3.0)
        threshold = conformal_threshold(probs[:300], target[:300], coverage=coverage)
        sets = conformal_sets(probs[300:], probs[300:].argmax(axis=1), threshold)
        covered.append(sets[np.arange(1000), target[300:]].mean())
        of_true.append((1 - probs[np.arange(300, 1300), target[300:]] <= threshold).mean())
    assert np.mean(of_true) == pytest.approx(coverage, abs=0.01)
    assert np.mean(covered) >= np.mean(of_true)


def test_thresholds_by_class_cover_every_class_where_one_for_all_leaves_the_hard_class_short():
    common, by_class = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        target = (rng.random(2400) < 0.15).astype(
            int
        )  # the second class is rare, and its answers are less sure
        margin = rng.normal(3.0 - 2.5 * target, 1.5)
        own = 1 / (1 + np.exp(-margin))
        probs = np.where(target[:, None] == np.arange(2), own[:, None], 1 - own[:, None])
        one = conformal_threshold(probs[:1200], target[:1200], coverage=0.9)
        each = conformal_thresholds_by_class(probs[:1200], target[:1200], coverage=0.9)
        for found, threshold in ((common, one), (by_class, each[target[1200:]])):
            held = 1 - own[1200:] <= threshold
            found.append([held[target[1200:] == c].mean() for c in (0, 1)])
    assert np.mean(by_class, axis=0) == pytest.approx([0.9, 0.9], abs=0.02)
    assert np.mean(common, axis=0)[1] < 0.7


def test_a_class_with_too_few_images_is_in_every_set():
    probs = np.array([[0.9, 0.1]] * 30)
    target = np.array([0] * 29 + [1])
    found = conformal_thresholds_by_class(probs, target, coverage=0.9)
    assert found == pytest.approx([0.1, 1.0])
    assert found[0] == pytest.approx(conformal_threshold(probs[:29], target[:29], coverage=0.9))


def test_the_threshold_is_the_finite_sample_quantile():
    p_true = np.arange(1, 20) / 20  # 19 scores 0.05 ... 0.95
    probs = np.stack([p_true, 1 - p_true], axis=1)
    zeros = np.zeros(19, int)
    assert conformal_threshold(probs, zeros, coverage=0.9) == pytest.approx(0.90)  # the 18th
    assert conformal_threshold(probs, zeros, coverage=0.95) == pytest.approx(0.95)  # the 19th
    assert conformal_threshold(probs, zeros, coverage=0.96) == 1.0  # the 20th of 19
    assert conformal_threshold(probs, zeros, coverage=0.55) == pytest.approx(0.55)  # 20 * 0.55 is 11.000...2


def test_too_few_images_let_every_class_in():
    threshold = conformal_threshold([[0.9, 0.1]], [0], coverage=0.95)
    assert threshold == 1.0
    assert conformal_sets([[1.0, 0.0]], [0], threshold).all()


@few
@given(SEEDS, st.floats(0, 1))
def test_a_set_is_what_is_answered_and_all_within_the_threshold(seed, threshold):
    probs, pred = draw(seed, n=30)
    sets = conformal_sets(probs, pred, threshold)
    for i, row in enumerate(probs):
        want = {c for c in range(4) if 1 - row[c] <= threshold} | {int(pred[i])}
        assert set(np.flatnonzero(sets[i])) == want


def test_a_certainty_that_rounding_lifts_above_one_still_gives_a_usable_threshold():
    probs = np.array([[1.0000001, 0.0]] * 30)
    threshold = conformal_threshold(probs, np.zeros(30, int), coverage=0.9)
    assert threshold == 0.0
    assert conformal_sets(probs, np.zeros(30, int), threshold).tolist() == [[True, False]] * 30


# --- many cells of one patient --------------------------------------------------------------------


def test_a_promise_is_broken_more_often_where_many_cells_are_of_one_patient():
    """What `docs/statistics.md` says; the promise is one of cells that are drawn each by itself."""
    rng, rate = np.random.default_rng(0), 0.011
    broken = {}
    for alike in (0, 0.1):
        found = 0
        for _ in range(600):
            if alike:
                patients = rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), 20)
            else:
                patients = np.full(20, rate)
            right = rng.random((20, 200)) >= patients[:, None]
            found += review_threshold(rng.random(4000), right.ravel(), error_rate=0.01) is not None
        broken[alike] = found / 600
    assert broken[0] <= 0.07
    assert 0.09 <= broken[0.1] <= 0.2


# --- unknown cells -------------------------------------------------------------------------------


@few
@given(st.lists(st.integers(0, 60), min_size=2, max_size=50), st.sampled_from([0.01, 0.1, 0.25, 0.5]))
def test_leaving_each_known_cell_out_in_turn_calls_at_most_the_share_unknown(score, share):
    score = np.array(score)
    left = [score[i] > unknown_threshold(np.delete(score, i), share=share) for i in range(len(score))]
    assert sum(left) <= share * len(score) + 1e-9


def test_the_unknown_threshold_is_a_known_cell_s_score_or_infinite_for_too_few():
    score = np.random.default_rng(0).permutation(np.arange(1.0, 100))  # 1 ... 99
    assert unknown_threshold(score, share=0.01) == 99
    assert unknown_threshold(score, share=0.05) == 95
    assert unknown_threshold(score[:98], share=0.01) == math.inf
    assert unknown_threshold([3, 1, 2], share=1 - 1e-12) == 1


# --- refusals ------------------------------------------------------------------------------------

ON_PROBS = {
    "fit_temperature": lambda p: fit_temperature(p, [0]),
    "apply_temperature": lambda p: apply_temperature(p, 2),
    "negative_log_likelihood": lambda p: negative_log_likelihood(p, [0]),
    "brier_score": lambda p: brier_score(p, [0]),
    "reliability": lambda p: reliability(p, [0], [0]),
    "conformal_threshold": lambda p: conformal_threshold(p, [0], coverage=0.9),
    "conformal_sets": lambda p: conformal_sets(p, [0], 0.5),
}


@pytest.mark.parametrize("name", ON_PROBS)
@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([0.5, 0.5], r"shape \(N, C\) .* got shape \(2,\)"),
        (np.zeros((0, 3)), r"N >= 1 images .* got shape \(0, 3\)"),
        ([[1.0]], r"C >= 2 classes; got shape \(1, 1\)"),
        ([[0.5, 0.6]], r"sum to 1; got \[0.5, 0.6\] in row 0 .* not logits"),
        ([[1.5, -0.5]], r"sum to 1; got \[1.5, -0.5\]"),
        ([[0.5, math.nan]], r"got \[0.5, nan\] in row 0"),
        ([[math.inf, -math.inf]], r"got \[inf, -inf\] in row 0"),
        ([[0.5, 0.5], [3, 4], [-1, 2]], r"got \[3.0, 4.0\] in row 1 \(2 of 3 rows so\)"),
    ],
)
def test_what_is_no_softmax_is_refused_by_every_function(name, probs, message):
    with pytest.raises(ShapeError, match=message):
        ON_PROBS[name](probs)


ON_TARGET = {
    "fit_temperature": lambda t: fit_temperature(HALF, t),
    "negative_log_likelihood": lambda t: negative_log_likelihood(HALF, t),
    "brier_score": lambda t: brier_score(HALF, t),
    "reliability": lambda t: reliability(HALF, [0], t),
    "conformal_threshold": lambda t: conformal_threshold(HALF, t, coverage=0.9),
}


@pytest.mark.parametrize("name", ON_TARGET)
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([0, 1], r"target must hold .* shape \(1,\); got int64 of shape \(2,\)"),
        ([0.0], r"target must hold one integer .* got float64"),
        ([2], r"target must lie in \[0, 2\); got 2 at position 0"),
        ([-1], r"target must lie in \[0, 2\); got -1 at position 0"),
    ],
)
def test_targets_that_do_not_fit_are_refused_by_every_function(name, target, message):
    with pytest.raises(ShapeError, match=message):
        ON_TARGET[name](target)


def test_predictions_that_do_not_fit_are_refused_by_their_name():
    with pytest.raises(ShapeError, match=r"pred must lie in \[0, 2\); got 2"):
        reliability(HALF, [2], [0])


ON_SCORES = {
    "score": lambda s: review_threshold(s, np.ones(len(s), bool), error_rate=0.1),
    "score of a known cell": lambda s: unknown_threshold(s, share=0.1),
}


@pytest.mark.parametrize("name", ON_SCORES)
@pytest.mark.parametrize(
    ("score", "message"),
    [
        ([], r"must hold one number an image, .* got shape \(0,\)"),
        ([[1.0]], r"must hold one number an image, .* got shape \(1, 1\)"),
        ([0, math.nan], "must hold finite numbers; got nan at position 1"),
        ([math.inf], "must hold finite numbers; got inf at position 0"),
    ],
)
def test_scores_that_are_no_finite_list_are_refused_by_their_name(name, score, message):
    with pytest.raises(ShapeError, match=f"^{name.split()[0]} {message}"):
        ON_SCORES[name](score)


@pytest.mark.parametrize("correct", [[True], [1, 0], [[True, False]]])
def test_correctness_that_is_no_boolean_a_score_is_refused(correct):
    with pytest.raises(ShapeError, match=r"one boolean a score, shape \(2,\); got"):
        review_threshold([1, 2], correct, error_rate=0.1)


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ConfigError, match="above 0 and finite"):
        apply_temperature(HALF, temperature)


@pytest.mark.parametrize("value", [0, 1, -0.1, 95, math.nan])
def test_shares_outside_zero_to_one_are_refused_by_their_name(value):
    ones = np.ones(3, bool)
    with pytest.raises(ConfigError, match="error_rate must lie strictly between 0 and 1"):
        review_threshold([1, 2, 3], ones, error_rate=value)
    with pytest.raises(ConfigError, match=r"confidence must lie strictly between 0.5 and 1"):
        review_threshold([1, 2, 3], ones, error_rate=0.1, confidence=value)
    with pytest.raises(ConfigError, match="coverage must lie strictly between 0 and 1"):
        conformal_threshold(HALF, [0], coverage=value)
    with pytest.raises(ConfigError, match="share must lie strictly between 0 and 1"):
        unknown_threshold([1, 2], share=value)


def test_a_confidence_no_better_than_a_coin_is_refused():
    with pytest.raises(ConfigError, match=r"strictly between 0.5 and 1, such as 0.95; got 0.5"):
        review_threshold([1.0], [True], error_rate=0.1, confidence=0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, [0.5, 1.1]])
def test_a_set_threshold_outside_zero_to_one_is_refused(threshold):
    with pytest.raises(ConfigError, match=r"threshold must lie in \[0, 1\]"):
        conformal_sets(HALF, [0], threshold)


def test_a_diagram_without_bins_is_refused():
    with pytest.raises(ConfigError, match="at least 1 bin, such as 15; got n_bins=0"):
        reliability(HALF, [0], [0], n_bins=0)


def test_every_exported_name_exists():
    for module in (calibration, refusal):
        assert all(hasattr(module, name) for name in module.__all__)
