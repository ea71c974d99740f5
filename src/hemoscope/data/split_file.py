"""A split as a CSV file: path, class, subtype, hash, split; one line an image, ordered by path.

Reading verifies a split against the images, whoever made it, and tells everything that is wrong
at once. A wrong split is never repaired.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

from hemoscope.data.scan.csv_rows import Names, csv_text, plain, read_rows
from hemoscope.errors import SplitError
from hemoscope.files import atomic_path
from hemoscope.records import SIDE_NAMES, SIDES, CellImage, Manifest, Side, Split, SplitRow

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


def read_split(path: Path, manifest: Manifest) -> Split:
    """Read a split made here or elsewhere and verify it against the images.

    The columns `subtype` and `hash` may be absent or empty; they are filled from the images.
    What Windows, Excel and macOS make of a CSV is accepted: line ends, a byte order mark, UTF-16,
    `;`, backslashes, another Unicode form of a name. Images in no side are allowed. One content on two sides
    is allowed only where the data set itself was published so.

    Returns:
        A split of policy `given`; its digest is that of the split that was written.

    Raises:
        SplitError: Everything that does not fit, at once.
    """
    records = _records(path)
    images = {image.path: image for image in manifest.images}
    names = Names(images)
    problems: list[str] = []
    rows: dict[str, SplitRow] = {}
    for line, record in records:
        image = images.get(names.find(record["path"]) or "")
        side = SIDE_NAMES.get(record["split"].strip().casefold())
        wrong = _row_problems(record, image, side)
        if image and image.path in rows:
            wrong.append("is listed more than once")
        problems += [f"line {line}: {record['path']!r} {what}" for what in wrong]
        if image and side and not wrong:
            rows[image.path] = SplitRow(image.path, image.class_name, image.subtype, image.hash, side)
    problems += _leaks(rows, images)
    problems += _empty_sides(records)
    if problems:
        raise _refused(path, problems)
    return Split(rows=tuple(rows[key] for key in sorted(rows)), policy="given", seed=None)


def recorded_split(path: Path, digest: str) -> Split | None:
    """Return a split as a run recorded it, without its images; None unless it is whole and has this digest."""
    try:
        records = [record for _, record in _records(path)]
    except SplitError:
        return None
    rows = tuple(
        SplitRow(r["path"], r["class"], r.get("subtype", ""), r.get("hash", ""), SIDE_NAMES[r["split"]])
        for r in records
        if r["split"] in SIDES
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


def _records(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, columns by name) of every row."""
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
    uneven = [
        f"line {line}: {len(row)} values; expected {len(header)}"
        for line, row in rows
        if len(row) != len(header)
    ]
    if uneven:
        raise _refused(path, uneven)
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows[1:]]


def _row_problems(record: Mapping[str, str], image: CellImage | None, side: Side | None) -> list[str]:
    problems: list[str] = []
    if side is None:
        problems.append(f"is on side {record['split']!r}; expected train, val or test")
    if image is None:
        return [*problems, "is not among the readable images"]
    if plain(record["class"]) != plain(image.class_name):
        problems.append(f"is of class {record['class']!r}, but lies in {image.class_name!r}")
    digest = record.get("hash", "").lower()
    if digest and digest != image.hash:
        problems.append(f"has another content: {image.hash[:12]}..., expected {digest[:12]}...")
    return problems


def _leaks(rows: Mapping[str, SplitRow], images: Mapping[str, CellImage]) -> list[str]:
    """Name every content that is on two sides, each pair of images once."""
    problems: list[str] = []
    for kind in ("hash", "pixel_hash"):
        members: dict[str, list[SplitRow]] = defaultdict(list)
        for row in rows.values():
            content = getattr(images[row.path], kind)
            if content and images[row.path].given_side != row.side:
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


def _empty_sides(records: list[tuple[int, dict[str, str]]]) -> list[str]:
    used = {SIDE_NAMES.get(record["split"].strip().casefold()) for _, record in records}
    return [f"no image on side {side!r}; expected at least 1" for side in SIDES if side not in used]
