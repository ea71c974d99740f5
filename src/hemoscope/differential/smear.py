"""From the images of one smear to its differential count, the cells a person should look at, and the page.

differential/
report.html        the page
cells.csv          a row an image, as `predict` writes it
differential.json  every figure on the page
"""

from __future__ import annotations

import csv
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.decode import decode
from hemoscope.differential.count import Differential, Doubt, differential
from hemoscope.differential.facts import ModelFacts
from hemoscope.differential.page import write_differential
from hemoscope.differential.reference import ReferenceTable
from hemoscope.encoding import from_cell, to_text
from hemoscope.errors import DataError, ImageError
from hemoscope.files import refuse_existing, write_json
from hemoscope.predict.inputs import Named
from hemoscope.predict.model import Model
from hemoscope.predict.rows import clear_parts, is_begun, predict_to

__all__ = ["MOST_SHOWN", "Smear", "count_cells", "count_smear", "free_folder"]

PAGE, FIGURES, CELLS = "report.html", "differential.json", "cells.csv"

MOST_SHOWN = 9  # doubtful cells of either kind


@dataclass(frozen=True, slots=True)
class Smear:
    """A smear that was counted.

    Attributes:
        found: The differential count.
        page: The HTML file.
        figures: What differential.json holds.
    """

    found: Differential
    page: Path
    figures: Mapping[str, Any]


def free_folder(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that holds another count, before any work; one that was begun goes on.

    Raises:
        DataError: If so.
    """
    if not is_begun(out / CELLS):
        refuse_existing(out / PAGE, out / FIGURES, out / CELLS, overwrite=overwrite)


def count_smear(
    out: Path,
    model: Model,
    images: Iterable[Named],
    reference: ReferenceTable,
    *,
    again: Callable[[], Iterable[Named]],
    title: str,
    date: str,
    tta: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> Smear:
    """Count a smear's images and write what was found into a folder.

    Args:
        out: The folder; the same call goes on with it after a kill.
        model: What to ask.
        images: Names and sources.
        reference: Roles and ranges of the model's classes.
        again: Gives the images once more, for the pictures of doubtful cells.
        title: Name of the smear.
        date: Day of the count.
        tta: Average over flips and quarter turns, with the confusion that was measured so.
        seed: Of the intervals' posterior draws.
        overwrite: Replace an earlier count.

    Raises:
        ConfigError: If the table does not know one of the classes, or the bundle was not calibrated for `tta`.
        DataError: If a count is there already, or there is no image to count.
    """
    free_folder(out, overwrite=overwrite)
    table, page = out / CELLS, out / PAGE
    found, doubts = count_cells(table, model, images, reference, tta=tta, seed=seed, overwrite=overwrite)
    facts = ModelFacts(
        model.card.name,
        model.digest,
        tuple(member.arch for member in model.card.members),
        sum(map(sum, model.trust(tta=tta).confusion)),
    )
    figures = {
        "title": title,
        "model": asdict(facts),
        "reference": reference.name,
        "seed": seed,
        **asdict(found),
        "remarks": [remark.text for remark in found.remarks],
    }
    pixels = _pixels_of(again(), [doubt.path for doubt in doubts])
    write_differential(page, found, reference, facts, title=title, date=date, doubts=doubts, pixels=pixels)
    write_json(out / FIGURES, figures)
    clear_parts(table)
    return Smear(found, page, figures)


def count_cells(
    out: Path,
    model: Model,
    images: Iterable[Named],
    reference: ReferenceTable,
    *,
    tta: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Differential, tuple[Doubt, ...]]:
    """Predict a smear's images into a CSV file and count them.

    Args:
        out: The CSV file to write, a row an image; done again after it was killed, it goes on. What lets it do
            so stays until `clear_parts`.
        model: What to ask.
        images: Names and sources.
        reference: Roles and ranges of the model's classes.
        tta: Average over flips and quarter turns, with the confusion that was measured so.
        seed: Of the intervals' posterior draws.
        overwrite: Replace what is at `out`.

    Returns:
        The count, and the images to look at first: the least certain, then the least known.

    Raises:
        ConfigError: Before anything is read, if the table does not know one of the classes, or the bundle was
            not calibrated for `tta`.
        DataError: If `out` is there already, or there is no image to count.
    """
    reference.of(model.card.classes)
    trust = model.trust(tta=tta)
    tally = predict_to(out, model, images, tta=tta, keep_parts=True, overwrite=overwrite)
    if tally.n == tally.error:
        why = ""
        if tally.n:
            why = f": none of {tally.n:,} files can be read ({_first_error(out)})"
            out.unlink()
            clear_parts(out)
        raise DataError(f"there is no image to count{why}; expected the images of one smear")
    counts: Counter[str] = Counter()
    to_review: Counter[str] = Counter()
    doubts: dict[str, list[tuple[float, int, Doubt]]] = {"review": [], "unknown": []}
    with out.open(encoding="utf-8", newline="") as file:
        for i, cells in enumerate(csv.DictReader(file)):
            row = {column: from_cell(cell) for column, cell in cells.items()}
            if row["status"] in ("accepted", "review"):
                counts[row["pred"]] += 1
            if row["status"] in doubts:
                to_review[row["pred"]] += row["status"] == "review"
                unknown = row["status"] == "unknown"
                least = float(row["distance"] or "inf") if unknown else -float(row["margin"])
                heap = doubts[row["status"]]
                heapq.heappush(heap, (least, -i, _doubt(row)))
                if len(heap) > MOST_SHOWN:
                    heapq.heappop(heap)
    classes = model.card.classes
    found = differential(
        classes,
        [counts[name] for name in classes],
        [to_review[name] for name in classes],
        trust.confusion,
        reference,
        unknown=tally.unknown,
        error=tally.error,
        usually_unknown=trust.usually_unknown,
        seed=seed,
    )
    first = [doubt for kind in doubts.values() for _, _, doubt in sorted(kind, reverse=True)]
    return found, tuple(first)


def _first_error(table: Path) -> str:
    with table.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    return f"{from_cell(row['path'])}: {from_cell(row['error'])}"


def _pixels_of(images: Iterable[Named], names: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Read those images again that have one of the names; one that is gone by now is left out."""
    wanted = set(names)
    found: dict[str, NDArray[np.uint8]] = {}
    for name, source in images:
        if len(found) == len(wanted):
            break
        text = to_text(name)
        if text in wanted and text not in found and not isinstance(source, ImageError):
            try:
                found[text] = decode(source).pixels
            except ImageError:
                wanted.discard(text)
    return found


def _doubt(row: dict[str, str]) -> Doubt:
    return Doubt(
        path=row["path"],
        pred=row["pred"],
        prob=float(row[f"prob_{row['pred']}"]),
        unknown=row["status"] == "unknown",
        candidates=tuple(row["candidates"].split("|")),
    )
