"""Other laboratories' looks, drawn in training: stains, cameras and frames that the training images do not have.

All of it is drawn by torch's own generator where the images are, so that a CUDA graph can hold it. Images are expected on
white (`framing = "nucleus"`): what is missing of the light is then the stain's density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from hemoscope.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from hemoscope.training.jpeg import Jpeg
from hemoscope.training.recipe import Recipe

__all__ = ["Draws", "Looks", "only_where"]

MIXED = 0.8  # of the images have their stains mixed; the others are made stronger or weaker a channel
DARKEST = 5.0  # optical density
TINT = 0.1  # of the light that a background found wrongly may lack
LEAST_FRAME = 0.5  # of the side that a narrow frame leaves
OFF_CENTRE = 0.03  # of the side
MEANS = 6  # over a neighbourhood, one after the other, for the softest image
WORST, BEST = 30, 95  # quality of a JPEG file


class Draws(Protocol):
    """Where random numbers come from, a row an image."""

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Return numbers from 0 to 1, shape (len(like), *shape), where `like` is."""
        ...

    def normal(self, like: Tensor, *shape: int) -> Tensor:
        """Return normal numbers."""
        ...


class _Own:
    """One process draws for all images of its batch."""

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        return torch.rand(len(like), *shape, device=like.device)

    def normal(self, like: Tensor, *shape: int) -> Tensor:
        return torch.randn(len(like), *shape, device=like.device)


