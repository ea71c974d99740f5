"""Whether a folder is a detection set: boxes of YOLO, Pascal VOC or COCO instead of class folders.

Opens a few small text files and no image.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePosixPath

from hemoscope.data.scan_walk import Found

__all__ = ["is_detection_set"]

_FOLDERS = frozenset(
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
        "test",
        "testing",
        "train",
        "training",
        "val",
        "valid",
        "validation",
        "xml",
    )
)
_LOOKED_AT = 5
_HEAD_BYTES = 4096


def is_detection_set(root: Path, found: Found) -> bool:
    """Tell images that have boxes, in folders whose names are no classes.

    Boxes are text or XML files of the same names as at least half of the images, by content and
    not by name alone, or one COCO file for all.
    """
    images = [*(path for path, _ in found.files), *found.loose]
    folders = {part.casefold() for path in images for part in PurePosixPath(path).parts[:-1]}
    if not images or not folders <= _FOLDERS:
        return False
    if any(_is_coco(PurePosixPath(path).name.casefold()) for path in found.others):
        return True
    stems = {PurePosixPath(path).stem for path in images}
    boxes = [
        path
        for path in found.others
        if path.lower().endswith((".txt", ".xml")) and PurePosixPath(path).stem in stems
    ]
    return 2 * len(boxes) >= len(images) and any(_holds_boxes(root, islice(boxes, _LOOKED_AT)))


def _is_coco(name: str) -> bool:
    return name.endswith(".json") and ("coco" in name or name.startswith("instances"))


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
        yield b"<bndbox" in head if path.lower().endswith(".xml") else _is_yolo(head)


def _is_yolo(head: bytes) -> bool:
    """Tell a line of a class number and at least four fractions."""
    first = head.split(b"\n", 1)[0].split()
    try:
        return len(first) >= 5 and first[0].isdigit() and all(0 <= float(value) <= 1 for value in first[1:5])
    except ValueError:
        return False
