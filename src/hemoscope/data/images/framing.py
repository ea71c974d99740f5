"""How an image becomes the square that is kept and cut from: one rule for training, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.frame import framed
from hemoscope.data.images.square import center_square
from hemoscope.errors import ShapeError

__all__ = ["NUCLEUS_SHARE", "SQUARE", "Framing", "by_nucleus", "nucleus_of"]

NUCLEUS_SHARE = 0.4  # of the side of a network's input that a typical nucleus takes


@dataclass(frozen=True, slots=True)
class Framing:
    """A rule from an image to a square.

    Attributes:
        view_px: Side of what is in view, in pixels of the image, on white; None: the largest central square as it is.
    """

    view_px: float | None = None

    def square(self, pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
        """Return an image of shape (H, W, 3) as a square, uint8, shape (side_px, side_px, 3)."""
        if self.view_px is None:
            return center_square(pixels, side_px)
        return framed(pixels, side_px, view_px=self.view_px)


SQUARE = Framing()


def by_nucleus(nucleus_px: float, *, image_px: int, canvas_px: int) -> Framing:
    """Return the framing that gives nuclei of a laboratory's images one size in a network's input.

    Args:
        nucleus_px: Diameter of its typical nucleus, in pixels of its images.
        image_px: Side of the network's input.
        canvas_px: Side of the square that it is cut from.

    Raises:
        ShapeError: If the diameter is none.
    """
    if not nucleus_px > 0:
        raise ShapeError(f"expected the diameter of a nucleus in pixels, more than 0; got {nucleus_px}")
    return Framing(nucleus_px * canvas_px / (NUCLEUS_SHARE * image_px))


def nucleus_of(framing: Framing, *, image_px: int, canvas_px: int) -> float:
    """Return the diameter that `by_nucleus` was given; NaN for the square."""
    if framing.view_px is None:
        return float("nan")
    return framing.view_px * NUCLEUS_SHARE * image_px / canvas_px
