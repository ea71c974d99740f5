"""Cells cut out of fields of view along their boxes, as a CSV of labels that every `--data` takes.

A crop is a square around the middle of a box, wider than the box by `context`: pixels of the picture as
`decode` reads it, upright, none invented and none scaled. `crop_box` says which square, and which boxes
are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from hemoscope.data.boxes.crop_box import check_size, edges_px, square_around
from hemoscope.data.boxes.records import BoxSet, Picture, Problems
from hemoscope.data.boxes.safe_names import safe_names
from hemoscope.data.boxes.sets import read_boxes
from hemoscope.data.images.decode import decode
from hemoscope.data.scan.csv_rows import csv_text
from hemoscope.data.scan.layout import show
from hemoscope.errors import ConfigError, DataError, ImageError
from hemoscope.files import new_folder, refuse_occupied
from hemoscope.places import available_cores
from hemoscope.progress import Progress

__all__ = ["CONTEXT", "LABELS", "Crops", "crop_set"]

CONTEXT = 1.5
"""Side of a crop over the longer side of its box."""

LABELS = "labels.csv"
_COPY = re.compile(r"\.rf\.[0-9A-Za-z]{16,40}(?=\.\w+$)")  # Roboflow names augmented copies of one picture so


@dataclass(frozen=True, slots=True)
class Crops:
    """What was written.

    Attributes:
        counts: Cells a class.
        pictures: Pictures that they are from.
        without_boxes: Pictures of the set that have no box.
        bad: Boxes, pictures and label files that were left out.
    """

    counts: Mapping[str, int]
    pictures: int
    without_boxes: int
    bad: Problems


def crop_set(
    root: Path,
    out: Path,
    *,
    context: float = CONTEXT,
    leave_out: Collection[str] = (),
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Crops:
    """Cut the cells out of a detection set: `CLASS/PICTURE-BOX.png`, and `labels.csv`.

    The list has the columns path, class, group (the picture, so that its cells stay on one side) and, where
    the set has sides, split.

    Args:
        root: A folder with boxes of YOLO, Pascal VOC or COCO.
        out: A folder that is absent or empty; it appears when all of it is written, or not at all.
        context: Side of a crop over the longer side of its box, at least 1.
        leave_out: Classes to leave out.
        skip_bad: Leave out what is bad instead of refusing.
        progress: Called after each picture.

    Raises:
        DataError: If `root` is no such set, `out` is occupied or inside it, or no box is left; with
            everything that is wrong where `skip_bad` is off.
    """
    if not context >= 1:
        raise ConfigError(f"expected a context of at least 1, the box itself; got {context}")
    refuse_occupied(out)
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(f"expected a folder outside of {show(root)} for the crops, got {show(out)}")
    boxes, sides = read_boxes(root)
    problems, pictures = boxes.problems, _without(boxes, leave_out)
    rows: list[tuple[str, str, str, str]] = []
    cropped: set[str] = set()
    with new_folder(out) as folder:
        for done, cut in enumerate(_cut_all(root, folder, pictures, context), 1):
            for where, what in cut.problems:
                problems.add(where, what)
            side, group = sides.get(cut.path, ""), _COPY.sub("", cut.path)
            rows += [(path, name, side, group) for path, name in cut.cells]
            cropped |= {cut.path} if cut.cells else set()
            if progress is not None:
                progress("cropping pictures", done, len(pictures))
        _refuse(root, problems, skip_bad=skip_bad, any_left=bool(rows))
        used = [0, 1, 2, 3] if sides else [0, 1, 3]
        lines = [("path", "class", "split", "group"), *rows]
        (folder / LABELS).write_bytes(csv_text([[line[i] for i in used] for line in lines]))
    counts = Counter(name for _, name, _, _ in rows)
    return Crops(dict(sorted(counts.items())), len(cropped), boxes.without_boxes, problems)


def _refuse(root: Path, problems: Problems, *, skip_bad: bool, any_left: bool) -> None:
    if problems.count and not (skip_bad and any_left):
        raise DataError(
            f"{show(root)} has {problems.count} problem(s), and nothing was written:\n  "
            + "\n  ".join(problems.lines)
            + ("\nNo box is left" if skip_bad else "\nLeave out what is bad: --skip-bad")
        )
    if not any_left:
        raise DataError(f"there is no box to cut out in {show(root)}; nothing was written")


def _without(boxes: BoxSet, leave_out: Collection[str]) -> list[Picture]:
    """Return the pictures that have boxes of other classes, with only these boxes."""
    classes = sorted({box.class_name for picture in boxes.pictures for box in picture.boxes})
    unknown = [show(name) for name in leave_out if name not in classes]
    if unknown:
        found = ", ".join(map(show, classes)) or "none"
        raise DataError(f"there is no class {', '.join(unknown)} to leave out; found: {found}")
    kept = (
        replace(picture, boxes=[box for box in picture.boxes if box.class_name not in leave_out])
        for picture in boxes.pictures
    )
    return [picture for picture in kept if picture.boxes]


@dataclass(slots=True)
class _Cut:
    """What came of a picture: paths and classes of its cells, places and kinds of its problems."""

    path: str
    cells: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, Exception]] = field(default_factory=list)


def _cut_all(root: Path, out: Path, pictures: Sequence[Picture], context: float) -> Iterator[_Cut]:
    """Cut in parallel threads; Pillow lets go of the interpreter."""
    classes = sorted({box.class_name for picture in pictures for box in picture.boxes})
    folders = safe_names(((name, name) for name in classes), taken=[LABELS])
    stems = safe_names((picture.path, PurePosixPath(picture.path).stem) for picture in pictures)

    def cut(picture: Picture) -> _Cut:
        done = _Cut(picture.path)
        try:
            decoded = decode(root / picture.path)
            size = decoded.pixels.shape[1], decoded.pixels.shape[0]
            check_size(picture, size, turned="exif-rotated" in decoded.conversions)
        except (ImageError, ValueError) as error:
            done.problems.append((picture.path, error))
            return done
        for box in picture.boxes:
            try:
                edges = edges_px(box.edges, size, in_fractions=picture.in_fractions)
            except ValueError as error:
                done.problems.append((box.where, error))
                continue
            left, top, side = square_around(edges, size, context)
            path = f"{folders[box.class_name]}/{stems[picture.path]}-{box.number}.png"
            (out / path).parent.mkdir(exist_ok=True)
            Image.fromarray(decoded.pixels[top : top + side, left : left + side]).save(out / path)
            done.cells.append((path, box.class_name))
        return done

    pool = ThreadPoolExecutor(max_workers=available_cores(), thread_name_prefix="crop")
    try:
        yield from pool.map(cut, pictures)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the pictures in hand, not for all
