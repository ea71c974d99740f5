"""Images without a known cell: what they are made of, and that each says what it is."""

from __future__ import annotations

import numpy as np

from hemoscope.packing.strangers import SMALLEST_PX, strangers


def test_a_large_image_gives_noise_a_corner_and_its_emptiest_patch():
    rng = np.random.default_rng(0)
    cell = rng.integers(60, 120, (150, 153, 3)).astype(np.uint8)
    cell[:45, :45] = (200, 100, 100)
    cell[100:130, 100:130] = 240
    found = dict(strangers([cell], np.random.default_rng(1)))
    assert list(found) == ["noise", "corner", "background"]
    assert all(image.shape == cell.shape and image.dtype == np.uint8 for image in found.values())
    assert (found["corner"] == (200, 100, 100)).all()
    assert (found["background"] == 240).all()
    assert found["noise"].std() > 60


def test_a_small_image_has_nothing_beside_its_cell():
    side = SMALLEST_PX - 1
    cell = np.zeros((side, side, 3), np.uint8)
    assert [kind for kind, _ in strangers([cell, cell], np.random.default_rng(0))] == ["noise", "noise"]
