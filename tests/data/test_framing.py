"""Cells framed by their nucleus: the same picture whatever lamp, camera and frame it was taken with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hemoscope.data.camera import AS_BEFORE, camera_px, evenly
from hemoscope.data.images.frame import framed, span
from hemoscope.data.images.framing import NUCLEUS_SHARE, SQUARE, by_nucleus, nucleus_of
from hemoscope.data.images.nucleus import nucleus_px, three_means, typical_px
from hemoscope.data.images.square import center_square
from hemoscope.data.images.white import white_of, whitened
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.errors import ShapeError

LAMPS = st.tuples(*[st.floats(0.6, 1.0)] * 3)


def a_cell(side_px: int = 240, nucleus: float = 70.0, *, at: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A dark disk in a pale one on a light ground, with another dark disk at the rim."""
    image = np.full((side_px, side_px, 3), (238, 236, 228), np.uint8)
    middle = (round(side_px / 2 + at[0]), round(side_px / 2 + at[1]))
    cv2.circle(image, middle, round(nucleus * 0.9), (214, 190, 205), -1, cv2.LINE_AA)
    cv2.circle(image, middle, round(nucleus / 2), (92, 50, 130), -1, cv2.LINE_AA)
    cv2.circle(image, (8, 8), round(nucleus / 2), (92, 50, 130), -1, cv2.LINE_AA)
    return image


@given(LAMPS)
@settings(max_examples=30, deadline=None)
def test_another_lamp_gives_the_same_pixels_on_white(lamp):
    cell = a_cell()
    other = np.rint(cell * np.array(lamp)).astype(np.uint8)
    here, there = (whitened(image, white_of(image)).astype(int) for image in (cell, other))
    assert np.abs(here - there).max() <= 255 / (0.6 * 228) + 1  # what rounding to bytes has left, drawn out


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60))
def test_white_is_the_smallest_value_that_95_of_100_pixels_do_not_exceed(values):
    pixels = np.repeat(np.array(values, np.uint8)[None, :, None], 3, axis=2)
    want = min(v for v in values if 100 * sum(other <= v for other in values) >= 95 * len(values))
    assert white_of(pixels).tolist() == [want] * 3


def test_the_background_becomes_white_and_darker_stays_darker():
    out = whitened(a_cell(), white_of(a_cell()))
    assert out[120, 235].tolist() == [255, 255, 255]
    assert out[120, 120].max() < 160


@pytest.mark.parametrize("diameter", [30, 60, 100])
@pytest.mark.parametrize("at", [(0, 0), (12, -9)])
def test_the_central_nucleus_is_measured(diameter, at):
    assert nucleus_px(a_cell(240, diameter, at=at)) == pytest.approx(diameter, rel=0.1)


def test_black_that_somebody_put_around_a_cell_is_no_nucleus():
    cut, y, x = a_cell(), *np.mgrid[:240, :240]
    cut[np.hypot(y - 120, x - 120) > 100] = 0
    assert nucleus_px(cut) == pytest.approx(nucleus_px(a_cell()), rel=0.05)


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_camera_that_looks_closer_sees_larger_nuclei(zoom):
    cells = [
        draw_cell(name, size_px=160, rng=np.random.default_rng(i))
        for i, name in enumerate(["monocyte", "lymphocyte", "ig"] * 3)
    ]
    seen = [
        np.asarray(Image.fromarray(c).resize((round(160 * zoom),) * 2, Image.Resampling.BICUBIC))
        for c in cells
    ]
    typical = np.median([nucleus_px(c) for c in cells])
    assert np.median([nucleus_px(c) for c in seen]) == pytest.approx(zoom * typical, rel=0.1)


def test_an_image_without_anything_in_it_has_no_nucleus():
    assert np.isnan(nucleus_px(np.full((50, 50, 3), 200, np.uint8)))
    assert np.isnan(nucleus_px(np.zeros((50, 50, 3), np.uint8)))


@given(st.lists(st.floats(0, 9, width=32), min_size=1, max_size=60))
def test_every_number_is_nearest_to_the_mean_of_its_own_group(values):
    centres = np.array(three_means(np.array(values, np.float32)))
    group = np.searchsorted((centres[:-1] + centres[1:]) / 2, np.array(values, np.float32).astype(float))
    for i in range(3):
        own = np.array(values, np.float32).astype(float)[group == i]
        assert not len(own) or own.mean() == pytest.approx(centres[i], abs=1e-6)


