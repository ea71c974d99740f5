"""Whether a folder is a detection set: boxes of YOLO, Pascal VOC or COCO instead of class folders.

Opens a few small text files and no image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from hemoscope.data.scan.walk import Found
from hemoscope.records import SIDE_NAMES, Side

__all__ = ["BOX_FOLDERS", "is_detection_set", "is_yolo", "side_named"]

BOX_FOLDERS = frozenset(
    (
        "annotation",
        "annotations",
        "image",
        "images",
        "imagesets",
        "img",
        "imgs",
        "jpegimages",
        "labels",
        "main",
        "xml",
    )
)
"""Names of folders, in small letters, that only part pictures from their boxes."""

_AROUND_SIDES = re.compile(r"^obj_|_data$|[ _-]?\d{4}$")  # CVAT's obj_train_data, COCO's train2017
_LOOKED_AT = 5
_HEAD_BYTES = 4096


def is_detection_set(root: Path, found: Found) -> bool:
    """Tell images that have boxes, in folders whose names are no classes.

    Boxes are text or XML files of the same names as at least half of the images, by content and
    not by name alone, or COCO files for all.
    """
    parents = [folder for folder, n in found.folders.items() if n]
    folders = {part.casefold() for parent in parents for part in parent.split("/")}
    images = [*found.files, *found.loose]
    if not images or any(name not in BOX_FOLDERS and not side_named(name) for name in folders):
        return False
    lists = [path for path in found.others if path.lower().endswith(".json")]
    if any(map(_named_coco, lists)) or any(_holds_boxes(root, islice(lists, _LOOKED_AT))):
        return True
    stems = {PurePosixPath(path).stem for path in images}
    boxes = [
        path
        for path in found.others
        if path.lower().endswith((".txt", ".xml")) and PurePosixPath(path).stem in stems
    ]
    return 2 * len(boxes) >= len(images) and any(_holds_boxes(root, islice(boxes, _LOOKED_AT)))


def side_named(name: str) -> Side | None:
    """Return the side of a split that a folder of a detection set, or its list of one, is named after.

    >>> side_named("Valid"), side_named("train2017"), side_named("obj_test_data"), side_named("tests")
    ('val', 'train', 'test', None)
    """
    return SIDE_NAMES.get(_AROUND_SIDES.sub("", name.strip().casefold()))


def is_yolo(head: bytes) -> bool:
    """Tell a line of a class number and at least four fractions."""
    first = head.split(b"\n", 1)[0].split()
    try:
        return len(first) >= 5 and first[0].isdigit() and all(0 <= float(value) <= 1 for value in first[1:5])
    except ValueError:
        return False


def _named_coco(path: str) -> bool:
    name = PurePosixPath(path).name.casefold()
    return "coco" in name or name.startswith("instances")


def _holds_boxes(root: Path, paths: Iterable[str]) -> Iterable[bool]:
    for path in paths:
        file = root / path
        try:
            if not file.is_file():  # a pipe would never end
                continue
            with file.open("rb") as opened:
                head = opened.read(_HEAD_BYTES)
        except OSError:
            continue
        yield _HOLDS[PurePosixPath(path).suffix.lower()](head)


_HOLDS: Mapping[str, Callable[[bytes], bool]] = MappingProxyType(
    {
        ".json": lambda head: b'"images"' in head or b'"categories"' in head,
        ".txt": is_yolo,
        ".xml": lambda head: b"<bndbox" in head,
    }
)
