"""Where the cell is: the stained body nearest the middle of an image, found without a network.

Nuclei and granules absorb red light and red cells hardly do, which finds the cell; how far it reaches is where
anything absorbs green light nearby. A mask is good enough to cover a cell or to cut it out, and no measurement of it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.records import FloatArray

__all__ = ["find_cell", "reach_of", "soft"]

_WORK_PX = 180  # of the shorter side: finer structure is not needed
_FAINTEST = 0.12  # violet density of the darkest: below, there is no nucleus
_PALEST = 0.09  # green density of the palest cytoplasm
_NECK = 0.65  # what is joined by less than this on both sides, of the nucleus' radius, is another body
_SMALLEST = 0.004  # of the image's area
_LOBES = 0.04  # parts of a nucleus this near each other, of the side, are one
_AROUND = 0.75  # how far a cell reaches around its nucleus, of the nucleus' radius
_MARGIN = 0.012  # added all around, of the side
_EDGE = 0.012  # softness of the border, of the side

Mask = NDArray[np.bool_]


def find_cell(pixels: NDArray[np.uint8]) -> Mask | None:
    """Return where the cell is, shape (H, W); None if nothing stained lies near the middle.

    Args:
        pixels: RGB, shape (H, W, 3).
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _WORK_PX / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    density = _density(_bytes(cv2.GaussianBlur(small, (0, 0), max(0.5, 0.006 * min(size)))))
    side = min(size)
    violet = (density[..., 0] - density[..., 2]).clip(0)
    nucleus = _nearest(_above(violet), side)
    if nucleus is None:
        return None
    radius = np.sqrt(nucleus.sum() / np.pi)
    near = cv2.dilate(_hull(nucleus), _disc(_AROUND * radius)) > 0
    body = ((density[..., 1] > _PALEST) & near) | (_hull(nucleus) > 0)
    body = _bytes(cv2.morphologyEx(_bytes(body), cv2.MORPH_OPEN, _disc(_NECK * radius))) | nucleus
    whole = _bytes(cv2.dilate(_filled(_holding(body, nucleus)), _disc(_MARGIN * side)))
    return cv2.resize(whole * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 127


def reach_of(mask: Mask) -> float:
    """Return how far a mask reaches from the middle of its image, as a share of the shorter side."""
    height, width = mask.shape
    y, x = np.nonzero(mask)
    away = np.hypot(y + 0.5 - height / 2, x + 0.5 - width / 2)
    return float(away.max(initial=0)) / min(height, width)


def soft(mask: Mask) -> FloatArray:
    """Return the mask with a soft border, shape (H, W), from 0 to 1."""
    blurred = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), max(0.5, _EDGE * min(mask.shape)))
    return np.asarray(blurred, np.float64)


def _density(small: NDArray[np.uint8]) -> FloatArray:
    """Return the optical density against the background, shape (h, w, 3), at least 0."""
    light = np.percentile(small.reshape(-1, 3), 95, axis=0).clip(1)
    return np.log(light / small.clip(1)).clip(0)


def _above(density: FloatArray) -> NDArray[np.uint8]:
    """Return where a density is above Otsu's threshold, 0 and 1; Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62-66."""
    top = float(np.percentile(density, 99.5))
    if top < _FAINTEST:
        return np.zeros(density.shape, np.uint8)
    grey = (255 * (density / top).clip(0, 1)).astype(np.uint8)
    _, found = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(found, np.uint8)


def _nearest(dark: NDArray[np.uint8], side: int) -> NDArray[np.uint8] | None:
    """Return the body nearest the middle with the parts that lie close to it, 0 and 1."""
    dark = _bytes(cv2.morphologyEx(dark, cv2.MORPH_OPEN, _disc(0.008 * side)))
    joined = cv2.dilate(dark, _disc(_LOBES * side / 2))
    n, labels = cv2.connectedComponents(joined)
    height, width = dark.shape
    y, x = np.indices(dark.shape)
    away = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) / side
    best: tuple[float, NDArray[np.uint8]] | None = None
    for label in range(1, n):
        part = ((labels == label) & (dark > 0)).astype(np.uint8)
        area = int(part.sum())
        if area < _SMALLEST * dark.size:
            continue
        distance = float(away[part > 0].mean())
        if best is None or distance < best[0]:
            best = distance, part
    return None if best is None or best[0] > 0.4 else best[1]


def _hull(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    points = cv2.findNonZero(part)
    hull = np.zeros_like(part)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hull


def _holding(body: NDArray[np.uint8], nucleus: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return those parts of a body that hold some of the nucleus."""
    _, labels = cv2.connectedComponents(body)
    return np.isin(labels, np.setdiff1d(labels[nucleus > 0], [0])).astype(np.uint8)


def _filled(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _bytes(cv2.drawContours(np.zeros_like(part), contours, -1, 1, cv2.FILLED))


def _bytes(found: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.asarray(found, np.uint8)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(0, round(radius)) + 1
    return _bytes(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
