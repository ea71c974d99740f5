"""A split as a CSV file: path, class, subtype, hash, split; one line an image, ordered by path.

Reading verifies a split against the images, whoever made it, and tells everything that is wrong
at once. A wrong split is never repaired.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from hemoscope.data.scan.csv_rows import Names, csv_text, plain, read_rows
from hemoscope.errors import SplitError
from hemoscope.files import atomic_path
from hemoscope.records import SIDE_NAMES, SIDES, CellImage, Manifest, Side, Split, SplitRow, collected_later

__all__ = ["COLUMNS", "read_split", "recorded_split", "write_split"]

COLUMNS = ("path", "class", "subtype", "hash", "split")
_REQUIRED = ("path", "class", "split")
_SHOWN = 20
_AT_ONCE = 2**14  # rows; a million as one text take half a gigabyte


def write_split(split: Split, path: Path) -> None:
    """Write a split atomically: UTF-8, LF line ends, file names of any characters."""
    rows = sorted(split.rows, key=attrgetter("path"))
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(csv_text([COLUMNS]))
        for start in range(0, len(rows), _AT_ONCE):
            file.write(csv_text(rows[start : start + _AT_ONCE]))  # a row has the columns' order


class _Record(NamedTuple):
    """A line of the file; what it has no column for is empty."""

    line: int
    path: str
    class_name: str
    subtype: str
    hash: str
    split: str


@collected_later()
def read_split(path: Path, manifest: Manifest) -> Split:
    """Read a split made here or elsewhere and verify it against the images.

    The columns `subtype` and `hash` may be absent or empty; they are filled from the images.
    What Windows, Excel and macOS make of a CSV is accepted: line ends, a byte order mark, UTF-16,
    `;`, backslashes, another Unicode form of a name. Images in no side are allowed. One content, or one
    group (patient, slide), on two sides is allowed only where the data set itself was published so.

    Returns:
        A split of policy `given`; its digest is that of the split that was written.

    Raises:
        SplitError: Everything that does not fit, at once.
    """
    records = _records(path)
    images = {image.path: image for image in manifest.images}
    names = Names(images)
    sides: dict[str, Side | None] = {
        said: SIDE_NAMES.get(said.strip().casefold()) for said in {record.split for record in records}
    }
    problems: list[str] = []
    rows: dict[str, SplitRow] = {}
    for record in records:
        image = images.get(record.path) or images.get(names.find(record.path) or "")
        side = sides[record.split]
        wrong = _row_problems(record, image, side)
        if image and image.path in rows:
            wrong.append("is listed more than once")
        problems += [f"line {record.line}: {record.path!r} {what}" for what in wrong]
        if image and side and not wrong:
            rows[image.path] = SplitRow(image.path, image.class_name, image.subtype, image.hash, side)
    problems += [*_leaks(rows, images), *_parted(rows, images)]
    problems += [
        f"no image on side {side!r}; expected at least 1" for side in SIDES if side not in sides.values()
    ]
    if problems:
        raise _refused(path, problems)
    return Split(rows=tuple(sorted(rows.values(), key=attrgetter("path"))), policy="given", seed=None)


def recorded_split(path: Path, digest: str) -> Split | None:
    """Return a split as a run recorded it, without its images; None unless it is whole and has this digest."""
    try:
        records = _records(path)
    except SplitError:
        return None
    rows = tuple(
        SplitRow(r.path, r.class_name, r.subtype, r.hash, SIDE_NAMES[r.split])
        for r in records
        if r.split in SIDES
    )
    split = Split(rows=rows, policy="given", seed=None)
    return split if split.digest == digest else None


def _refused(path: Path, problems: list[str]) -> SplitError:
    shown = [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"  and {len(problems) - _SHOWN} more")
    return SplitError(
        f"{path} has {len(problems)} problem(s):\n"
        + "\n".join(shown)
        + "\nMake one that fits: hemoscope data split DIR --out FILE"
    )


def _records(path: Path) -> list[_Record]:
    """Return every row of a split file but its header."""
    try:
        rows = read_rows(path)
    except OSError as error:
        raise SplitError(f"{path} cannot be read: {error.strerror or error}; expected a CSV file") from error
    except csv.Error as error:
        raise SplitError(
            f"{path} is no CSV file: {error}; expected the columns {','.join(COLUMNS)}"
        ) from error
    header = rows[0][1] if rows else []
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        found = ", ".join(header) or "none"
        raise _refused(path, [f"column(s) missing: {', '.join(missing)}; found: {found}"])
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise _refused(path, [f"more than one column {name}" for name in twice])
    uneven = [
        f"line {line}: {len(row)} values; expected {len(header)}"
        for line, row in rows
        if len(row) != len(header)
    ]
    if uneven:
        raise _refused(path, uneven)
    place = {name: i for i, name in enumerate(header)}
    lines = [line for line, _ in rows[1:]]
    columns = [
        [row[place[name]] for _, row in rows[1:]] if name in place else [""] * len(lines) for name in COLUMNS
    ]
    return list(map(_Record._make, zip(lines, *columns, strict=True)))


def _row_problems(record: _Record, image: CellImage | None, side: Side | None) -> list[str]:
    problems: list[str] = []
    if side is None:
        problems.append(f"is on side {record.split!r}; expected train, val or test")
    if image is None:
        return [*problems, "is not among the readable images"]
    if record.class_name != image.class_name and plain(record.class_name) != plain(image.class_name):
        problems.append(f"is of class {record.class_name!r}, but lies in {image.class_name!r}")
    digest = record.hash.lower()
    if digest and digest != image.hash:
        problems.append(f"has another content: {image.hash[:12]}..., expected {digest[:12]}...")
    return problems


def _leaks(rows: Mapping[str, SplitRow], images: Mapping[str, CellImage]) -> list[str]:
    """Name every content that is on two sides, each pair of images once."""
    problems: list[str] = []
    for kind in ("hash", "pixel_hash"):
        contents: list[str] = [getattr(images[path], kind) for path in rows]
        often = {content for content, n in Counter(contents).items() if n > 1 and content}
        members: dict[str, list[SplitRow]] = defaultdict(list)
        for row, content in zip(rows.values(), contents, strict=True):
            if content in often and images[row.path].given_side != row.side:
                members[content].append(row)
        for group in members.values():
            first = group[0]
            for other in group[1:]:
                what = (
                    f"the same content is on two sides: {first.path!r} ({first.side}) "
                    f"and {other.path!r} ({other.side})"
                )
                if other.side != first.side and what not in problems:
                    problems.append(what)
    return problems


def _parted(rows: Mapping[str, SplitRow], images: Mapping[str, CellImage]) -> list[str]:
    """Name every group of which two images are parted that the data bring on one side, or on none."""
    members: dict[tuple[str, Side | None], list[SplitRow]] = defaultdict(list)
    for row in rows.values():
        image = images[row.path]
        if image.group:
            members[image.group, image.given_side].append(row)
    problems: list[str] = []
    for (group, _), (first, *others) in members.items():
        other = next((row for row in others if row.side != first.side), None)
        if other is not None:
            problems.append(
                f"group {group!r} is on two sides: {first.path!r} ({first.side}) and {other.path!r} ({other.side})"
            )
    return problems
