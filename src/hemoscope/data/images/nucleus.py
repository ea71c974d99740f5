"""How large a nucleus is in an image: the measure of how closely a laboratory's camera looks.

The green light that is missing is sorted into three: background, cytoplasm and red cells, nucleus. Of the darkest the piece
nearest to the centre is the nucleus. One image may mislead; the median over many is a property of the camera.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.white import white_of

__all__ = ["nucleus_px", "typical_px"]

WORK_PX = 120  # longer side that an image is looked at with
BLACK = 8  # no stain is so dark in every colour: it is what somebody cut away
LEAST_SHARE = 0.004  # of the image; smaller pieces are specks
SPREAD = 0.25  # standard deviation of the logarithm of one cell's diameter within a laboratory, about
UNSURE = 0.5  # and of a laboratory's, before anything is known of it


def nucleus_px(pixels: NDArray[np.uint8]) -> float:
    """Return the diameter of the central nucleus, that of a disk of its area, in pixels; NaN if none is found.

    Args:
        pixels: uint8, shape (H, W, 3).
    """
    import cv2

    height, width = pixels.shape[:2]
    zoom = min(1.0, WORK_PX / max(height, width))
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    shown = small.max(axis=2) >= BLACK
    if not shown.any():
        return float("nan")
    green = small[:, :, 1].astype(np.float32)
    density = np.log((white_of(small[shown][:, None])[1] + 1.0) / (green + 1.0)).clip(0)
    _, middle, dark = three_means(density[shown])
    mask = ((density > (middle + dark) / 2) & shown).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    n, labels, stats, centroids = cv2.connectedComponentsWithStats(mask, connectivity=8)
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])  # x, y
    y, x = np.mgrid[: size[1], : size[0]]
    away = np.hypot(x - centre[0], y - centre[1])
    found = [
        (away[labels == i].min() + 0.1 * np.hypot(*(centroids[i] - centre)), int(stats[i, cv2.CC_STAT_AREA]))
        for i in range(1, n)
        if stats[i, cv2.CC_STAT_AREA] >= LEAST_SHARE * mask.size
    ]
    return sqrt(4 * min(found)[1] / pi) / zoom if found else float("nan")


def typical_px(diameters: Iterable[float], expected_px: float) -> float:
    """Return a laboratory's nuclear diameter from those of some of its cells, drawn towards what is expected where they are few.

    The median of the logarithms, weighed as the mean of so many cells is against one expectation.

    Args:
        diameters: From `nucleus_px`; NaN counts as not measured.
        expected_px: Of the images a model was trained on.

    >>> round(typical_px([60.0] * 100, 105.0), 1), typical_px([], 105.0)
    (60.1, 105.0)
    """
    found = np.array([d for d in diameters if np.isfinite(d)])
    if not len(found):
        return expected_px
    weight = len(found) / (len(found) + (SPREAD / UNSURE) ** 2)
    return exp(weight * float(np.median(np.log(found))) + (1 - weight) * log(expected_px))


def three_means(values: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the centres of three groups of numbers, ascending, such that each number is nearest to the mean of its own."""
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], ordered.cumsum()])
    centres = np.quantile(ordered, [0.1, 0.6, 0.97])
    for _ in range(50):
        ends = np.array([0, *np.searchsorted(ordered, (centres[:-1] + centres[1:]) / 2), len(ordered)])
        n = np.diff(ends)
        moved = np.where(n > 0, np.diff(sums[ends]) / np.maximum(n, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return float(centres[0]), float(centres[1]), float(centres[2])
