"""Damage a batch of images where it lies: every corruption of the table at a severity.

The images are those that were decoded, before any network's own resizing, so that a severity means the same for every
architecture. What is drawn for an image follows from its content alone: the batch, its order and the device change a
pixel by no more than a grey level of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray
from hemoscope.stress.artefacts import BUBBLE_DRAWS, DEPOSIT_DRAWS, bubbles, deposit
from hemoscope.stress.blur import defocus, motion
from hemoscope.stress.colour import contrast, gain, hue, saturation, stain
from hemoscope.stress.draws import draws
from hemoscope.stress.resampling import jpeg, pixelate, resize_cell
from hemoscope.stress.severities import CORRUPTIONS, level_of

__all__ = ["corrupt"]

_PLAIN: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "pixelate": pixelate,
        "jpeg": jpeg,
        "defocus": defocus,
        "brighter": gain,
        "darker": gain,
        "more-contrast": contrast,
        "less-contrast": contrast,
        "more-saturation": saturation,
        "less-saturation": saturation,
        "smaller": resize_cell,
        "larger": resize_cell,
    }
)
_MOST = {corruption.name: int(corruption.levels[-1]) for corruption in CORRUPTIONS}
_DRAWN: Mapping[str, tuple[Callable[[Tensor, float, FloatArray], Tensor], int]] = MappingProxyType(
    {
        "motion": (motion, 1),
        "hue": (hue, 1),
        "stain": (stain, 1),
        "deposit": (deposit, DEPOSIT_DRAWS * _MOST["deposit"]),
        "bubble": (bubbles, BUBBLE_DRAWS * _MOST["bubble"]),
    }
)


def corrupt(images: Tensor, name: str, severity: int, contents: Sequence[str], *, seed: int = 0) -> Tensor:
    """Return the images damaged.

    Args:
        images: uint8, shape (N, 3, H, W), any device.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        contents: What tells each image from others, such as the SHA-256 of its bytes; it seeds what is drawn.
        seed: Another seed, other draws.

    Returns:
        uint8, the same shape and device.

    Raises:
        UnknownNameError: If there is no such corruption.
        ConfigError: If the severity is not 1 to 5.
        ShapeError: If the images are something else.
    """
    level = level_of(name, severity)
    if (
        images.ndim != 4
        or images.shape[1] != 3
        or images.dtype != torch.uint8
        or len(contents) != len(images)
    ):
        raise ShapeError(
            f"expected uint8 images of shape (N, 3, H, W) and N contents; got {images.dtype}, "
            f"{tuple(images.shape)} and {len(contents)}"
        )
    values = images.to(torch.float32) / 255
    if name in _PLAIN:
        damaged = _PLAIN[name](values, level)
    else:
        change, n = _DRAWN[name]
        damaged = change(values, level, draws(name, contents, n, seed=seed))
    return damaged.mul(255).round().clamp(0, 255).to(torch.uint8)
