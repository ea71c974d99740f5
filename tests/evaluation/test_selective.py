"""The risk-coverage curve, against an order drawn at random and the sums it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.errors import ShapeError
from hemoscope.evaluation.selective import risk_coverage


def test_among_equal_certainties_the_curve_is_the_mean_over_their_orders():
    rng = np.random.default_rng(0)
    certainty = rng.integers(0, 4, 30) / 4
    right = rng.random(30) < 0.7
    drawn = []
    for _ in range(20_000):
        order = np.lexsort((rng.random(30), -certainty))
        drawn.append(np.cumsum(~right[order]) / np.arange(1, 31))
    found = risk_coverage(certainty, right)
    np.testing.assert_allclose(found.risk, np.mean(drawn, axis=0), atol=0.015)
    assert found.area == pytest.approx(np.mean(drawn), abs=0.002)


def test_the_area_lies_between_the_best_order_and_the_worst_and_is_the_error_rate_without_any_order():
    right = np.arange(100) >= 20
    ideal, worst = risk_coverage(right.astype(float), right), risk_coverage(1.0 - right, right)
    assert ideal.area <= worst.area
    assert ideal.best == worst.best
    surely = risk_coverage(np.arange(100.0), right)  # every error below every right answer
    assert surely.area == pytest.approx(surely.best)
    assert risk_coverage(np.zeros(100), right).area == pytest.approx(0.2)
    assert risk_coverage(np.zeros(100), np.ones(100, bool)).area == 0
    np.testing.assert_allclose(surely.coverage[[0, -1]], [0.01, 1])
    assert surely.risk[-1] == pytest.approx(0.2)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ShapeError, match="one boolean a certainty"):
        risk_coverage([0.5, 0.6], [True])
    with pytest.raises(ShapeError, match="N >= 1"):
        risk_coverage([], [])
