"""Accuracy without labels: right where its assumption holds, known to be wrong where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.errors import ShapeError
from hemoscope.evaluation.unlabelled import agreement, thresholded_confidence


def drawn(seed: int, n: int, sharper: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are right with the certainty they state, or state `sharper` odds than they have."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(5, 1, n)
    odds = (truth / (1 - truth)) ** sharper
    return odds / (1 + odds), rng.random(n) < truth


def test_on_cells_like_those_of_validation_it_is_their_accuracy():
    certainty, right = drawn(0, 40_000)
    others, truth = drawn(1, 40_000)
    assert thresholded_confidence(certainty, right, others) == pytest.approx(truth.mean(), abs=0.02)
    assert thresholded_confidence(certainty, right, certainty) == right.mean()


def test_where_others_boast_more_it_is_too_high():
    certainty, right = drawn(0, 40_000)
    others, truth = drawn(1, 40_000, sharper=3)
    assert thresholded_confidence(certainty, right, others) > truth.mean() + 0.05


def test_none_right_and_all_right():
    certainty = np.array([0.4, 0.9])
    assert thresholded_confidence(certainty, np.array([False, False]), certainty) == 0
    assert thresholded_confidence(certainty, np.array([True, True]), np.array([0.3, 0.4])) == 0.5


def test_members_whose_errors_are_independent_of_many_classes_agree_as_often_as_both_are_right():
    rng = np.random.default_rng(2)
    target = rng.integers(0, 1000, 50_000)
    preds = np.stack(
        [np.where(rng.random(50_000) < 0.9, target, rng.integers(0, 1000, 50_000)) for _ in range(3)]
    )
    assert agreement(preds) == pytest.approx(0.81, abs=0.01)  # below 0.9: what it assumes does not hold


def test_too_little_is_refused():
    with pytest.raises(ShapeError, match="both sides"):
        thresholded_confidence(np.zeros(0), np.zeros(0, bool), np.ones(3))
    with pytest.raises(ShapeError, match="at least 2 members"):
        agreement(np.zeros((1, 5), int))


def test_of_answers_that_are_all_alike_as_many_count_as_were_right():
    certainty = np.array([1.0] * 98 + [0.5] * 2)
    right = np.arange(100) < 90
    assert thresholded_confidence(certainty, right, certainty) == pytest.approx(0.9)
    assert thresholded_confidence(certainty, right, np.ones(10)) == pytest.approx(90 / 98)
