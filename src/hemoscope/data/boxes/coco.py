"""Boxes of COCO: JSON files, each of many pictures: `images`, `annotations` and `categories`."""

from __future__ import annotations

import json
import reprlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from hemoscope.data.boxes.picture_names import Pictures, one_of
from hemoscope.data.boxes.records import (
    Box,
    BoxSet,
    Edges,
    Picture,
    Problems,
    class_name_of,
    number_of,
    size_of,
)
from hemoscope.plain_files import read_plain

__all__ = ["read_coco"]

MOST_BYTES = 64 << 20
_KEYS = ("images", "annotations", "categories")

Id = int | str


def read_coco(root: Path, labels: Sequence[str], known: Pictures) -> BoxSet:
    """Read the files; a picture without an annotation is one without a cell."""
    found = BoxSet(len(known.paths))
    for path in labels:
        try:
            document = _parsed(root / path)
        except (OSError, ValueError, RecursionError) as error:
            found.problems.add(path, error)
            continue
        for picture in _pictures(document, path, known, found.problems):
            found.add(picture)
    return found


def _parsed(path: Path) -> Mapping[str, Sequence[Any]]:
    document = json.loads(read_plain(path, most=MOST_BYTES), parse_constant=_refuse)
    lacking = [
        key for key in _KEYS if not isinstance(document, dict) or not isinstance(document.get(key), list)
    ]
    if lacking:
        raise ValueError(f"expected lists of {', '.join(_KEYS)}; {', '.join(lacking)} is none")
    return document


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _pictures(
    document: Mapping[str, Sequence[Any]], path: str, known: Pictures, problems: Problems
) -> Iterator[Picture]:
    names = dict(_entries(document, "categories", path, problems))
    images = dict(_entries(document, "images", path, problems))
    boxes: dict[Id, list[Box]] = defaultdict(list)
    of_image: Counter[Id] = Counter()
    for index, annotation in enumerate(document["annotations"]):
        where = f"{path} annotation {index}"
        try:
            image = _id(annotation, "image_id", images)
            of_image[image] += 1
            category = _id(annotation, "category_id", names)
            name = class_name_of(names[category].get("name"))
            boxes[image].append(Box(name, _edges(annotation), of_image[image], where))
        except ValueError as error:
            problems.add(where, error)
    for key, image in images.items():
        try:
            picture = one_of(known.named(_file_name(image), path), reprlib.repr(image["file_name"]))
            size = size_of(image.get("width"), image.get("height"))
        except ValueError as error:
            problems.add(f"{path} image {reprlib.repr(key)}", error)
        else:
            yield Picture(picture, boxes[key], path, size)


def _entries(
    document: Mapping[str, Sequence[Any]], key: str, path: str, problems: Problems
) -> Iterator[tuple[Id, Mapping[str, Any]]]:
    """Yield the entries of a list by their `id`."""
    seen: set[Id] = set()
    for index, entry in enumerate(document[key]):
        where = f"{path} {key} {index}"
        if not isinstance(entry, dict):
            problems.add(where, f"expected an object, got {reprlib.repr(entry)}")
        elif not _is_id(entry.get("id")):
            problems.add(where, f"expected an id, got {reprlib.repr(entry.get('id'))}")
        elif entry["id"] in seen:
            problems.add(where, f"id {reprlib.repr(entry['id'])} is there before")
        else:
            seen.add(entry["id"])
            yield entry["id"], entry


def _file_name(image: Mapping[str, Any]) -> str:
    name = image.get("file_name")
    if isinstance(name, str):
        return name
    raise ValueError(f"expected a file_name, got {reprlib.repr(name)}")


def _id(annotation: Any, key: str, known: Mapping[Id, object]) -> Id:
    value = annotation.get(key) if isinstance(annotation, dict) else None
    if _is_id(value) and value in known:
        return value
    raise ValueError(f"its {key} is {reprlib.repr(value)}; expected an id of the file's list")


def _edges(annotation: Mapping[str, Any]) -> Edges:
    box = annotation.get("bbox")
    if annotation.get("iscrowd"):
        raise ValueError("is a crowd, and no cell")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"expected a bbox of left, top, width and height, got {reprlib.repr(box)}")
    left, top, width, height = map(number_of, box)
    return left, top, left + width, top + height


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
