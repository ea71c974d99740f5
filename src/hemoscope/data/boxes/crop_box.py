"""Where a box lies in its picture, and the square to cut around it. Opens no file.

Boxes are taken to be drawn on the picture as viewers show it, which is how `decode` reads it: upright, by
its EXIF orientation. A label file that says the size of another picture, a turned or a resized one, is
refused, and so is a box that reaches out further than rounding explains.
"""

from __future__ import annotations

from hemoscope.data.boxes.records import Edges, Picture

__all__ = ["MIN_BOX_PX", "check_size", "edges_px", "square_around"]

MIN_BOX_PX = 8
_ROUNDING, _ROUNDING_PX = 0.01, 2.0


def check_size(picture: Picture, size: tuple[int, int], *, turned: bool) -> None:
    """Refuse a picture of another size than its boxes are for.

    Args:
        picture: With the size that its label file says, if it does.
        size: Width and height, upright.
        turned: Whether it is stored turned.

    Raises:
        ValueError: If so.
    """
    said = picture.size_px
    if said in (None, size):
        return
    why = "; it is stored turned (EXIF), and boxes are for the upright picture" if turned else ""
    raise ValueError(
        f"is {size[0]} x {size[1]} px, and its boxes in {picture.labels!r} are for {said[0]} x {said[1]}{why}"
    )


def edges_px(edges: Edges, size: tuple[int, int], *, in_fractions: bool) -> Edges:
    """Return the edges of a box in pixels, cut at the border of its picture.

    Args:
        edges: Left, top, right and bottom.
        size: Width and height of the picture.
        in_fractions: Whether edges are fractions of them.

    Raises:
        ValueError: If the box reaches out by more than 1 % of the picture (or 2 px), or is too small.
    """
    unit = size if in_fractions else (1, 1)
    left, top, right, bottom = (edge * unit[i % 2] for i, edge in enumerate(edges))
    slack = [max(_ROUNDING_PX, _ROUNDING * length) for length in size]
    if left < -slack[0] or top < -slack[1] or right > size[0] + slack[0] or bottom > size[1] + slack[1]:
        raise ValueError(
            f"the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) reaches out of the picture of "
            f"{size[0]} x {size[1]} px"
        )
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
    if min(right - left, bottom - top) < MIN_BOX_PX:
        raise ValueError(
            f"the box is {right - left:.3g} x {bottom - top:.3g} px; expected at least {MIN_BOX_PX} x {MIN_BOX_PX}"
        )
    return left, top, right, bottom


def square_around(edges: Edges, size: tuple[int, int], context: float) -> tuple[int, int, int]:
    """Return left, top and side of the square around a box inside a picture, in pixels.

    Moved into the picture where it would reach out of it, smaller where the picture is smaller.

    Args:
        edges: The box.
        size: Width and height of the picture.
        context: Side of the square over the longer side of the box.

    >>> square_around((40, 40, 60, 50), (100, 100), 1.5), square_around((0, 80, 20, 100), (100, 100), 1.5)
    ((35, 30, 30), (0, 70, 30))
    """
    left, top, right, bottom = edges
    side = round(min(context * max(right - left, bottom - top), *size))
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return max(0, min(x, size[0] - side)), max(0, min(y, size[1] - side)), side
