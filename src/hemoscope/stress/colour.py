"""Corruptions of light and colour, on a batch of images with values from 0 to 1, shape (N, 3, H, W), on any device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hemoscope.records import FloatArray

__all__ = ["contrast", "gain", "hue", "saturation", "stain"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# The two dyes of a Romanowsky stain, for their directions in optical density: azure B as on a nucleus, and eosin as on
# a granule; chosen by hand.
_AZURE, _EOSIN = (88, 38, 140), (221, 163, 160)
_DARKEST = 1 / 255
_STRIDE = 3  # pixels between those that tell the slide's tone


def gain(images: Tensor, factor: float) -> Tensor:
    """Return the images under more or less light."""
    return images * factor


def contrast(images: Tensor, factor: float) -> Tensor:
    """Return the images with every channel stretched about its mean."""
    middle = images.mean(dim=(2, 3), keepdim=True)
    return (images - middle) * factor + middle


def saturation(images: Tensor, factor: float) -> Tensor:
    """Return the images with their colours stretched about grey of the same luma; 0 is grey."""
    grey = sum(share * images[:, i : i + 1] for i, share in enumerate(_LUMA))
    return grey + (images - grey) * factor


def hue(images: Tensor, degrees: float, drawn: FloatArray) -> Tensor:
    """Return the images with colours turned about the grey axis, one way or the other by `drawn`, shape (N, 1)."""
    angle = np.deg2rad(degrees) * np.where(drawn[:, 0] < 0.5, -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    same, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin / 3**0.5, (1 - cos) / 3 + sin / 3**0.5
    rows = [np.stack(row, axis=1) for row in ((same, left, right), (right, same, left), (left, right, same))]
    return _mixed(images, np.stack(rows, axis=1))


def stain(images: Tensor, change: float, drawn: FloatArray) -> Tensor:
    """Return the images with both dyes stronger or weaker, azure by 1 + change · cos t and eosin by 1 + change · sin t.

    Light is absorbed by a sum of densities (Lambert and Beer), so the densities against the bare slide are taken apart
    into azure, eosin and what is neither, and put together again. The bare slide keeps its tone.

    Args:
        images: As everywhere here.
        change: Largest change of a dye's strength.
        drawn: Gives t, shape (N, 1).

    Source:
        Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23 (2001) 291-299 (separation); Tellez et al., IEEE Trans.
        Med. Imaging 37 (2018) 2126-2136 (strengths changed at random).
    """
    dyes = np.array([_density(_AZURE), _density(_EOSIN)])
    dyes /= np.linalg.norm(dyes, axis=1, keepdims=True)
    basis = np.vstack([dyes, np.cross(*dyes)])
    angle = 2 * math.pi * drawn[:, 0]
    strength = np.stack(
        [1 + change * np.cos(angle), 1 + change * np.sin(angle), np.ones_like(angle)], axis=1
    )  # (N, 3)
    mixing = np.linalg.inv(basis) @ (strength[:, :, None] * basis)  # a row of densities from the left
    light = _slide(images)
    density = torch.log(light / images.clamp_min(_DARKEST))
    return light * torch.exp(-_mixed(density, mixing.transpose(0, 2, 1)))


def _slide(images: Tensor) -> Tensor:
    """Return the tone of the bare slide, shape (N, 3, 1, 1): of every channel the ninth tenth of its values."""
    values = images[:, :, ::_STRIDE, ::_STRIDE].flatten(2)
    tone = values.kthvalue(max(1, round(0.9 * values.shape[2])), dim=2).values
    return tone.clamp_min(_DARKEST)[:, :, None, None]


def _density(colour: tuple[int, int, int]) -> FloatArray:
    return -np.log(np.array(colour) / 255)


def _mixed(images: Tensor, matrices: FloatArray) -> Tensor:
    """Return each image with its colours multiplied by its matrix, shape (N, 3, 3).

    Not as a matrix product: those are rounded by TF32 and bf16.
    """
    m = torch.from_numpy(matrices).to(images)[..., None, None]  # (N, 3, 3, 1, 1)
    return sum((m[:, :, i] * images[:, i : i + 1] for i in range(3)), start=torch.zeros_like(images))
