"""A detection set of any of three formats: which one it is, its pictures and boxes, and its sides.

The format is told by what is in the files. A set with boxes in two formats is refused: nobody says which
of them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from hemoscope.data.boxes.coco import MOST_BYTES, read_coco
from hemoscope.data.boxes.picture_names import Pictures, side_of
from hemoscope.data.boxes.records import BoxSet
from hemoscope.data.boxes.voc import read_voc
from hemoscope.data.boxes.yolo import read_yolo
from hemoscope.data.boxes.yolo_names import holds_names
from hemoscope.data.scan.csv_rows import decoded
from hemoscope.data.scan.detection_sets import is_yolo, side_named
from hemoscope.data.scan.layout import show
from hemoscope.data.scan.walk import walk
from hemoscope.errors import DataError
from hemoscope.plain_files import read_plain
from hemoscope.records import Side

__all__ = ["read_boxes"]

MOST_LIST_BYTES = 16 << 20
_FORMATS: Mapping[str, str] = MappingProxyType({".json": "COCO", ".xml": "Pascal VOC", ".txt": "YOLO"})
_HOLDS: Mapping[str, Callable[[bytes], bool]] = MappingProxyType(
    {
        ".json": lambda content: b'"images"' in content and b'"annotations"' in content,
        ".xml": lambda content: b"<annotation" in content,
        ".txt": is_yolo,
    }
)


def read_boxes(root: Path) -> tuple[BoxSet, dict[str, Side]]:
    """Read the boxes of all pictures below a folder, and the sides on which the set has them.

    Returns:
        What was found and what is wrong with it; the sides by picture, empty where the set has none.

    Raises:
        DataError: If it is no folder of a detection set, or cannot be told which one it is.
    """
    if not root.is_dir():
        raise DataError(f"expected a folder of pictures and boxes at {show(root)}; there is none")
    found = walk(root)
    labels = [path for path in found.others if PurePosixPath(path).suffix.lower() in _FORMATS]
    known = Pictures([*found.files, *found.loose], labels)
    files, form = _label_files(root, found.others, known)
    if form == ".json":
        boxes = read_coco(root, files, known)
    elif form == ".xml":
        boxes = read_voc(root, files, known)
    else:
        boxes = read_yolo(root, files, found.others, known)
    for problem in found.problems:
        if problem.level == "error":  # a folder that may not be read
            boxes.problems.add(problem.path, problem.what)
    return boxes, _sides(boxes, lambda: _listed_sides(root, found.others, known, boxes))


def _label_files(root: Path, others: Sequence[str], known: Pictures) -> tuple[list[str], str]:
    """Return the label files and their suffix: those that hold boxes, and those that should."""
    certain: dict[str, list[str]] = {suffix: [] for suffix in _FORMATS}
    perhaps: dict[str, list[str]] = {suffix: [] for suffix in _FORMATS}
    for path in others:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix not in _FORMATS or holds_names(path):
            continue
        try:
            content = read_plain(root / path, most=MOST_BYTES)
        except OSError:
            perhaps[suffix].append(path)  # its reader says why
            continue
        if _HOLDS[suffix](content.replace(b"\0", b"")):
            certain[suffix].append(path)
        elif known.of_labels(path):
            perhaps[suffix].append(path)
    forms = [suffix for suffix, paths in certain.items() if paths]
    forms = forms or [suffix for suffix, paths in perhaps.items() if paths]
    files = {suffix: sorted(certain[suffix] + perhaps[suffix]) for suffix in forms}
    if len(forms) > 1:
        named = " and ".join(f"{_FORMATS[suffix]} ({show(files[suffix][0])})" for suffix in forms)
        raise DataError(
            f"{show(root)} has boxes of {named}; expected one format. Crop a copy of it without the others"
        )
    if not forms or not known.paths:
        raise DataError(
            f"expected pictures with boxes of YOLO (a .txt each), Pascal VOC (an .xml each) or COCO (a .json) in "
            f"{show(root)}; found {len(known.paths)} pictures and {'a' if forms else 'no'} file of boxes"
        )
    return files[forms[0]], forms[0]


def _listed_sides(root: Path, others: Iterable[str], known: Pictures, boxes: BoxSet) -> dict[str, Side]:
    """Return the sides that lists say: `train.txt` and the like, with a picture's name on each line."""
    sides: dict[str, Side] = {}
    for path in others:
        name = PurePosixPath(path)
        side = side_named(name.stem) if name.suffix.lower() == ".txt" else None
        if side is None or known.of_labels(path):
            continue
        try:
            lines = decoded(read_plain(root / path, most=MOST_LIST_BYTES)).splitlines()
        except OSError as error:
            boxes.problems.add(path, error)
            continue
        meant = [
            (f"{path} line {number}", known.listed(line))
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
        if not any(found for _, found in meant):
            continue  # a text of another kind
        for where, found in meant:
            if len(found) != 1:
                boxes.problems.add(where, f"means {len(found)} pictures of the set; expected one")
            elif sides.setdefault(found[0], side) != side:
                boxes.drop(found[0], where, f"is on side {side}, and {sides[found[0]]} in another list")
    return sides


def _sides(boxes: BoxSet, listed: Callable[[], Mapping[str, Side]]) -> dict[str, Side]:
    """Return the side of every picture that has boxes; none if all are on one.

    Its folder says it, or its label file's; lists of pictures where these do not.
    """
    found: dict[str, Side | None] = {
        picture.path: side_of(picture.path) or side_of(picture.labels)
        for picture in boxes.pictures
        if picture.boxes
    }
    if None in found.values():
        sides = listed()
        found = {path: side or sides.get(path) for path, side in found.items()}
    if len(set(found.values())) < 2:
        return {}
    what = "is on no side of a split, and other pictures are; expected train, val or test"
    for path in (path for path, side in found.items() if side is None):
        boxes.drop(path, path, what)
    return {path: side for path, side in found.items() if side}
