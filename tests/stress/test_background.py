"""Cells found, hidden, put elsewhere: against drawn cells whose place is known, and by what must not leak."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.data.synthetic.kinds import class_names
from hemoscope.data.synthetic.scene import draw_with_mask
from hemoscope.stress.background import DISC_LIMIT, cover, disc_for, grey_cell, put_on
from hemoscope.stress.cellmask import find_cell, reach_of, soft

PER_CLASS, SIDE = 10, 180


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Images, where the cell truly is, and where it was found, by class."""
    cells = {}
    for name in class_names():
        scenes = [
            draw_with_mask(name, size_px=SIDE, rng=np.random.default_rng([5, i])) for i in range(PER_CLASS)
        ]
        cells[name] = []
        for image, mask in scenes:
            found = find_cell(image)
            assert found is not None, name
            cells[name].append((image, mask, found))
    return cells


@pytest.mark.parametrize("name", class_names())
def test_a_found_cell_holds_nearly_all_of_the_true_one_and_little_else(drawn, name: str):
    held = [(found & mask).sum() / mask.sum() for _, mask, found in drawn[name]]
    shared = [(found & mask).sum() / (found | mask).sum() for _, mask, found in drawn[name]]
    assert np.median(held) > 0.97
    assert min(held) > 0.85
    # A margin of two pixels all around is a third of a platelet.
    assert np.median(shared) > (0.5 if name == "platelet" else 0.72)


def test_one_disc_hides_nearly_every_drawn_cell_completely(drawn):
    every = [one for cells in drawn.values() for one in cells]
    radius = disc_for(np.array([reach_of(found) for _, _, found in every]))
    hidden = [reach_of(mask) <= radius for _, mask, found in every if reach_of(found) <= radius]
    assert len(hidden) >= 0.95 * len(every)
    assert np.mean(hidden) >= 0.95


def test_nothing_is_found_where_there_is_no_cell():
    rng = np.random.default_rng(0)
    empty = (np.array((250, 235, 215)) + rng.normal(0, 3, (90, 90, 3))).clip(0, 255).astype(np.uint8)
    assert find_cell(empty) is None
    assert find_cell(np.zeros((40, 40, 3), np.uint8)) is None
    assert find_cell(np.full((1, 1, 3), 9, np.uint8)) is None


def test_what_lies_under_the_disc_leaves_no_trace(drawn):
    (image, _, _), (other, _, _) = drawn["monocyte"][0], drawn["platelet"][0]
    radius = 0.3
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = np.hypot(y - SIDE / 2, x - SIDE / 2) <= radius * SIDE
    swapped = np.where(inside[..., None], other, image)
    assert not np.array_equal(swapped, image)
    hidden = cover(image, radius)
    np.testing.assert_array_equal(hidden, cover(swapped, radius))
    far = np.hypot(y - SIDE / 2, x - SIDE / 2) > 1.11 * radius * SIDE
    np.testing.assert_array_equal(hidden[far], image[far])
    assert len(np.unique(hidden[inside], axis=0)) == 1


def test_the_disc_has_the_slides_tone():
    image = np.full((100, 140, 3), (240, 225, 205), np.uint8)
    image[30:70, 50:90] = (90, 40, 140)
    image[:, :20] = (180, 150, 150)
    np.testing.assert_array_equal(cover(image, 0.4)[50, 70], (240, 225, 205))


def test_a_disc_is_for_nineteen_cells_in_twenty_and_never_for_the_whole_image():
    reaches = np.linspace(0.1, 0.4, 100)
    assert np.mean(reaches <= disc_for(reaches)) == pytest.approx(0.95)
    assert disc_for(np.array([0.6, 0.7])) == DISC_LIMIT
    assert disc_for(np.array([0.1, np.inf])) == DISC_LIMIT


def test_a_cell_on_another_ground_keeps_its_pixels_and_the_ground_its_own(drawn):
    image, mask, found = drawn["eosinophil"][1]
    alpha = soft(found)
    ground = np.full((90, 200, 3), (200, 210, 220), np.uint8)  # of another size
    placed = put_on(image, alpha, ground)
    assert placed.shape == image.shape
    np.testing.assert_array_equal(placed[alpha > 0.999], image[alpha > 0.999])
    np.testing.assert_array_equal(
        placed[alpha == 0], np.broadcast_to((200, 210, 220), placed.shape)[alpha == 0]
    )
    assert (alpha[mask] > 0.5).mean() > 0.95


def test_a_grey_cell_keeps_its_luma_and_the_rest_its_colours(drawn):
    image, _, found = drawn["basophil"][2]
    alpha = soft(found)
    grey = grey_cell(image, alpha).astype(int)
    assert np.ptp(grey[alpha > 0.999], axis=1).max() == 0
    luma = image[alpha > 0.999] @ np.array((0.299, 0.587, 0.114))
    assert np.abs(grey[alpha > 0.999][:, 0] - luma).max() <= 1
    np.testing.assert_array_equal(grey[alpha == 0], image[alpha == 0])


def test_a_reach_is_the_farthest_pixel_of_the_mask():
    mask = np.zeros((40, 60), np.bool_)
    assert reach_of(mask) == 0
    mask[20, 40] = True
    assert reach_of(mask) == pytest.approx(np.hypot(0.5, 10.5) / 40)
