"""Corruptions of the slide: specks of dried stain and air bubbles, drawn over the images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hemoscope.records import FloatArray

__all__ = ["BUBBLE_DRAWS", "DEPOSIT_DRAWS", "bubbles", "deposit"]

DEPOSIT_DRAWS, BUBBLE_DRAWS = 5, 3
"""Numbers that one speck and one bubble take."""

_SPECK_RADIUS = (0.008, 0.035)  # shares of the shorter side
_SPECK_COLOUR, _SPECK_STRENGTH = (0.22, 0.09, 0.33), 0.9  # of precipitated azure eosinate
_BUBBLE_RADIUS = (0.02, 0.08)
_BUBBLE_LIGHT, _RIM_LIGHT, _RIM = 0.4, 0.75, 0.18


def deposit(images: Tensor, specks: float, drawn: FloatArray) -> Tensor:
    """Return the images, shape (N, 3, H, W), under dark violet specks.

    Args:
        images: Values from 0 to 1.
        specks: How many.
        drawn: Place, radius, length and direction of each, shape (N, at least 5 · specks).
    """
    colour = torch.tensor(_SPECK_COLOUR).to(images)[:, None, None]
    cover = torch.zeros_like(images[:, :1])
    for k in range(int(specks)):
        part = drawn[:, k * DEPOSIT_DRAWS : (k + 1) * DEPOSIT_DRAWS]
        y, x = _from(part[:, 0], part[:, 1], images)
        radius = _radius(part[:, 2], _SPECK_RADIUS, images)
        longer = 1 + _column(part[:, 3], images)
        angle = math.pi * _column(part[:, 4], images)
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        away = torch.hypot(along / longer, across * longer)
        cover = torch.maximum(cover, (radius + 0.5 - away).clamp(0, 1))
    cover = cover * _SPECK_STRENGTH
    return images * (1 - cover) + colour * cover


def bubbles(images: Tensor, number: float, drawn: FloatArray) -> Tensor:
    """Return the images, shape (N, 3, H, W), under pale discs with a paler rim.

    Args:
        images: Values from 0 to 1.
        number: How many.
        drawn: Place and radius of each, shape (N, at least 3 · number).
    """
    for k in range(int(number)):
        part = drawn[:, k * BUBBLE_DRAWS : (k + 1) * BUBBLE_DRAWS]
        y, x = _from(part[:, 0], part[:, 1], images)
        radius, away = _radius(part[:, 2], _BUBBLE_RADIUS, images), torch.hypot(x, y)
        disc = (radius + 0.5 - away).clamp(0, 1)
        inside = (radius * (1 - _RIM) + 0.5 - away).clamp(0, 1)
        light = _BUBBLE_LIGHT * inside + _RIM_LIGHT * (disc - inside)
        images = images + (1 - images) * light
    return images


def _from(down: FloatArray, right: FloatArray, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far every pixel lies from a point, (y, x) in px; the point by shares of the image's sides."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device, dtype=images.dtype)[None, None, :, None]
    x = torch.arange(width, device=images.device, dtype=images.dtype)[None, None, None, :]
    return y + 0.5 - _column(down, images) * height, x + 0.5 - _column(right, images) * width


def _radius(drawn: FloatArray, bounds: tuple[float, float], images: Tensor) -> Tensor:
    low, high = (bound * min(images.shape[2:]) for bound in bounds)
    return low + (high - low) * _column(drawn, images)


def _column(values: FloatArray, images: Tensor) -> Tensor:
    """Return one value an image, shape (N, 1, 1, 1)."""
    return torch.from_numpy(values.copy()).to(images)[:, None, None, None]
