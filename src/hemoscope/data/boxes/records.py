"""Boxes around cells as all formats mean them: pictures, their boxes, and what is wrong with them.

Label files come from strangers. What they say is taken where it is a number or a line of text; everything
else is told. Opens no file.
"""

from __future__ import annotations

import math
import reprlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = [
    "Box",
    "BoxSet",
    "Edges",
    "Picture",
    "Problems",
    "class_name_of",
    "number_of",
    "size_of",
]

Edges = tuple[float, float, float, float]

_SHOWN = 20
_MOST_BOXES = 5000
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Box:
    """The box of one cell.

    Attributes:
        class_name: As the set names it.
        edges: Left, top, right and bottom, from the upper left corner of the upright picture.
        number: Its place among the boxes of its picture, from 1.
        where: File and line, for a person to find it.
    """

    class_name: str
    edges: Edges
    number: int
    where: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A field of view with its boxes.

    Attributes:
        path: POSIX path below the folder of the set.
        boxes: Those that could be read.
        labels: Path of the label file.
        size_px: Width and height for which the boxes were drawn, where the label file says so.
        in_fractions: Whether edges are fractions of width and height, and not pixels.
    """

    path: str
    boxes: Sequence[Box]
    labels: str
    size_px: tuple[int, int] | None = None
    in_fractions: bool = False


@dataclass
class Problems:
    """What is wrong: counted, and the first of it kept to be told, however much a hostile file brings."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, what: str | Exception) -> None:
        """Count one more."""
        self.count += 1
        if isinstance(what, OSError):
            what = what.strerror or str(what)
        if self.count <= _SHOWN:
            self.first.append(f"{where if where.isprintable() else ascii(where)}: {what}")

    @property
    def lines(self) -> list[str]:
        """The lines to show."""
        return [*self.first, *([f"and {self.count - _SHOWN} more"] if self.count > _SHOWN else [])]


@dataclass
class BoxSet:
    """What a reader has found so far in a set of so many pictures."""

    n_pictures: int
    problems: Problems = field(default_factory=Problems)
    _by_path: dict[str, Picture | None] = field(default_factory=dict)

    @property
    def pictures(self) -> list[Picture]:
        """The pictures, each with the boxes of the only label file that is of it."""
        return [picture for picture in self._by_path.values() if picture]

    @property
    def without_boxes(self) -> int:
        """How many pictures have no box, in a label file or for want of one."""
        return self.n_pictures - sum(
            picture is None or bool(picture.boxes) for picture in self._by_path.values()
        )

    def add(self, picture: Picture) -> None:
        """Take a picture and its boxes; a second time it is a problem, and neither counts."""
        if picture.path in self._by_path:
            other = self._by_path[picture.path]
            also = f", and so has {other.labels!r}" if other else " once more"
            what = f"has boxes for {picture.path!r}{also}; expected one place for them"
            self.problems.add(picture.labels, what)
            self._by_path[picture.path] = None
        elif len(picture.boxes) > _MOST_BOXES:
            what = f"{len(picture.boxes):,} boxes in {picture.path!r}; expected at most {_MOST_BOXES:,}"
            self.problems.add(picture.labels, what)
        else:
            self._by_path[picture.path] = picture

    def drop(self, path: str, where: str, what: str) -> None:
        """Tell what is wrong with a picture, which then does not count."""
        self.problems.add(where, what)
        self._by_path[path] = None


def number_of(value: object) -> float:
    """Return a finite number; a truth value is none.

    Raises:
        ValueError: If it is something else.
    """
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"expected a number, got {reprlib.repr(value)}")


def size_of(width: object, height: object) -> tuple[int, int] | None:
    """Return the size of a picture as a label file says it; none where it does not, or says 0.

    Raises:
        ValueError: If it is no size.
    """
    if width is None or height is None:
        return None
    numbers = number_of(width), number_of(height)
    if not all(number.is_integer() and number >= 0 for number in numbers):
        raise ValueError(f"expected a width and height in pixels, got {numbers[0]:g} and {numbers[1]:g}")
    return (int(numbers[0]), int(numbers[1])) if all(numbers) else None


def class_name_of(value: object) -> str:
    """Return the name of a class as a CSV of labels will have it.

    Raises:
        ValueError: If it is not one line of text.
    """
    name = unicodedata.normalize("NFC", value.strip()) if isinstance(value, str) else ""
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError(
            f"expected a class, a line of at most {_LONGEST_NAME} characters, got {reprlib.repr(value)}"
        )
    return name
