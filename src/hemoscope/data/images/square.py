"""The square of an image that a network sees: its middle, resized.

Pure functions of pixels and sizes. Nothing here reads a file.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

__all__ = ["center_square", "is_long"]


def center_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return the largest central square, resized to `side_px` with antialiasing.

    It is the centre crop after resizing the shorter side to `side_px`, without ever making the long
    side of a 1 x 5000 image 256 times longer.

    Args:
        pixels: uint8, shape (H, W, 3).
        side_px: Side of the result.
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    reach = max(1.0, side / side_px) + 1  # of the filter, and a row to spare
    first, last = max(0, floor(top - reach)), min(height, ceil(top + side + reach))
    image = Image.fromarray(pixels[first:last])
    # One direction at a time: in one call Pillow 13 takes the columns of a tall image first, Pillow 12 the
    # rows, and the rounding in between makes a quarter of the pixels differ.
    wide = image.resize((side_px, last - first), bilinear, box=(left, 0, left + side, last - first))
    square = wide.resize((side_px, side_px), bilinear, box=(0, top - first, side_px, top - first + side))
    return np.asarray(square)


def is_long(width_px: int, height_px: int) -> bool:
    """Whether the central square leaves more than half of an image out, and perhaps the cell.

    >>> is_long(800, 400), is_long(801, 400), is_long(300, 700)
    (False, True, True)
    """
    return max(width_px, height_px) > 2 * min(width_px, height_px)
