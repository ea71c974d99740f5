"""Damage to images: what each kind does by definition, and that nothing but an image's content decides it."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve as direct
from torch import Tensor

from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.errors import ConfigError, ShapeError, UnknownNameError
from hemoscope.stress import blur
from hemoscope.stress.corruptions import corrupt
from hemoscope.stress.draws import by_chance, draws
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES

NAMES = [corruption.name for corruption in CORRUPTIONS]
CONTENTS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def cells() -> Tensor:
    drawn = [
        draw_cell(name, size_px=72, rng=np.random.default_rng(3))
        for name in ("basophil", "monocyte", "platelet")
    ]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def distance(first: Tensor, second: Tensor) -> float:
    return float((first.float() - second.float()).abs().mean())


@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_hurts_more_with_its_severity_and_keeps_shape_and_type(cells: Tensor, name: str):
    damaged = [corrupt(cells, name, severity, CONTENTS) for severity in SEVERITIES]
    assert all(one.shape == cells.shape and one.dtype == torch.uint8 for one in damaged)
    away = [distance(one, cells) for one in damaged]
    if name == "pixelate":  # a coarser image than the first severities ask for stays as it is
        assert away[0] == 0
        assert away[-1] > 0
    elif name == "jpeg":  # a file may be nearer by chance, not by much
        assert away[-1] > away[0] > 0
    else:
        assert away[0] > 0
        assert all(later > earlier for earlier, later in itertools.pairwise(away))


@pytest.mark.parametrize("name", NAMES)
def test_neither_batch_nor_order_changes_a_damaged_image(cells: Tensor, name: str):
    together = corrupt(cells, name, 3, CONTENTS)
    turned = corrupt(cells.flip(0), name, 3, CONTENTS[::-1]).flip(0)
    alone = torch.cat([corrupt(cells[i : i + 1], name, 3, CONTENTS[i : i + 1]) for i in range(3)])
    for other in (turned, alone):
        assert (together.int() - other.int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["motion", "deposit", "bubble", "hue", "stain"])
def test_what_is_drawn_follows_from_content_and_seed(cells: Tensor, name: str):
    many, contents = cells.repeat(8, 1, 1, 1), [str(i) for i in range(24)]
    damaged = corrupt(many, name, 4, contents)
    assert torch.equal(damaged, corrupt(many, name, 4, contents))
    assert not torch.equal(damaged, corrupt(many, name, 4, [f"{i}'" for i in range(24)]))
    assert not torch.equal(damaged, corrupt(many, name, 4, contents, seed=1))


@pytest.mark.parametrize("name", ["defocus", "motion"])
def test_blur_is_the_direct_sum_over_its_kernel(cells: Tensor, name: str, monkeypatch: pytest.MonkeyPatch):
    given: list[Tensor] = []
    fast = blur.convolve
    monkeypatch.setattr(
        blur, "convolve", lambda images, kernels: given.append(kernels) or fast(images, kernels)
    )
    damaged = corrupt(cells, name, 5, CONTENTS)
    kernels = (given[0] / given[0].sum(dim=(1, 2), keepdim=True)).double().numpy()
    for i, image in enumerate(cells.double().numpy()):
        kernel = kernels[i % len(kernels)]
        for channel, found in zip(image, damaged[i], strict=True):
            wanted = direct(channel, kernel, mode="mirror")
            assert np.abs(found.numpy() - wanted).max() <= 0.51


@pytest.mark.parametrize("name", ["defocus", "motion", "smaller", "larger", "deposit", "bubble"])
def test_a_small_image_is_hurt_as_a_large_one_is(name: str):
    """Damage and then shrinking is shrinking and then damage, but for what smooth pixels leave open."""
    y, x = np.mgrid[:240, :240] / 240
    smooth = np.stack([128 + 90 * np.sin(9 * x + c) * np.cos(7 * y) for c in range(3)])
    large = torch.from_numpy(smooth.round().clip(0, 255).astype(np.uint8))[None]
    small = torch.nn.functional.avg_pool2d(large.float(), 3).round().byte()
    shrunk = torch.nn.functional.avg_pool2d(corrupt(large, name, 5, ["a"]).float(), 3)
    damaged = corrupt(small, name, 5, ["a"])
    assert distance(shrunk, damaged) < 0.15 * distance(small, damaged) + 0.5


def test_a_blur_of_less_than_a_pixel_is_one(cells: Tensor):
    tiny = cells[:, :, ::3, ::3].contiguous().float()
    for kind in (
        lambda size: blur.defocus(tiny, size),
        lambda size: blur.motion(tiny, size, np.full((3, 1), 0.2)),
    ):
        away = [distance(kind(size / 24), tiny) for size in (1e-4, 0.1, 0.2, 0.4)]
        assert away[0] < 0.01
        assert all(later > earlier for earlier, later in itertools.pairwise(away))


def test_light_and_contrast_are_arithmetic(cells: Tensor):
    values = cells.double()
    middle = values.mean(dim=(2, 3), keepdim=True)
    for name, wanted in (
        ("darker", values * 0.5),
        ("brighter", values * 1.4),
        ("less-contrast", middle + 0.3 * (values - middle)),
    ):
        found = corrupt(cells, name, 5, CONTENTS).double()
        assert (found - wanted.clamp(0, 255)).abs().max() <= 0.51, name


def test_without_saturation_an_image_is_grey_and_keeps_its_luma(cells: Tensor):
    found = corrupt(cells, "less-saturation", 5, CONTENTS).double()
    assert (found.max(dim=1).values - found.min(dim=1).values).max() == 0
    luma = 0.299 * cells[:, 0].double() + 0.587 * cells[:, 1].double() + 0.114 * cells[:, 2].double()
    assert (found[:, 0] - luma).abs().max() <= 0.51


def test_a_turn_of_the_colours_turns_their_hue_and_keeps_their_mean(cells: Tensor):
    colour = (120, 80, 100)
    image = torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 8, 8)
    found = corrupt(image, "hue", 4, ["a"])[0, :, 0, 0].tolist()
    hue, turned = (colorsys.rgb_to_hsv(*one)[0] for one in (colour, found))
    away = abs((turned - hue + 0.5) % 1 - 0.5) * 360
    assert away == pytest.approx(30, abs=4)  # hue of a hexagon, turn of a circle
    assert sum(found) / 3 == pytest.approx(sum(colour) / 3, abs=0.7)


def test_another_stain_leaves_the_bare_slide_and_what_has_no_dye(cells: Tensor):
    slide = torch.tensor((240, 225, 205), dtype=torch.uint8)[:, None, None].expand(3, 30, 30).clone()
    slide[:, 10:14, 10:14] = torch.tensor((90, 40, 140), dtype=torch.uint8)[:, None, None]
    found = corrupt(slide[None], "stain", 5, ["a"])[0]
    assert (found[:, 0, 0].int() - slide[:, 0, 0].int()).abs().max() <= 1
    assert (found[:, 12, 12].int() - slide[:, 12, 12].int()).abs().max() > 10


def test_pixels_of_a_pixelated_image_are_blocks():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, 192, 192), dtype=np.uint8))
    found = corrupt(image, "pixelate", 5, ["a"])  # 48 pixels of 4
    blocks = found.reshape(1, 3, 48, 4, 48, 4)
    assert (blocks.amax(dim=(3, 5)) == blocks.amin(dim=(3, 5))).all()
    wanted = torch.nn.functional.avg_pool2d(image.double(), 4)
    assert (blocks[:, :, :, 0, :, 0] - wanted).abs().max() <= 0.51


def test_a_smaller_cell_is_the_image_shrunk_and_a_larger_one_its_middle(cells: Tensor):
    bright = torch.zeros(1, 3, 100, 100, dtype=torch.uint8)
    bright[:, :, 30:70, 30:70] = 250
    for severity, factor in ((5, 0.65), (1, 0.93)):
        area = (corrupt(bright, "smaller", severity, ["a"])[0, 0] > 125).sum().item()
        assert area == pytest.approx(1600 * factor**2, rel=0.1)
    area = (corrupt(bright, "larger", 5, ["a"])[0, 0] > 125).sum().item()
    assert area == pytest.approx(1600 * 1.6**2, rel=0.1)


def test_wrong_use_says_what_was_expected(cells: Tensor):
    with pytest.raises(UnknownNameError, match="defocus"):
        corrupt(cells, "defocuss", 1, CONTENTS)
    with pytest.raises(ConfigError, match="severity of 1 to 5"):
        corrupt(cells, "jpeg", 6, CONTENTS)
    with pytest.raises(ShapeError, match="uint8 images"):
        corrupt(cells.float(), "jpeg", 1, CONTENTS)
    with pytest.raises(ShapeError, match="N contents"):
        corrupt(cells, "jpeg", 1, ["a"])


def test_one_images_draws_are_the_same_beside_others():
    contents = [str(i) for i in range(50)]
    whole = draws("x", contents, 4, seed=0)
    np.testing.assert_array_equal(draws("x", contents[10:12], 4, seed=0), whole[10:12])
    np.testing.assert_array_equal(draws("x", contents[10:12], 2, seed=0), whole[10:12, :2])
    assert len(np.unique(whole)) == whole.size
    assert not np.array_equal(draws("y", contents, 4, seed=0), whole)
    order = by_chance("x", contents, seed=0)
    assert sorted(order) == list(range(50))
    assert order != sorted(order)
    assert by_chance("x", [], seed=0) == []
