"""Scores of many matrices at once, and intervals of them, against scikit-learn, SciPy and the definition."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import bootstrap

from hemoscope.errors import ShapeError
from hemoscope.evaluation import bootstrap as drawn_again
from hemoscope.evaluation.bootstrap import STATISTICS, balanced_accuracy, balanced_estimate, bca, intervals_of
from hemoscope.evaluation.metrics import confusion_matrix


def drawn(seed: int, n: int = 120, n_classes: int = 4, error: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())
    return target, np.where(rng.random(n) < error, rng.integers(0, n_classes, n), target)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns_one_matrix_or_many_at_a_time(seed: int):
    pairs = [drawn(seed + 10 * i) for i in range(3)]
    stacked = np.stack([confusion_matrix(*pair, 4) for pair in pairs])
    for i, (target, pred) in enumerate(pairs):
        want = {
            "balanced_accuracy": sk.balanced_accuracy_score(target, pred),
            "macro_precision": sk.precision_score(target, pred, average="macro", zero_division=0),
            "mcc": sk.matthews_corrcoef(target, pred),
            "cohens_kappa": sk.cohen_kappa_score(target, pred),
        }
        for name, value in want.items():
            assert STATISTICS[name](stacked)[i] == pytest.approx(value), name
            assert float(STATISTICS[name](stacked[i])) == pytest.approx(value), name
        rates = [sk.recall_score(target != c, pred != c) for c in range(4)]
        assert STATISTICS["macro_specificity"](stacked)[i] == pytest.approx(np.mean(rates))


def test_classes_without_images_are_in_no_mean():
    target, pred = drawn(1)
    with_more = confusion_matrix(np.where(target == 0, 1, target), pred, 5)  # 0 and 4 have no images
    there = {"labels": [1, 2, 3], "average": "macro", "zero_division": 0}
    true = np.where(target == 0, 1, target)
    assert STATISTICS["balanced_accuracy"](with_more) == pytest.approx(sk.recall_score(true, pred, **there))
    assert STATISTICS["macro_precision"](with_more) == pytest.approx(sk.precision_score(true, pred, **there))


def test_without_variety_scores_are_nought_and_no_warning():
    alone = np.array([[7, 0], [0, 0]])
    assert STATISTICS["mcc"](alone) == 0
    assert STATISTICS["cohens_kappa"](alone) == 0
    assert STATISTICS["balanced_accuracy"](alone) == 1
    assert np.isnan(STATISTICS["macro_specificity"](alone))  # of no other class
    found = intervals_of(np.array([[1, 0], [0, 0]]), STATISTICS)
    assert np.isnan([found["macro_specificity"].value, found["macro_specificity"].low]).all()
    assert found["balanced_accuracy"].value == 1


@pytest.mark.parametrize(("hits", "n"), [(90, 100), (40, 50), (985, 1000)])
def test_the_interval_of_one_stratum_is_scipys(hits: int, n: int):
    confusion = np.array([[hits, n - hits], [0, 0]])
    found = intervals_of(confusion, {"accuracy": STATISTICS["balanced_accuracy"]}, draws=20_000)["accuracy"]
    values = np.repeat([1.0, 0.0], [hits, n - hits])
    want = bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1)).confidence_interval
    assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=1.5 / n)


def test_the_acceleration_is_that_of_leaving_out_every_image_of_every_stratum():
    target, pred = drawn(3, n=60, n_classes=3)
    confusion = confusion_matrix(target, pred, 3)
    statistic = STATISTICS["mcc"]
    value, sizes = float(statistic(confusion)), confusion.sum(axis=1)
    each = []
    for i in range(60):
        rest = confusion_matrix(np.delete(target, i), np.delete(pred, i), 3)
        n = sizes[target[i]]
        each.append((n - 1) / n * (value - float(statistic(rest))))
    draws = np.random.default_rng(0).normal(value, 0.03, 5000)
    by_image = bca(value, draws, np.array(each), weights=1)
    kinds = np.array(np.nonzero(confusion)).T
    losses = []
    for row, column in kinds:
        less = confusion.copy()
        less[row, column] -= 1
        losses.append((sizes[row] - 1) / sizes[row] * (value - float(statistic(less))))
    by_kind = bca(value, draws, np.array(losses), weights=confusion[kinds[:, 0], kinds[:, 1]])
    assert by_kind == by_image


def test_images_are_left_out_one_by_one_however_many_are_looked_at_together(monkeypatch: pytest.MonkeyPatch):
    counts = np.array([[7, 1, 0], [0, 5, 2], [1, 0, 3]])
    whole = np.concatenate([*drawn_again._without_one(counts)])
    monkeypatch.setattr(drawn_again, "_IN_HAND", 20)  # two matrices of nine
    parts = [*drawn_again._without_one(counts)]
    assert [len(part) for part in parts] == [2, 2, 2]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (counts - whole).sum(axis=(1, 2)).tolist() == [1] * 6
    assert (counts - whole).sum(axis=0).tolist() == (counts > 0).astype(int).tolist()


def test_the_same_seed_gives_the_same_interval_and_no_errors_give_none():
    confusion = confusion_matrix(*drawn(5), 4)
    assert intervals_of(confusion, STATISTICS, draws=300) == intervals_of(confusion, STATISTICS, draws=300)
    perfect = intervals_of(np.diag([5, 9]), STATISTICS, draws=300)["mcc"]
    assert perfect.value == 1
    assert np.isnan([perfect.low, perfect.high]).all()


@pytest.mark.parametrize("confusion", [np.zeros((3, 3), int), np.ones((2, 3), int), np.ones(4, int)])
def test_no_images_have_no_interval(confusion: np.ndarray):
    with pytest.raises(ShapeError, match="at least one image"):
        intervals_of(confusion, STATISTICS)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    sensitivities = np.array([0.95, 0.85, 0.9])
    truth, inside = sensitivities.mean(), 0
    for seed in range(300):
        right = rng.binomial(100, sensitivities)
        confusion = np.diag(right)
        confusion[np.arange(3), [1, 2, 0]] = 100 - right
        statistics = {"balanced": STATISTICS["balanced_accuracy"]}
        found = intervals_of(confusion, statistics, draws=1000, seed=seed)["balanced"]
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 300 <= 0.985  # 0.95 within three standard errors, to a step of a count


@pytest.mark.parametrize(
    ("images", "right"),
    [
        ([1, 50, 20, 10, 100], [0.5, 0.9, 0.9, 0.9, 0.9]),
        ([3, 88, 33, 21, 207], [0.6, 0.9, 0.9, 0.9, 0.9]),
        ([3, 3, 200, 200, 200], [0.7, 0.7, 0.98, 0.98, 0.98]),
        ([10, 1000], [0.95, 0.99]),
        ([50, 500, 500], [0.98, 0.99, 0.99]),
    ],
)
def test_the_interval_of_balanced_accuracy_holds_where_a_class_has_few_images(images, right):
    """The bootstrap's held in 6, 73, 82, 42 and 71 of a hundred sides."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        hits = rng.binomial(images, right)
        confusion = np.diag(hits) + np.roll(np.diag(images - hits), 1, axis=1)
        found = balanced_estimate(confusion, draws=1000)
        inside += found.low <= np.mean(right) <= found.high
    assert inside >= 0.92 * 300
    perfect = balanced_estimate(np.diag(images))
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low < 0.99


def test_where_every_class_has_images_enough_it_is_the_bootstrap_s():
    confusion = np.array([[90, 10], [5, 45]])
    (want,) = intervals_of(confusion, {"it": balanced_accuracy}).values()
    assert balanced_estimate(confusion) == want