def test_few_nuclei_are_drawn_towards_what_is_expected_and_many_are_not():
    assert typical_px([], 100.0) == 100.0
    assert 40 < typical_px([40.0], 100.0) < 70
    assert typical_px([40.0] * 200, 100.0) == pytest.approx(40, rel=0.01)
    assert typical_px([float("nan")] * 9, 100.0) == 100.0


def test_a_camera_within_a_tenth_of_the_expected_one_is_the_expected_one():
    cells = [a_cell(240, 60)] * 40
    assert camera_px(cells, 60 * np.exp(0.9 * AS_BEFORE)) == 60 * np.exp(0.9 * AS_BEFORE)
    assert camera_px(cells, 90.0) == pytest.approx(60, rel=0.1)
    assert camera_px([b"no image"], 90.0) == 90.0


@given(st.integers(1, 500), st.integers(1, 40))
def test_a_sample_is_of_everywhere_in_order_and_without_repeats(n, wanted):
    found = evenly(range(n), wanted)
    assert found == sorted(set(found))
    assert len(found) == min(n, wanted)
    assert max(np.diff([*found, n])) <= -(-n // len(found)) + 1


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_cell_looks_the_same_from_nearer_and_farther(zoom):
    cell = draw_cell("neutrophil", size_px=240, rng=np.random.default_rng(3))
    other = np.asarray(Image.fromarray(cell).resize((round(240 * zoom),) * 2, Image.Resampling.BICUBIC))
    here, there = framed(cell, 96, view_px=200), framed(other, 96, view_px=200 * zoom)
    assert np.abs(here.astype(int) - there).mean() < 3


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 60), st.floats(4, 300))
@settings(max_examples=60, deadline=None)
def test_outside_an_image_of_any_size_all_is_white(height, width, side_px, view_px):
    dark = np.full((height, width, 3), 40, np.uint8)
    dark[: max(1, height // 8)] = 200  # a background of its own
    out = framed(dark, side_px, view_px=view_px)
    assert out.shape == (side_px, side_px, 3)
    at = (np.arange(side_px) + 0.5) * view_px / side_px  # centres, in pixels of the image
    reach = max(1.0, view_px / side_px) + 1
    for axis, length in ((0, height), (1, width)):
        begin = (length - view_px) / 2
        away = (begin + at < -reach) | (begin + at > length + reach)
        assert (np.take(out, np.flatnonzero(away), axis=axis) == 255).all()


def test_the_whole_of_a_long_image_is_in_view():
    long = np.full((40, 200, 3), 220, np.uint8)
    long[:, :9] = 30  # at one end; the central square would lose it
    assert framed(long, 64, view_px=220)[32, :8].min() < 90


@given(st.integers(1, 400), st.integers(8, 200), st.floats(4, 900))
def test_a_span_covers_every_pixel_that_the_image_has_a_part_in(length, side_px, view_px):
    found = span(length, side_px, view_px)
    step, begin = view_px / side_px, (length - view_px) / 2
    touched = [i for i in range(side_px) if begin + (i + 1) * step > 0 and begin + i * step < length]
    assert found.first <= touched[0]
    assert found.last > touched[-1]
    assert found.start == pytest.approx(begin + found.first * step)


def test_a_framing_by_nucleus_gives_nuclei_their_share_of_the_input():
    framing = by_nucleus(70.0, image_px=128, canvas_px=160)
    assert nucleus_px(framing.square(a_cell(240, 70), 160)) == pytest.approx(NUCLEUS_SHARE * 128, rel=0.1)
    assert nucleus_of(framing, image_px=128, canvas_px=160) == pytest.approx(70)


def test_the_square_is_the_central_one_as_ever():
    cell = a_cell()
    np.testing.assert_array_equal(SQUARE.square(cell, 96), center_square(cell, 96))
    assert np.isnan(nucleus_of(SQUARE, image_px=96, canvas_px=96))


@pytest.mark.parametrize("diameter", [0.0, -1.0, float("nan")])
def test_a_nucleus_without_a_size_is_refused(diameter):
    with pytest.raises(ShapeError, match="diameter of a nucleus"):
        by_nucleus(diameter, image_px=64, canvas_px=80)