class Looks:
    """Changes what a batch looks like, and not what it shows.

    Args:
        recipe: Its fields `stain_mix`, `stain_gain`, `grey`, `frame_jitter`, `blur`, `noise` and `jpeg`.
        device: Where the images are.
        draws: Where random numbers come from; by default torch's generator.
    """

    def __init__(self, recipe: Recipe, device: torch.device, draws: Draws | None = None) -> None:
        self._recipe = recipe
        self._draws = draws or _Own()
        self._mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        self._jpeg = Jpeg(device)
        fields = ("stain_mix", "stain_gain", "grey", "frame_jitter", "blur", "noise", "jpeg")
        self.any = any(getattr(recipe, field) for field in fields)

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised images, float32, shape (N, 3, S, S), channels-last, looking otherwise."""
        if not self.any:
            return images
        recipe = self._recipe
        light = (images * self._std + self._mean).clamp(0, 1)  # what comes through, from none to all of it
        if recipe.stain_mix or recipe.stain_gain or recipe.grey:
            light = self._tinted(_light(self._stained(_density(light))))
        if recipe.frame_jitter:
            light = self._narrowed(light)
        if recipe.blur:
            light = self._blurred(light)
        if recipe.noise:
            light = light + recipe.noise * self._each(light).square() * self._draws.normal(
                light, *light.shape[1:]
            )
        if recipe.jpeg:
            light = self._compressed(light.clamp(0, 1))
        normal = (light.clamp(0, 1) - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)

    def _stained(self, density: Tensor) -> Tensor:
        """Mix the densities of the three colours at random, which is what another stain and another camera do."""
        recipe, draws = self._recipe, self._draws
        same = torch.eye(3, device=density.device).expand(len(density), 3, 3)
        gain = (recipe.stain_gain * draws.normal(density, 3, 1)).exp()
        mixed = (same + recipe.stain_mix * draws.normal(density, 3, 3)) * gain[:, :1]
        weights = draws.uniform(density, 1, 3) + 1e-3
        grey = (weights / weights.sum(dim=2, keepdim=True)).expand(len(density), 3, 3)
        mixing = torch.where(self._some(density, MIXED)[..., 0], mixed, same * gain)
        mixing = torch.where(self._some(density, recipe.grey)[..., 0], grey @ mixing, mixing)
        return torch.einsum("nij,njhw->nihw", mixing, density).clamp(0, DARKEST)

    def _tinted(self, light: Tensor) -> Tensor:
        """Take up to a tenth of a colour away from half of the images: their white was not found exactly."""
        lacks = TINT * self._draws.uniform(light, 3, 1, 1)
        return light * (1 - torch.where(self._some(light, 0.5), lacks, torch.zeros_like(lacks)))

    def _narrowed(self, light: Tensor) -> Tensor:
        """Cut a share of the images to a narrower frame; outside it is white, or the mean of what was there."""
        side = light.shape[2]
        half = side * (LEAST_FRAME + (1 - LEAST_FRAME) * self._draws.uniform(light, 2)) / 2
        drawn = self._some(light, self._recipe.frame_jitter)[:, 0, 0]
        half = torch.where(drawn, half, torch.full_like(half, side))
        centre = (side - 1) / 2 + OFF_CENTRE * side * (2 * self._draws.uniform(light, 2) - 1)
        at = torch.arange(side, device=light.device)
        inside = (at - centre[..., None]).abs() <= half[..., None]  # (N, 2, side): of x and of y
        both = inside[:, None, 0, None, :] & inside[:, None, 1, :, None]  # (N, 1, side, side)
        mean = light.mean(dim=(2, 3), keepdim=True)
        around = torch.where(self._some(light, 0.7), torch.ones_like(mean), mean)
        return torch.where(both, light, around)

    def _blurred(self, light: Tensor) -> Tensor:
        """Blur a share of the images, each as a Gaussian would whose deviation is a 64th of the side at most, or a pixel."""
        # A mean over k by k pixels has a variance of (k² - 1) / 12; about six of them, one after the other, make the widest.
        widest = (light.shape[2] / 64) ** 2
        reach = max(1, round((math.sqrt(1 + 12 * widest / MEANS) - 1) / 2))
        most = max(1, round(12 * widest / ((2 * reach + 1) ** 2 - 1)))
        passes = torch.where(self._some(light, self._recipe.blur), self._each(light) * most, 0).ceil()
        for done in range(most):
            light = only_where(passes > done, partial(_mean_around, reach=reach), light)
        return light

    def _compressed(self, light: Tensor) -> Tensor:
        """Show a share of the images as JPEG files do, each of a quality of its own."""
        quality = (WORST + (BEST - WORST) * self._draws.uniform(light)).round()
        return only_where(self._some(light, self._recipe.jpeg), self._jpeg, light, quality)

    def _some(self, images: Tensor, share: float) -> Tensor:
        """Return which images are drawn, each with this chance, shape (N, 1, 1, 1)."""
        return self._each(images) < share

    def _each(self, images: Tensor) -> Tensor:
        return self._draws.uniform(images, 1, 1, 1)


def only_where(drawn: Tensor, change: Callable[..., Tensor], light: Tensor, *others: Tensor) -> Tensor:
    """Return images, changed where they are drawn, shape (N, 1, 1, 1); `change` takes images and their rows of `others`.

    On a CPU the others cost nothing. Elsewhere all are changed: how many are drawn would have to be waited for.
    """
    if light.device.type != "cpu":
        return torch.where(drawn, change(light, *others), light)
    rows = drawn.flatten().nonzero().flatten()
    if not len(rows):
        return light
    return light.index_copy(0, rows, change(light[rows], *(other[rows] for other in others)))


def _mean_around(light: Tensor, reach: int) -> Tensor:
    """Return means over the pixels at most `reach` away, up and down and then left and right: that is cheaper than both at once."""
    size = 2 * reach + 1
    columns = functional.avg_pool2d(light, (size, 1), 1, (reach, 0), count_include_pad=False)
    return functional.avg_pool2d(columns, (1, size), 1, (0, reach), count_include_pad=False)


def _density(light: Tensor) -> Tensor:
    return -((255 * light + 1) / 256).log()


def _light(density: Tensor) -> Tensor:
    return ((256 * (-density).exp() - 1) / 255).clamp_min(0)
