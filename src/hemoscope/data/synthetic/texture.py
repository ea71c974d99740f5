"""Chromatin, granules and the optical densities they are painted in.

Light through a stained film follows Beer and Lambert: densities add where layers lie on each
other, and what reaches the camera is background x exp(-density). Colours become densities here and
light again in `scene`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.synthetic.morphology import PAPER_WHITE, Granules, Rgb
from hemoscope.data.synthetic.shapes import Mask, as_mask, blur

__all__ = ["Density", "density", "grain", "granule_mask", "mix", "pick_density"]

Density = NDArray[np.float32]


def density(colour: Rgb) -> Density:
    """Return the optical density, shape (3,), that shows as `colour` on the reference background."""
    return np.log(np.array(PAPER_WHITE) / np.array(colour)).astype(np.float32)


def pick_density(rng: np.random.Generator, ends: tuple[Rgb, Rgb]) -> Density:
    """Return a density between those of two colours."""
    share = rng.random()
    return (density(ends[0]) * (1 - share) + density(ends[1]) * share).astype(np.float32)


def mix(below: Density, above: Density, mask: Mask) -> Density:
    """Return `above` laid over `below` (H, W, 3) where the mask (H, W) says so."""
    return (below + (above - below) * mask[..., None]).astype(np.float32, copy=False)


def grain(rng: np.random.Generator, shape: tuple[int, int], size_px: float) -> Mask:
    """Return smooth noise of unit variance whose blobs are about `size_px` wide."""
    noise = blur(rng.standard_normal(shape, dtype=np.float32), size_px / 2.4)
    return noise / max(float(noise.std()), 1e-6)


def granule_mask(rng: np.random.Generator, granules: Granules, where: Mask, *, scale: float) -> Mask:
    """Return the mask of granules strewn where `where` is set.

    Args:
        rng: Where the chance comes from.
        granules: The population.
        where: Mask of the place they may lie in, shape (H, W).
        scale: Px of the patch to one px of the reference field.
    """
    canvas = np.zeros(where.shape, np.uint8)
    spots = np.flatnonzero(where > 0.6)
    if not spots.size:
        return canvas.astype(np.float32)
    low, high = (r * scale for r in granules.radius_px)
    count = round(rng.uniform(*granules.cover) * spots.size / (math.pi * ((low + high) / 2) ** 2))
    y, x = np.divmod(rng.choice(spots, count), where.shape[1])
    centre = np.stack([x, y], 1) + rng.uniform(-0.5, 0.5, (count, 2))
    if granules.central:
        middle = (np.array(where.shape[::-1]) - 1) / 2
        centre = middle + (centre - middle) * rng.uniform(0.55, 1.0, (count, 1))
    fixed = np.round(centre * 16).astype(int).tolist()
    radii = np.maximum(8, np.round(rng.uniform(low, high, count) * 16)).astype(int).tolist()
    opacity = np.round(rng.uniform(*granules.opacity, count) * 255).astype(int).tolist()
    for point, radius, value in zip(fixed, radii, opacity, strict=True):
        cv2.circle(canvas, point, radius, (value,), -1, cv2.LINE_AA, 4)
    return as_mask(canvas)
