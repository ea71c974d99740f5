"""A cell without its background, a background without its cell, and a cell on another's.

What covers a cell is one disc for all images of a data set, whatever the cell's size and form, and what is put there
follows from the pixels outside alone: of the cell itself nothing remains. What remains is how far red cells keep away
from it, which is background.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.records import FloatArray

__all__ = ["DISC_LIMIT", "cover", "disc_for", "grey_cell", "put_on"]

DISC_LIMIT = 0.45
"""Largest radius of the disc, a share of the shorter side: beyond, too little background is left."""

_COVERED = 0.95  # share of the cells that the disc has to cover
_SOFT = 0.1  # of the radius, outside of it: where the cover fades into the image

Pixels = NDArray[np.uint8]


def disc_for(reaches: FloatArray) -> float:
    """Return the radius of one disc in the middle that covers 95 % of the cells, a share of the shorter side.

    Args:
        reaches: How far every cell reaches from the middle of its image; not empty.

    >>> disc_for(np.array([0.2] * 19 + [0.9]))
    0.2
    """
    return min(float(np.quantile(reaches, _COVERED, method="inverted_cdf")), DISC_LIMIT)


def cover(pixels: Pixels, radius: float) -> Pixels:
    """Return an image with a disc in its middle painted in the tone of the slide around it.

    The tone is the median of the brightest quarter outside the disc. Two images that differ inside the disc only come
    out the same.

    Args:
        pixels: RGB, shape (H, W, 3).
        radius: Of the disc, a share of the shorter side.
    """
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y + 0.5 - height / 2, x + 0.5 - width / 2) / (radius * min(height, width))
    outside = pixels[away > 1]
    light = outside.astype(np.int64).sum(axis=1)
    tone = np.median(outside[light >= np.quantile(light, 0.75)], axis=0)
    kept = ((away - 1) / _SOFT).clip(0, 1)[..., None]
    return _rounded(pixels * kept + tone * (1 - kept))


def put_on(pixels: Pixels, alpha: FloatArray, ground: Pixels) -> Pixels:
    """Return a cell laid on a background, both of them RGB.

    Args:
        pixels: The cell's image, shape (H, W, 3).
        alpha: Where the cell is, shape (H, W), from 0 to 1.
        ground: A covered image; resized to the cell's where it has another size.
    """
    height, width = pixels.shape[:2]
    if ground.shape[:2] != (height, width):
        ground = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return _rounded(pixels * alpha[..., None] + ground * (1 - alpha[..., None]))


def grey_cell(pixels: Pixels, alpha: FloatArray) -> Pixels:
    """Return an image, shape (H, W, 3), whose cell alone has lost its colour; it keeps its luma (ITU-R BT.601)."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _rounded(grey * alpha[..., None] + pixels * (1 - alpha[..., None]))


def _rounded(values: FloatArray) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)
