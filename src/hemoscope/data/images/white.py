"""The white of an image: what colour its empty background has, and pixels as they would be if that were white.

Cameras, lamps and slides differ by what light they let through, a factor a channel. Dividing by the background takes it
out: what remains is optical density, which is the stain's. Nothing here reads a file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["white_of", "whitened"]


def white_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the background's colour, shape (3,): the smallest value a channel that 95 % of the pixels do not exceed.

    Args:
        pixels: uint8, shape (H, W, 3), not empty.
    """
    flat = pixels.reshape(-1, 3)
    wanted = -(-len(flat) * 95 // 100)  # the share in whole numbers, so that no rounding decides
    counts = [np.bincount(flat[:, channel], minlength=256).cumsum() for channel in range(3)]
    return np.array([np.searchsorted(each, wanted) for each in counts], dtype=np.uint8)


def whitened(pixels: NDArray[np.uint8], white: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as they would be on a white background, shape (H, W, 3): 255 · (value + 1) / (white + 1), at most 255.

    Args:
        pixels: uint8, shape (H, W, 3).
        white: The background's colour, shape (3,).
    """
    values = (
        np.arange(1, 257, dtype=np.int64)[:, None] * 510 // (white.astype(np.int64) + 1)
    )  # (256, 3), doubled
    table = np.minimum((values + 1) // 2, 255).astype(np.uint8)
    return np.stack([table[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)
