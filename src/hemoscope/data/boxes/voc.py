"""Boxes of Pascal VOC: an XML file a picture, with an `object` a cell.

Edges are taken as they are written, as LabelImg writes them: `xmin` and `xmax` are the left and right
edge in pixels. The picture is the one that `filename` says, or that has the file's own name; where both
are there and differ, it is a problem. `path`, which is one on somebody's computer, is not looked at.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from hemoscope.data.boxes.picture_names import Pictures, one_of
from hemoscope.data.boxes.records import Box, BoxSet, Picture, class_name_of, number_of, size_of
from hemoscope.plain_files import read_plain

__all__ = ["read_voc"]

MOST_BYTES = 4 << 20
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: Path, labels: Sequence[str], known: Pictures) -> BoxSet:
    """Read annotation files."""
    found = BoxSet(len(known.paths))
    for path in labels:
        try:
            annotation = _parsed(read_plain(root / path, most=MOST_BYTES))
            picture = _picture(annotation, path, known)
            size = size_of(annotation.findtext("size/width"), annotation.findtext("size/height"))
        except (OSError, ValueError) as error:
            found.problems.add(path, error)
            continue
        boxes: list[Box] = []
        for number, cell in enumerate(annotation.findall("object"), 1):
            where = f"{path} object {number}"
            try:
                boxes.append(_box(cell, number, where))
            except ValueError as error:
                found.problems.add(where, error)
        found.add(Picture(picture, boxes, path, size))
    return found


def _parsed(data: bytes) -> ET.Element:
    """Return the root; entities, which can grow without end or name other files, are not let in."""
    ascii_only = data.replace(b"\0", b"")  # of UTF-16; no other encoding that is read moves these letters
    if b"<!DOCTYPE" in ascii_only or b"<!ENTITY" in ascii_only:
        raise ValueError("declares a document type or entities, which no annotation needs; not read")
    try:
        root = ET.fromstring(data)  # noqa: S314  what makes it unsafe is refused above
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"is damaged: {error}") from error
    if root.tag != "annotation":
        raise ValueError(f"expected an annotation of Pascal VOC, got {reprlib.repr(root.tag)}")
    return root


def _picture(annotation: ET.Element, path: str, known: Pictures) -> str:
    name = (annotation.findtext("filename") or "").strip()
    named = known.named(name, path) if name else []
    own = known.of_labels(path)
    if len(named) == 1 and own and named[0] not in own:
        raise ValueError(
            f"says that it is of {named[0]!r}, and {own[0]!r} has its name; rename one, or mend it"
        )
    return one_of(named or own, reprlib.repr(name) if name else "of its name")


def _box(cell: ET.Element, number: int, where: str) -> Box:
    name = class_name_of(cell.findtext("name"))
    left, top, right, bottom = (number_of(cell.findtext(f"bndbox/{edge}")) for edge in _EDGES)
    return Box(name, (left, top, right, bottom), number, where)
