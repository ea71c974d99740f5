"""The luck of the seed and the luck of the images, found again where both are known."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.errors import ShapeError
from hemoscope.evaluation.seeds import spread_of


def test_known_parts_are_found_again():
    """Images are easy or hard, seeds good or bad: chances of being right that differ by both."""
    rng = np.random.default_rng(0)
    n, seeds, times = 400, 5, 400
    sd_seed, found, accuracies = 0.02, [], []
    for _ in range(times):
        hard = rng.random(n) < 0.1
        luck = rng.normal(0, sd_seed, seeds)
        chance = np.clip(np.where(hard, 0.5, 0.9)[None] + luck[:, None], 0, 1)
        right = rng.random((seeds, n)) < chance
        found.append(spread_of(right))
        accuracies.append(right[0].mean())  # every time other seeds and other images
    assert np.mean([f.sd_seed**2 for f in found]) == pytest.approx(sd_seed**2, rel=0.15)
    assert np.mean([f.sd_both**2 for f in found]) == pytest.approx(np.var(accuracies, ddof=1), rel=0.25)
    assert np.mean([f.mean for f in found]) == pytest.approx(0.86, abs=0.005)


def test_the_same_answers_from_every_seed_are_no_luck_of_the_seed():
    right = np.tile(np.random.default_rng(1).random(100) < 0.9, (3, 1))
    found = spread_of(right)
    assert (found.sd, found.sd_seed) == (0, 0)
    assert found.sd_images == pytest.approx(np.sqrt(right[0].var(ddof=1) / 100))


def test_one_seed_says_nothing():
    with pytest.raises(ShapeError, match="at least 2 seeds"):
        spread_of(np.ones((1, 9), dtype=bool))
