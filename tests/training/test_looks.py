"""What `Looks` may do to a batch, against what light and stain allow."""

from __future__ import annotations

import pytest
import torch

from hemoscope.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from hemoscope.training.jpeg import Jpeg
from hemoscope.training.looks import Looks, only_where
from hemoscope.training.recipe import Recipe, load_recipe

CPU = torch.device("cpu")
MEAN, STD = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]


def batch(light: torch.Tensor) -> torch.Tensor:
    return ((light - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def seen(recipe: Recipe, light: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return Looks(recipe, CPU)(batch(light)) * STD + MEAN


def some(n: int = 64, side: int = 24) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["paper", "fast", "best", "demo"])
def test_recipes_for_one_laboratory_leave_images_as_they_are(name):
    images = batch(some())
    assert Looks(load_recipe(name), CPU)(images) is images


def test_light_stays_between_none_and_all_of_it():
    out = seen(load_recipe("robust", jpeg=0.5), some())
    assert out.shape == (64, 3, 24, 24)
    assert float(out.min()) >= -1e-6
    assert float(out.max()) <= 1 + 1e-6
    assert torch.isfinite(out).all()


def test_one_seed_gives_one_look_and_another_seed_another():
    recipe = load_recipe("robust")
    assert torch.equal(seen(recipe, some(), 3), seen(recipe, some(), 3))
    assert not torch.equal(seen(recipe, some(), 3), seen(recipe, some(), 4))


def test_the_memory_format_that_the_step_is_fast_with_is_kept():
    out = Looks(load_recipe("robust"), CPU)(batch(some()))
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_no_stain_can_darken_white_by_more_than_its_tint():
    white = torch.ones(64, 3, 16, 16)
    out = seen(Recipe(stain_mix=0.5, stain_gain=0.5, grey=0.5), white)
    assert float(out.min()) >= 0.9 - 1e-5  # of nothing stained nothing is mixed


def test_a_grey_image_has_one_density_in_all_colours_but_for_its_tint():
    out = seen(Recipe(grey=1.0), some(200) * 0.8 + 0.1)
    density = -out.log()
    spread = (density - density.mean(dim=(2, 3), keepdim=True))[:, 1:] - (
        density - density.mean(dim=(2, 3), keepdim=True)
    )[:, :1]
    assert float(spread.abs().max()) < 0.02  # a tint is the same everywhere


def test_a_gain_multiplies_the_density_of_a_colour_by_one_number():
    light = some(100) * 0.4 + 0.5
    before, after = (
        -((255 * x + 1) / 256).log().flatten(2) for x in (light, seen(Recipe(stain_gain=0.3), light))
    )
    before, after = (density - density.mean(dim=2, keepdim=True) for density in (before, after))
    gain = (before * after).sum(dim=2, keepdim=True) / before.square().sum(dim=2, keepdim=True)
    assert float((after - gain * before).abs().max()) < 0.02  # one number a colour; a tint shifts all alike
    assert float(gain.log().std()) == pytest.approx(0.3, abs=0.04)


def test_a_narrow_frame_leaves_its_middle():
    light = torch.zeros(200, 3, 32, 32)
    out = seen(Recipe(frame_jitter=1.0), light)
    middle = out[:, :, 10:22, 10:22]
    assert float((middle < 0.02).float().mean()) > 0.999
    assert float((out[:, :, 0, 0] > 0.5).float().mean()) > 0.4  # outside it is white in most


@pytest.mark.parametrize("side", [64, 128, 224])
def test_the_softest_image_is_as_a_gaussian_of_a_64th_of_the_side_makes_it(side: int):
    line = torch.ones(60, 3, side, side)
    line[:, :, :, side // 2] = 0.9
    out = seen(Recipe(blur=1.0), line)
    lack = out[:, :, side // 2].amax(dim=2, keepdim=True) - out[:, :, side // 2]  # of the light, along a row
    at = torch.arange(side) - side // 2
    width = ((lack * at**2).sum(dim=2) / lack.sum(dim=2)).sqrt().mean(dim=1)
    assert float(width.max()) == pytest.approx(side / 64, rel=0.2 if side < 100 else 0.08)  # whole means only
    assert float(width.min()) < max(side / 128, 0.9)


@pytest.mark.parametrize(("field", "share"), [("blur", 0.5), ("frame_jitter", 0.25), ("jpeg", 0.4)])
def test_a_share_is_the_share_of_the_images_that_are_changed(field, share):
    light = some(1000, 12) * 0.8 + 0.1
    ratio = (seen(Recipe(**{field: share}), light) / light).flatten(2)
    otherwise = (
        ((ratio - 1).abs() > 1e-3).any(dim=2).any(dim=1)
    )  # of the others nothing changes, not even a tint
    assert abs(float(otherwise.float().mean()) - share) < 0.08


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_changing_the_drawn_images_alone_is_changing_all_and_taking_the_others_back(share: float):
    light, drawn, quality = some(), torch.rand(64, 1, 1, 1) < share, torch.full((64,), 50.0)
    jpeg = Jpeg(CPU)
    expected = torch.where(drawn, jpeg(light, quality), light)
    assert torch.allclose(only_where(drawn, jpeg, light, quality), expected, atol=1e-6)
