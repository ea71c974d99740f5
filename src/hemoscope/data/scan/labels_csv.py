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
from hemoscope.data.scan.walk import is_hidden
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
_NOWHERE = "is no path below the folder of the CSV"


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
    problems: list[tuple[int, str]] = []
    said: list[tuple[int, Placed]] = []
    for line, row in rows[1:]:
        if len(row) != len(rows[0][1]):
            problems.append((line, f"{len(row)} values; expected {len(rows[0][1])}"))
            continue
        placed, wrong = _placed(path.parent, {name: row[i] for name, i in columns.items()})
        problems += [(line, f"{placed.path!r} {what}") for what in wrong]
        if _NOWHERE not in wrong:
            said.append((line, placed))
    files: Mapping[str, Placed] = {}
    whole: list[str] = []
    try:
        above = _above(path.parent, [placed for _, placed in said])
    except LookupError as error:
        whole.append(str(error))
    else:
        whole += _not_text(path.parent, above, said)
        files, nowhere = _found(path.parent, above, said)
        problems += nowhere
    if whole or problems:
        raise _refused(path, [*whole, *(f"line {line}: {what}" for line, what in sorted(problems))])
    places = zip(*files.values(), strict=True) if files else ((), (), (), ())
    return Arranged(Files(*places), sorted({placed.class_name for placed in files.values()}))


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
        wrong.append(_NOWHERE)
    class_name = unicodedata.normalize("NFC", cells["class"].strip())
    if not class_name:
        wrong.append("has no class")
    side = SIDE_NAMES.get(cells.get("split", "").strip().casefold())
    if "split" in cells and side is None:
        wrong.append(f"is on side {cells['split']!r}; expected train, val or test")
    # As the class: macOS writes an umlaut as two characters, and it is one patient all the same.
    group = unicodedata.normalize("NFC", cells.get("group", "").strip())
    return Placed(name, class_name, side, group), wrong


def _above(root: Path, files: Sequence[Placed]) -> str:
    """Return the folder that all names are in, with a `/`; nothing where they lie beside the CSV.

    Raises:
        LookupError: If several folders hold them: one may be of masks.
    """
    if any(_on_disk(root, placed) for placed in files):
        return ""
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    held = {
        f"{name}/": sum(_on_disk(root, placed, f"{name}/") is not None for placed in files) for name in names
    }
    most = [above for above, n in held.items() if 2 * n > len(files)]
    if len(most) > 1:
        raise LookupError(
            f"files of these names are in {' and in '.join(show(above[:-1]) for above in most)}; write the folder that "
            "is meant before every name"
        )
    best = max(held, key=held.__getitem__, default="")
    return best if held.get(best) else ""


def _found(
    root: Path, above: str, said: Sequence[tuple[int, Placed]]
) -> tuple[dict[str, Placed], list[tuple[int, str]]]:
    """Return the files by the paths they have on the disk, and what is nowhere or there twice."""
    files: dict[str, Placed] = {}
    lines: dict[str, int] = {}
    problems: list[tuple[int, str]] = []
    for line, placed in said:
        found = _on_disk(root, placed, above)
        if found is None:
            problems.append(
                (line, f"{placed.path!r} is not {f'in {show(above[:-1])}' if above else 'there'}")
            )
            found = placed
        if found.path in files:  # also where two spellings of a name are one file
            problems.append((line, f"{placed.path!r} is listed before, on line {lines[found.path]}"))
        files.setdefault(found.path, found)
        lines.setdefault(found.path, line)
    return files, problems


def _not_text(root: Path, above: str, said: Sequence[tuple[int, Placed]]) -> list[str]:
    """Return that the list is of another encoding, such as Excel's plain CSV; a file's own name may be of any."""
    for line, placed in said:
        for text in (placed.class_name, placed.path):
            if not _is_text(text) and (text is placed.class_name or _on_disk(root, placed, above) is None):
                return [f"it is not UTF-8 (line {line}: {text!r}); save it as CSV UTF-8"]
    return []


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that were none
        return False
    return True


def _on_disk(root: Path, placed: Placed, above: str = "") -> Placed | None:
    """Return a file under the name that the disk has for it: macOS writes umlauts as two characters."""
    forms = (unicodedata.normalize(form, placed.path) for form in ("NFC", "NFD"))
    for name in dict.fromkeys((placed.path, *forms)):
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
