"""Errors beside a reference's, and when background counts as recognised, by definition and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.stress.result import constant_share, recognises_background, relative_to, share_right


def test_corruption_errors_are_those_of_hendrycks_and_dietterich():
    errors, reference = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.2] * 5]), np.array([[0.5] * 5, [0.25] * 5])
    found = relative_to(errors, 0.1, reference, 0.2)
    assert found.ce == pytest.approx([1.5 / 2.5, 1.0 / 1.25])
    assert found.relative_ce == pytest.approx([(1.5 - 0.5) / (2.5 - 1.0), (1.0 - 0.5) / (1.25 - 1.0)])
    assert found.mce == pytest.approx((0.6 + 0.8) / 2)
    assert found.relative_mce == pytest.approx((2 / 3 + 2) / 2)


def test_a_reference_has_errors_of_one_beside_itself():
    errors = np.random.default_rng(0).uniform(0.2, 0.9, (16, 5))
    found = relative_to(errors, 0.1, errors, 0.1)
    assert (found.mce, found.relative_mce) == pytest.approx((1, 1))


def test_what_a_reference_never_gets_wrong_is_undefined_and_in_no_mean():
    found = relative_to(np.full((2, 5), 0.1), 0.05, np.array([[0.0] * 5, [0.2] * 5]), 0.0)
    assert np.isnan(found.ce[0])
    assert found.mce == found.ce[1] == pytest.approx(0.5)
    none = relative_to(np.full((1, 5), 0.1), 0.05, np.zeros((1, 5)), 0.0)
    assert np.isnan([none.mce, none.relative_mce]).all()


def test_answers_that_do_not_know_the_class_are_seldom_said_to():
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(8), (40, 25, 25, 25, 25, 25, 25, 10))
    called = 0
    for _ in range(2000):
        habits = rng.dirichlet(np.full(8, 0.3))  # of a network that says what it likes
        said = rng.choice(8, len(target), p=habits)
        called += recognises_background(said == target, target)
    assert called / 2000 < 0.03
    assert not any(recognises_background(target == c, target) for c in range(8))


def test_answers_that_know_the_class_now_and_then_are_said_to():
    rng = np.random.default_rng(1)
    target = np.repeat(np.arange(8), 25)
    called = [
        recognises_background(
            np.where(rng.random(200) < 0.3, target, rng.integers(0, 8, 200)) == target, target
        )
        for _ in range(200)
    ]
    assert np.mean(called) > 0.95


def test_without_images_nothing_is_said():
    none = np.zeros(0, np.bool_)
    assert np.isnan(share_right(none)).all()
    assert np.isnan(constant_share(np.zeros(0, np.int64)))
    assert not recognises_background(none, np.zeros(0, np.int64))
