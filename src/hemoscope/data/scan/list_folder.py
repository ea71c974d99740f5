"""A folder of images as a CSV of labels, for layouts that only a person can tell: patients, slides.

The CSV can be edited: a line less is an image less.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hemoscope.data.scan.csv_rows import csv_text
from hemoscope.data.scan.layout import show
from hemoscope.data.scan.walk import walk
from hemoscope.errors import DataError
from hemoscope.files import atomic_path, refuse_existing
from hemoscope.records import SIDE_NAMES

__all__ = ["Levels", "write_list"]


@dataclass(frozen=True, slots=True)
class Levels:
    """Which folder below the data folder says what, counted from 1; 0: none does."""

    class_name: int
    group: int = 0
    side: int = 0

    def read(self, path: str) -> tuple[str, str, str, str]:
        """Return path, class, side and group of an image.

        Raises:
            ValueError: If there are fewer folders than asked for, or the side is none.
        """
        folders = PurePosixPath(path).parts[:-1]
        deepest = max(self.class_name, self.group, self.side)
        if len(folders) < deepest:
            raise ValueError(f"lies in {len(folders)} folder(s); expected at least {deepest}")
        side = folders[self.side - 1] if self.side else ""
        if side and side.strip().casefold() not in SIDE_NAMES:
            raise ValueError(f"is on side {side!r}; expected train, val or test")
        group = folders[self.group - 1] if self.group else ""
        # As a list is read: two Unicode forms of a name are one class, and one patient.
        return path, _nfc(folders[self.class_name - 1]), side, _nfc(group)


def write_list(
    root: Path, out: Path, levels: Levels, *, leave_out: Collection[str] = (), overwrite: bool = False
) -> dict[str, int]:
    """Write a list of all images below a folder, but for some classes; return the images a class.

    Raises:
        DataError: If `out` lies neither in the folder nor above it or is there already, or if an
            image's folders do not say what they should.
    """
    above = out.parent.resolve()
    if not root.is_dir() or not root.resolve().is_relative_to(above):
        raise DataError(f"expected a list in the folder {show(root)} or above it, got {show(out)}")
    refuse_existing(out, overwrite=overwrite)
    leave_out = [_nfc(name) for name in leave_out]
    found = walk(root)
    rows: list[tuple[str, ...]] = []
    problems = [f"{show(path)}: lies in no folder" for path in found.loose]
    for path in found.files:
        try:
            rows.append(levels.read(path))
        except ValueError as error:
            problems.append(f"{show(path)}: {error}")
    counts = {name: sum(row[1] == name for row in rows) for name in sorted({row[1] for row in rows})}
    problems += [f"there is no class {show(name)} to leave out" for name in leave_out if name not in counts]
    if problems or not rows:
        listing = "\n  ".join(
            [*problems[:20], *([f"and {len(problems) - 20} more"] if problems[20:] else [])]
        )
        raise DataError(f"{show(root)} cannot be listed so:\n  {listing or 'it holds no image'}")
    prefix = root.resolve().relative_to(above)
    kept = [(str(PurePosixPath(prefix, path)), *rest) for path, *rest in rows if rest[0] not in leave_out]
    used = [i for i in range(4) if i < 2 or any(row[i] for row in kept)]
    lines = [("path", "class", "split", "group"), *kept]
    with atomic_path(out) as part:
        part.write_bytes(csv_text([[line[i] for i in used] for line in lines]))
    return {name: n for name, n in counts.items() if name not in leave_out}


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
