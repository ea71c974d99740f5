"""Other laboratories' looks, drawn in training: stains, cameras and frames that the training images do not have.

All of it is drawn by torch's own generator where the images are, so that a CUDA graph can hold it. Images are expected on
white (`framing = "nucleus"`): what is missing of the light is then the stain's density.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hemoscope.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from hemoscope.training.recipe import Recipe

__all__ = ["Looks"]

MIXED = 0.8  # of the images have their stains mixed; the others are made stronger or weaker a channel
DARKEST = 5.0  # optical density
TINT = 0.1  # of the light that a background found wrongly may lack
LEAST_FRAME = 0.5  # of the side that a narrow frame leaves
OFF_CENTRE = 0.03  # of the side


class Looks:
    """Changes what a batch looks like, and not what it shows.

    Args:
        recipe: Its fields `stain_mix`, `stain_gain`, `grey`, `frame_jitter`, `blur` and `noise`.
        device: Where the images are.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._recipe = recipe
        self._mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        self.any = any(
            (recipe.stain_mix, recipe.stain_gain, recipe.grey, recipe.frame_jitter, recipe.blur, recipe.noise)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised images, float32, shape (N, 3, S, S), channels-last, looking otherwise."""
        if not self.any:
            return images
        light = (images * self._std + self._mean).clamp(0, 1)  # what comes through, from none to all of it
        light = _tinted(_light(self._stained(_density(light))))
        if self._recipe.frame_jitter:
            light = _narrowed(light, self._recipe.frame_jitter)
        if self._recipe.blur:
            light = _blurred(light, self._recipe.blur)
        if self._recipe.noise:
            light = light + self._recipe.noise * _one_each(light).square() * torch.randn_like(light)
        normal = (light.clamp(0, 1) - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)

    def _stained(self, density: Tensor) -> Tensor:
        """Mix the densities of the three colours at random, which is what another stain and another camera do."""
        recipe, n = self._recipe, len(density)
        same = torch.eye(3, device=density.device).expand(n, 3, 3)
        drawn = torch.randn(n, 3, 3, device=density.device)
        gain = (recipe.stain_gain * torch.randn(n, 3, 1, device=density.device)).exp()
        mixed = (same + recipe.stain_mix * drawn) * gain[:, :1]
        weights = torch.rand(n, 1, 3, device=density.device) + 1e-3
        grey = (weights / weights.sum(dim=2, keepdim=True)).expand(n, 3, 3)
        mixing = torch.where(_some(density, MIXED)[..., 0], mixed, same * gain)
        mixing = torch.where(_some(density, recipe.grey)[..., 0], grey @ mixing, mixing)
        return torch.einsum("nij,njhw->nihw", mixing, density).clamp(0, DARKEST)


def _density(light: Tensor) -> Tensor:
    return -((255 * light + 1) / 256).log()


def _light(density: Tensor) -> Tensor:
    return ((256 * (-density).exp() - 1) / 255).clamp_min(0)


def _tinted(light: Tensor) -> Tensor:
    """Take up to a tenth of a colour away from half of the images: their white was not found exactly."""
    lacks = TINT * torch.rand(len(light), 3, 1, 1, device=light.device)
    return light * (1 - torch.where(_some(light, 0.5), lacks, torch.zeros_like(lacks)))


def _narrowed(light: Tensor, share: float) -> Tensor:
    """Cut a share of the images to a narrower frame; outside it is white, or the mean of what was there."""
    n, side = len(light), light.shape[2]
    half = side * (LEAST_FRAME + (1 - LEAST_FRAME) * torch.rand(n, 2, device=light.device)) / 2
    half = torch.where(_some(light, share)[:, 0, 0], half, torch.full_like(half, side))
    centre = (side - 1) / 2 + OFF_CENTRE * side * (2 * torch.rand(n, 2, device=light.device) - 1)
    at = torch.arange(side, device=light.device)
    inside = ((at - centre[..., None]).abs() <= half[..., None])[:, :, None]  # (n, 2, 1, side)
    both = inside[:, 0, :, :, None] & inside[:, 1, :, None, :]  # (n, 1, side, side)
    mean = light.mean(dim=(2, 3), keepdim=True)
    around = torch.where(_some(light, 0.7), torch.ones_like(mean), mean)
    return torch.where(both, light, around)


def _blurred(light: Tensor, share: float) -> Tensor:
    """Blur a share of the images, each between not at all and as a mean of some five pixels does."""
    soft = functional.avg_pool2d(light, 3, stride=1, padding=1, count_include_pad=False)
    soft = functional.avg_pool2d(soft, 3, stride=1, padding=1, count_include_pad=False)
    return torch.where(_some(light, share), light.lerp(soft, _one_each(light)), light)


def _some(images: Tensor, share: float) -> Tensor:
    """Return which images are drawn, each with this chance, shape (N, 1, 1, 1)."""
    return _one_each(images) < share


def _one_each(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)
