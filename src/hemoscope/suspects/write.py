"""An audit of labels as files: suspects and contradictions as tables and pictures, a corrected split, everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hemoscope.data.scan.csv_rows import csv_text
from hemoscope.data.split_file import write_split
from hemoscope.encoding import to_cell
from hemoscope.files import atomic_path, new_folder, write_json
from hemoscope.report.montage import pictures
from hemoscope.suspects.audit import LabelAudit
from hemoscope.suspects.sheet import Tile, contact_sheet

__all__ = ["CORRECTED", "SUSPECTS", "write_audit"]

SUSPECTS, CONTRADICTIONS, CORRECTED = "suspects", "contradictions", "corrected.csv"
SHOWN = 48  # on a sheet


def write_audit(found: LabelAudit, folder: Path) -> None:
    """Write `audit.json`, `suspects.csv`, `contradictions.csv`, `corrected.csv`, and a sheet of each table's images.

    The sheets need the images, the split one to correct; what cannot be made is not there.

    Raises:
        DataError: If something is in the folder already.
    """
    with new_folder(folder) as part:
        write_json(part / "audit.json", found.to_json())
        _write(part / f"{SUSPECTS}.csv", csv_text(_suspects(found)))
        _write(part / f"{CONTRADICTIONS}.csv", csv_text(_contradictions(found)))
        if found.corrected:
            write_split(found.corrected.split, part / CORRECTED)
        if found.root:
            _sheet(found.root, _suspect_tiles(found), part / f"{SUSPECTS}.png")
            _sheet(found.root, _contradiction_tiles(found), part / f"{CONTRADICTIONS}.png")


def _suspects(found: LabelAudit) -> list[Sequence[str]]:
    head = ["number", "path", "given", "suggested", "margin", "prob_given", "prob_suggested", "answers"]
    head += ["duplicates", "duplicates_as_suggested", *(f"prob_{name}" for name in found.answers.classes)]
    rows: list[Sequence[str]] = [head]
    for number, suspect in enumerate(found.suspects, 1):
        figures = (suspect.margin, suspect.prob_given, suspect.prob_suggested)
        rows.append(
            [
                str(number),
                *map(to_cell, (suspect.path, suspect.given, suspect.suggested)),
                *(f"{value:.6f}" for value in figures),
                str(suspect.asked),
                to_cell("|".join(path for path, _ in suspect.duplicates)),
                str(suspect.confirmed),
                *(f"{prob:.6f}" for prob in suspect.probs),
            ]
        )
    return rows


def _contradictions(found: LabelAudit) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("group", "path", "class")]
    for number, group in enumerate(found.contradictions, 1):
        rows += [(str(number), to_cell(path), to_cell(name)) for path, name in group]
    return rows


def _suspect_tiles(found: LabelAudit) -> list[Tile]:
    return [
        Tile(
            s.path,
            (
                f"{number}. {s.given} {s.prob_given:.2f}",
                f"→ {s.suggested} {s.prob_suggested:.2f}",
                PurePosixPath(s.path).name,
            ),
        )
        for number, s in enumerate(found.suspects[:SHOWN], 1)
    ]


def _contradiction_tiles(found: LabelAudit) -> list[Tile]:
    return [
        Tile(group[0][0], (f"{number}. " + " | ".join(sorted({name for _, name in group})),))
        for number, group in enumerate(found.contradictions[:SHOWN], 1)
    ]


def _sheet(root: Path, tiles: Sequence[Tile], path: Path) -> None:
    """Write a sheet; none where there is nothing on it, or no picture can be read."""
    pixels = pictures(root, [tile.path for tile in tiles])
    if pixels:
        _write(path, contact_sheet(tiles, pixels))


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as part:
        part.write_bytes(content)
