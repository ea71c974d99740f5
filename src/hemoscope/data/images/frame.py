"""A cell framed alike whatever camera took it: on white, its nucleus of one size, the whole image in view.

The other framing, the largest central square, is in `square`. Pure functions of pixels and sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.white import white_of, whitened

__all__ = ["Span", "framed", "span"]


@dataclass(frozen=True, slots=True)
class Span:
    """What an image covers of one side of a frame.

    Attributes:
        first: First pixel of the frame that the image has a part in.
        last: One after the last.
        start: Where the first begins, in pixels of the image; less than 0 where it reaches out of it.
        stop: Where the last one ends.
    """

    first: int
    last: int
    start: float
    stop: float


def span(length_px: int, side_px: int, view_px: float) -> Span:
    """Return what the middle of an image covers of a frame that has `view_px` of its pixels in view.

    Args:
        length_px: Side of the image.
        side_px: Side of the frame, in pixels of its own.
        view_px: Side of the frame, in pixels of the image.
    """
    step = view_px / side_px
    begin = (length_px - view_px) / 2
    reach = max(1.0, step)  # of the triangle filter
    first = max(0, floor((-reach - begin) / step - 0.5))
    last = min(side_px, ceil((length_px + reach - begin) / step + 0.5))
    return Span(first, last, begin + first * step, begin + last * step)


def framed(pixels: NDArray[np.uint8], side_px: int, *, view_px: float) -> NDArray[np.uint8]:
    """Return the middle of an image on a white background, resized with antialiasing; what lies outside it is white.

    Args:
        pixels: uint8, shape (H, W, 3).
        side_px: Side of the result.
        view_px: Side of the square that is in view, in pixels of the image; it may be larger than the image.

    Returns:
        uint8, shape (side_px, side_px, 3).
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    height, width = pixels.shape[:2]
    white = white_of(pixels)
    rows, columns = span(height, side_px, view_px), span(width, side_px, view_px)
    outside = (-rows.start, -columns.start, rows.stop - height, columns.stop - width, 0.0)
    pad = ceil(max(outside)) + ceil(view_px / side_px) + 1
    padded = np.empty((height + 2 * pad, width + 2 * pad, 3), np.uint8)
    padded[:] = white
    padded[pad : pad + height, pad : pad + width] = pixels
    # One direction at a time, as in `square`: which one Pillow takes first depends on its version.
    across = (columns.start + pad, 0, columns.stop + pad, len(padded))
    wide = Image.fromarray(padded).resize((columns.last - columns.first, len(padded)), bilinear, box=across)
    down = (0, rows.start + pad, wide.width, rows.stop + pad)
    seen = wide.resize((wide.width, rows.last - rows.first), bilinear, box=down)
    frame = np.full((side_px, side_px, 3), 255, np.uint8)
    frame[rows.first : rows.last, columns.first : columns.last] = whitened(np.asarray(seen), white)
    return frame
