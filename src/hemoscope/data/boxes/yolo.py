"""Boxes of YOLO: a text file a picture, of the same name, with a line a cell.

A line is the class number and the box's middle, width and height as fractions of the picture, or an
outline of at least three points (segments, turned boxes), of which the upright box around it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hemoscope.data.boxes.picture_names import Pictures, one_of
from hemoscope.data.boxes.records import Box, BoxSet, Edges, Picture, number_of
from hemoscope.data.boxes.yolo_names import read_names
from hemoscope.data.scan.csv_rows import decoded
from hemoscope.plain_files import read_plain

__all__ = ["read_yolo"]

MOST_BYTES = 4 << 20
_MOST_CLASSES = 10_000
_MOST_FRACTION = 1.01  # what rounding of the tools may add


def read_yolo(root: Path, labels: Sequence[str], others: Sequence[str], known: Pictures) -> BoxSet:
    """Read label files; the classes are `class_0`, `class_1`, ... where the set does not name them.

    Args:
        root: The folder of the set.
        labels: Paths of its label files.
        others: Paths of all its files that are no pictures, the names of classes among them.
        known: Its pictures.

    Raises:
        DataError: If the names of its classes cannot be read.
    """
    names = read_names(root, others)
    found = BoxSet(len(known.paths))
    for path in labels:
        try:
            picture = one_of(known.of_labels(path), "of its name")
            lines = decoded(read_plain(root / path, most=MOST_BYTES)).splitlines()
        except (OSError, ValueError) as error:
            found.problems.add(path, error)
            continue
        boxes: list[Box] = []
        for number, line in enumerate(lines, 1):
            where = f"{path} line {number}"
            try:
                if values := line.split():
                    boxes.append(Box(*_parsed(values, names), number, where))
            except ValueError as error:
                found.problems.add(where, error)
        found.add(Picture(picture, boxes, path, in_fractions=True))
    return found


def _parsed(values: Sequence[str], names: Mapping[int, str]) -> tuple[str, Edges]:
    """Return the class and the edges, as fractions."""
    if len(values) < 5 or len(values) % 2 == 0:
        raise ValueError(f"{len(values)} values; expected the class and 4, or an outline of 3 points or more")
    numbers = [number_of(value) for value in values]
    beyond = next((v for v in numbers[1:] if not 0 <= v <= _MOST_FRACTION), None)
    if beyond is not None:
        raise ValueError(f"expected fractions of width and height, from 0 to 1, got {beyond:g}")
    class_name = _class(numbers[0], names)
    if len(numbers) > 5:
        across, down = numbers[1::2], numbers[2::2]
        return class_name, (min(across), min(down), max(across), max(down))
    x, y, width, height = numbers[1:]
    return class_name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _class(number: float, names: Mapping[int, str]) -> str:
    if not number.is_integer() or not 0 <= number < _MOST_CLASSES:
        raise ValueError(f"expected the number of a class, got {number:g}")
    name = names.get(int(number)) if names else f"class_{number:.0f}"
    if name is None:
        raise ValueError(f"class {number:.0f} has no name; the set names {len(names)} classes")
    return name
