"""What is true of a slide of which a person has looked at some cells: against a grid, an exact posterior, and simulated slides."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from hemoscope.differential.composition import composition, drawn, endless
from hemoscope.errors import ShapeError
from hemoscope.review.state import start
from hemoscope.review.unreviewed import Sides, known, shares_left, sides_of
from tests.review.slides import CLASSES, SHARP, cell, cells_of, give, place


@pytest.mark.parametrize("left", [None, [[0.5, 0.05], [0.1, 0.6]]])
def test_two_classes_with_known_cells_have_the_posterior_of_a_grid(left):
    """p(counts, known | p) can be summed over a grid of p and over draws of the confusion."""
    confusion, counts, sure = np.array([[80, 20], [15, 135]]), np.array([20, 40]), np.array([12, 28])
    part = np.ones((2, 2)) if left is None else np.array(left)
    rng = np.random.default_rng(1)
    right, wrong = (
        rng.beta(80.5, 20.5, 4000),
        rng.beta(15.5, 135.5, 4000),
    )  # p(first | first), p(first | second)
    grid = ((np.arange(2000) + 0.5) / 2000)[:, None]
    first = grid * right * part[0, 0] + (1 - grid) * wrong * part[1, 0]
    second = grid * (1 - right) * part[0, 1] + (1 - grid) * (1 - wrong) * part[1, 1]
    log = counts[0] * np.log(first) + counts[1] * np.log(second)
    each = np.exp(log - log.max(axis=0)) * beta.pdf(grid, sure[0] + 0.5, sure[1] + 0.5)
    posterior = (each / each.sum(axis=0)).mean(axis=1)  # cut: every confusion has the same weight
    want = np.interp([0.025, 0.25, 0.5, 0.75, 0.975], posterior.cumsum(), grid[:, 0])

    found = drawn(counts, confusion, known=sure, left=left, draws=3000, sweeps=30, keep=4, seed=3)
    got = np.quantile(found.shares[:, 0], [0.025, 0.25, 0.5, 0.75, 0.975])
    np.testing.assert_allclose(got, want, atol=0.012)


def test_known_cells_alone_leave_jeffreys_posterior():
    sure = np.array([1, 6, 0, 0, 60, 12, 121, 9])
    found = drawn([0] * 8, SHARP, known=sure, draws=20_000, sweeps=1)
    assert (found.true == sure).all()
    assert not found.wrong.any()
    for i, count in enumerate(sure):
        want = beta.ppf([0.025, 0.5, 0.975], count + 0.5, sure.sum() - count + 3.5)
        np.testing.assert_allclose(np.quantile(found.shares[:, i], [0.025, 0.5, 0.975]), want, atol=0.004)


def test_without_known_cells_nothing_has_changed():
    args = ([5, 9, 2], np.array([[50, 5, 1], [2, 70, 3], [9, 1, 40]]))
    same = drawn(*args, known=[0, 0, 0], left=np.ones((3, 3)), draws=50, seed=4)
    np.testing.assert_array_equal(composition(*args, draws=50, seed=4), same.shares)


@pytest.mark.parametrize(
    "rest", [{"known": [1, 2, 3]}, {"known": [1.5, 2]}, {"known": [-1, 2]}, {"left": [[1, 2]]}, {"left": [[1, 2], [0, 1]]}]
)  # fmt: skip
def test_what_cannot_be_known_or_left_is_refused(rest):
    with pytest.raises(ShapeError):
        drawn([3, 4], np.eye(2, dtype=int), **rest)


def test_endless_cells_leave_only_how_the_model_errs():
    """A model that hardly errs leaves one composition; two classes are solved by hand."""
    np.testing.assert_allclose(endless([30, 70, 0], SHARP[:3, :3], draws=9).std(axis=0), 0, atol=1e-3)
    confusion = np.array([[8000, 2000], [1000, 9000]])
    found = endless([45, 55], confusion, draws=500)[:, 0]
    # 0.45 = p * 0.8 + (1 - p) * 0.1
    assert found.mean() == pytest.approx(0.5, abs=0.002)
    assert 0.003 < found.std() < 0.02


def sides(cells, *commands):
    return sides_of(cells, give(start(CLASSES, cells), *commands))


def test_without_a_review_all_confusions_are_left_and_after_it_none():
    cells = cells_of({"neutrophil": 6, "ig": 2})
    assert (shares_left(sides(cells), SHARP) == 1).all()
    left = shares_left(sides(cells, place(range(8), "ig")), SHARP)
    used = [CLASSES.index("neutrophil"), CLASSES.index("ig")]
    assert (left[:, used] == 0).all()


def test_who_looks_at_the_doubtful_cells_takes_their_confusions_away():
    """Of ten neutrophils two may well be immature; after a look at these, little of that confusion is left."""
    sure = [cell(i, prob=0.98, other="ig") for i in range(8)]
    doubtful = [cell(8, prob=0.6, other="ig"), cell(9, prob=0.6, other="ig")]
    neutrophil, ig = CLASSES.index("neutrophil"), CLASSES.index("ig")
    even = np.ones((8, 8), dtype=np.int64)  # validation cells of every class alike
    left = shares_left(sides([*sure, *doubtful], place([8, 9], "neutrophil")), even)
    # the slide is full of neutrophils, so that odds of ig against them shrink alike in every cell
    odds = [p / (1 - p) for p in (0.02, 0.4)]
    shift = 0.5 / 10.5
    a, b = (o * shift / (1 + o * shift) for o in odds)
    assert left[ig, neutrophil] == pytest.approx(8 * a / (8 * a + 2 * b))
    assert left[ig, neutrophil] < 0.2 < 0.8 == pytest.approx(left[neutrophil, neutrophil], abs=0.02)


def test_a_random_review_leaves_the_same_share_of_all_confusions():
    cells = [cell(i, prob=0.8, other="ig") for i in range(20)]
    left = shares_left(sides(cells, place(range(5), "neutrophil")), SHARP)
    used = [CLASSES.index("neutrophil"), CLASSES.index("ig")]
    np.testing.assert_allclose(left[used, CLASSES.index("neutrophil")], 0.75)


def test_unknown_cells_count_once_a_person_has_placed_them():
    cells = [*cells_of({"neutrophil": 3}), cell(3, status="unknown")]
    assert known(sides(cells)).sum() == 0
    assert sides(cells).called.sum() == 3
    assert known(sides(cells, place([3], "ig")))[CLASSES.index("ig")] == 1
    assert known(sides(cells, place([3], "not_classed"))).sum() == 0


def test_doubtful_first_the_interval_holds_because_the_errors_left_are_fewer():
    """A drawn model, wrong on one cell in six or so; half of each slide is reviewed, the most doubtful first.

    With the errors of all validation cells the same intervals hold clearly less often.
    """
    rng = np.random.default_rng(5)
    share, trained, c, far = np.array([0.6, 0.25, 0.15]), np.array([0.2, 0.4, 0.4]), 3, 1.6

    def cells(target):
        evidence = rng.normal(size=(len(target), c))
        evidence[np.arange(len(target)), target] += far
        probs = np.exp(far * evidence) * trained
        return probs.argmax(axis=1), probs / probs.sum(axis=1, keepdims=True)

    held = {"left": 0, "all": 0}
    for slide in range(60):
        val = rng.choice(c, 3000, p=trained)
        confusion = np.zeros((c, c), dtype=np.int64)
        np.add.at(confusion, (val, cells(val)[0]), 1)
        target = rng.choice(c, 600, p=share)
        pred, probs = cells(target)
        two = np.sort(probs, axis=1)
        reviewed = np.zeros(600, bool)
        reviewed[np.argsort(two[:, -1] - two[:, -2])[:300]] = True
        found = Sides(
            np.arange(600), pred, probs, np.ones(600, bool), reviewed, np.where(reviewed, target, -1)
        )
        for name, left in {"left": shares_left(found, confusion), "all": None}.items():
            counts = np.bincount(pred[~reviewed], minlength=c)
            draws = drawn(
                counts, confusion, known=known(found), left=left, draws=60, sweeps=10, keep=5, seed=slide
            )
            low, high = np.quantile(draws.shares, [0.025, 0.975], axis=0)
            held[name] += int(((low <= share) & (share <= high)).sum())
    assert held["left"] / 180 >= 0.91
    assert held["all"] / 180 <= 0.85
