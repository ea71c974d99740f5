"""Corruptions of sharpness: a disc for a lens out of focus, a line for a stage that moves.

The kernels have soft edges of a pixel, so that a radius of 1.3 px lies between those of 1 and 2 px, and one of 0 px
changes nothing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hemoscope.records import FloatArray

__all__ = ["convolve", "defocus", "motion"]


def defocus(images: Tensor, radius: float) -> Tensor:
    """Return the images, shape (N, 3, H, W), with every point a disc; its radius is a share of the shorter side."""
    radius_px = radius * min(images.shape[2:])
    y, x = _grid(math.ceil(radius_px), images)
    away = torch.hypot(x, y)
    return convolve(images, (_below(away + radius_px) - _below(away - radius_px))[None])


def motion(images: Tensor, length: float, drawn: FloatArray) -> Tensor:
    """Return the images, shape (N, 3, H, W), with every point a line.

    Args:
        images: Values from 0 to 1.
        length: Of the line, a share of the shorter side.
        drawn: Gives its direction, shape (N, 1).
    """
    half_px = length * min(images.shape[2:]) / 2
    y, x = _grid(math.ceil(half_px), images)
    angle = math.pi * torch.from_numpy(drawn[:, 0]).to(images)[:, None, None]
    line = torch.zeros(1).to(images)
    points = 2 * math.ceil(2 * half_px) + 1  # half a pixel apart
    for away in np.linspace(-half_px, half_px, points).tolist():
        near_x, near_y = (1 - (x - away * angle.cos()).abs()), (1 - (y - away * angle.sin()).abs())
        line = line + near_x.clamp_min(0) * near_y.clamp_min(0)
    return convolve(images, line)


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Return each image filtered by its kernel, mirrored at the border.

    By Fourier transforms: the cost does not grow with the kernel, and every image may have its own.

    Args:
        images: Shape (N, C, H, W).
        kernels: Shape (N or 1, K, K), K odd and at most the shorter side; made to sum to 1.
    """
    reach = kernels.shape[-1] // 2
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    size = padded.shape[-2:]
    weights = (kernels / kernels.sum(dim=(1, 2), keepdim=True))[:, None]
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(weights, s=size)
    return torch.fft.irfft2(product, s=size)[..., 2 * reach :, 2 * reach :]


def _below(edge: Tensor) -> Tensor:
    """Return how much of the triangle of bilinear interpolation about 0, two pixels wide, lies below an edge."""
    left, right = edge.clamp(-1, 0) + 1, 1 - edge.clamp(0, 1)
    return left.square() / 2 + (1 - right.square()) / 2


def _grid(reach: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates (y, x) of a square of 2 · reach + 1 pixels about its middle."""
    at = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    return at[:, None], at[None, :]
