"""Images that show no known cell, made of a data set's own: what a bundle's `unknown` is tried on.

They are made, not found, so they say what `unknown` surely misses, never what it surely finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST_PX", "strangers"]

SMALLEST_PX = 96  # of an image that has room for something beside its cell

Pixels = NDArray[np.uint8]


def strangers(cells: Iterable[Pixels], rng: np.random.Generator) -> Iterator[tuple[str, Pixels]]:
    """Yield noise of every cell's size, then, of those large enough, a corner and its emptiest patch.

    Args:
        cells: Decoded images with a cell in the middle, each of shape (H, W, 3).
        rng: Draws the noise.

    Yields:
        What it is, `noise`, `corner` or `background`, and an image of the cell's size; the two latter are
        a patch mirrored until it fills it.
    """
    for cell in cells:
        yield "noise", rng.integers(0, 256, cell.shape, dtype=np.uint8)
        side = min(cell.shape[:2])
        if side < SMALLEST_PX:
            continue
        corner, small = round(0.3 * side), side // 15
        yield "corner", _mirrored(cell[:corner, :corner], cell.shape)
        places = [
            cell[y : y + small, x : x + small]
            for y in range(0, side - small, small)
            for x in range(0, side - small, small)
        ]
        yield "background", _mirrored(max(places, key=lambda patch: float(patch.min())), cell.shape)


def _mirrored(patch: Pixels, shape: tuple[int, ...]) -> Pixels:
    wanted = [(0, size - have) for size, have in zip(shape[:2], patch.shape[:2], strict=True)]
    return np.pad(patch, (*wanted, (0, 0)), "symmetric")
