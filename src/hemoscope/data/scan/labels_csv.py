"""A CSV of labels: which image is of which class, and where it says so, on which side and of whom.

The images lie below the folder of the CSV and keep their paths below it, so that canvas, run cards
and split files are those of a folder. Everything wrong is told at once.
"""

from __future__ import annotations

import csv
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hemoscope.data.scan.csv_rows import CsvRows, read_rows
from hemoscope.data.scan.layout import Arranged, Files, show
from hemoscope.errors import DataError
from hemoscope.records import SIDE_NAMES, Side

__all__ = ["listed"]

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "image"),
    "class": ("class", "label", "class_name"),
    "split": ("split", "set", "side"),
    "group": ("group", "patient", "patient_id", "slide", "slide_id"),
}
_SHOWN = 20


class Placed(NamedTuple):
    """An image file and what a line says about it."""

    path: str
    class_name: str
    side: Side | None
    group: str


def listed(path: Path) -> Arranged:
    """Read a CSV with the columns path and class and, where there are any, split and group.

    Paths are relative to the CSV, or all of them to one folder beside it. Other columns are not
    used; lines that are left out are images that are left out.

    Raises:
        DataError: If it is no such CSV, or everything that is wrong with its lines.
    """
    try:
        rows = read_rows(path)
    except OSError as error:
        raise DataError(f"{show(path)} cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise _refused(path, [f"it is no CSV file: {error}"]) from error
    columns = _columns(path, rows)
    problems: list[str] = []
    files: dict[str, Placed] = {}
    lines: dict[str, int] = {}
    for line, row in rows[1:]:
        if len(row) != len(rows[0][1]):
            problems.append(f"line {line}: {len(row)} values; expected {len(rows[0][1])}")
            continue
        placed, wrong = _placed(path.parent, {name: row[i] for name, i in columns.items()})
        if placed.path in files:
            wrong.append(f"is listed before, on line {lines[placed.path]}")
        problems += [f"line {line}: {placed.path!r} {what}" for what in wrong]
        files[placed.path], lines[placed.path] = placed, line
    if not problems:
        found, problems = _found(path.parent, list(files.values()))
        files = {placed.path: placed for placed in found}
    if problems:
        raise _refused(path, problems)
    columns = zip(*files.values(), strict=True) if files else ((), (), (), ())
    return Arranged(Files(*columns), sorted({placed.class_name for placed in files.values()}))


def _columns(path: Path, rows: CsvRows) -> dict[str, int]:
    """Return the place of each known column."""
    header = [name.strip().casefold() for name in rows[0][1]] if rows else []
    columns: dict[str, int] = {}
    problems: list[str] = []
    for name, spellings in _COLUMNS.items():
        places = [i for i, cell in enumerate(header) if cell in spellings]
        if len(places) > 1:
            problems.append(f"more than one column for {name}: {', '.join(header[i] for i in places)}")
        elif places:
            columns[name] = places[0]
        elif name in {"path", "class"}:
            problems.append(f"column {name} is missing; found: {', '.join(header) or 'none'}")
    if problems:
        raise _refused(path, problems)
    return columns


def _placed(root: Path, cells: Mapping[str, str]) -> tuple[Placed, list[str]]:
    """Return what a line says, and what is wrong with it."""
    wrong: list[str] = []
    name = cells["path"]
    if _on_disk(root, Placed(name, "", None, "")) is None:
        # A name may begin with a blank, or hold a backslash that separates nothing.
        name = name.strip().replace("\\", "/")
    if Path(name).is_absolute() and Path(name).is_relative_to(root.absolute()):
        name = Path(name).relative_to(root.absolute()).as_posix()
    name = posixpath.normpath(name) if name else name
    if not name or Path(name).is_absolute() or name[1:2] == ":" or name.split("/")[0] == "..":
        wrong.append("is no path below the folder of the CSV")
    class_name = unicodedata.normalize("NFC", cells["class"].strip())
    if not class_name:
        wrong.append("has no class")
    side = SIDE_NAMES.get(cells.get("split", "").strip().casefold())
    if "split" in cells and side is None:
        wrong.append(f"is on side {cells['split']!r}; expected train, val or test")
    return Placed(name, class_name, side, cells.get("group", "").strip()), wrong


def _found(root: Path, files: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """Return the files with the paths they have on the disk, or those that are nowhere."""
    there = [_on_disk(root, placed) for placed in files]
    if files and not any(there):
        for folder in sorted(entry.name for entry in root.iterdir() if entry.is_dir()):
            inside = [_on_disk(root, placed, f"{folder}/") for placed in files]
            if any(inside):
                there = inside
                break
    missing = [placed.path for placed, found in zip(files, there, strict=True) if found is None]
    return [found for found in there if found], [f"{path!r} is not there" for path in missing]


def _on_disk(root: Path, placed: Placed, above: str = "") -> Placed | None:
    """Return a file under the name that the disk has for it: macOS writes umlauts as two characters."""
    for name in (placed.path, *(unicodedata.normalize(form, placed.path) for form in ("NFC", "NFD"))):
        with suppress(OSError):  # a name that no disk holds
            if (root / above / name).exists():
                return Placed(above + name, placed.class_name, placed.side, placed.group)
    return None


def _refused(path: Path, problems: Sequence[str]) -> DataError:
    shown = [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"  and {len(problems) - _SHOWN} more")
    return DataError(
        f"{show(path)} has {len(problems)} problem(s):\n"
        + "\n".join(shown)
        + "\nExpected the columns path and class and, where there are any, split (train, val, test) and group; "
        "paths are relative to the CSV"
    )
