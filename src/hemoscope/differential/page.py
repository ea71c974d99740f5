"""A differential count on one printable page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.differential.count import CellShare, Differential, Doubt
from hemoscope.differential.facts import ModelFacts
from hemoscope.differential.reference import ReferenceTable
from hemoscope.files import write_text
from hemoscope.report.montage import thumbnail
from hemoscope.report.page import data_uri, render

__all__ = ["Review", "differential_page", "write_differential"]

BAR_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Review:
    """What persons did to a count.

    Attributes:
        percents: Of the white classes by name, which add up to 100.
        before: Cells a class that the model alone counted.
        facts: Numbers and what they are of, above the table.
        notes: Sentences below the table: the corrected white count, agreement of readers.
        signed: Who stands for it, in one sentence; that nobody does, before it is signed.
    """

    percents: Mapping[str, float]
    before: Mapping[str, int]
    facts: Sequence[tuple[int, str]]
    notes: Sequence[str]
    signed: str


@dataclass(frozen=True, slots=True)
class _Bar:
    """Where a line of the table is drawn, in units of the bar's width."""

    band: tuple[float, float] | None
    line: tuple[float, float] | None
    dot: float | None


@dataclass(frozen=True, slots=True)
class _Cell:
    doubt: Doubt
    uri: str


def write_differential(
    out: Path,
    found: Differential,
    reference: ReferenceTable,
    model: ModelFacts,
    *,
    title: str,
    date: str,
    doubts: Sequence[Doubt] = (),
    pixels: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Path:
    """Write the page of a count that nobody has reviewed.

    Args:
        out: The HTML file.
        found: What was counted.
        reference: The table it is read against.
        model: Who counted.
        title: Name of the smear.
        date: Day of the count.
        doubts: Images to look at first.
        pixels: Their decoded pixels by path, for those that could be read again.

    Returns:
        `out`.
    """
    write_text(
        out, differential_page(found, reference, model, title=title, date=date, doubts=doubts, pixels=pixels)
    )
    return out


def differential_page(
    found: Differential,
    reference: ReferenceTable,
    model: ModelFacts,
    *,
    title: str,
    date: str,
    doubts: Sequence[Doubt] = (),
    pixels: Mapping[str, NDArray[np.uint8]] | None = None,
    review: Review | None = None,
) -> str:
    """Return the page as HTML; what persons did to the count stands on it where `review` is given."""
    cells = [
        _Cell(doubt, data_uri("image/jpeg", thumbnail(pixels[doubt.path]).jpeg))
        for doubt in doubts
        if pixels and doubt.path in pixels
    ]
    return render(
        "page.html.j2",
        package="hemoscope.differential",
        found=found,
        reference=reference,
        model=model,
        title=title,
        date=date,
        review=review,
        white=[share for share in found.shares if share.role == "white"],
        apart=[share for share in found.shares if share.role in ("erythroblast", "platelet")],
        other=[share for share in found.shares if share.role == "other"],
        bars={share.name: _bar(share) for share in found.shares},
        corrected=any(isfinite(share.corrected) for share in found.shares),
        width=BAR_WIDTH,
        labels={share.name: share.label for share in found.shares},
        uncertain=[cell for cell in cells if not cell.doubt.unknown],
        unknown=[cell for cell in cells if cell.doubt.unknown],
    )


def _bar(share: CellShare) -> _Bar:
    """Each line has a scale of its own, from nothing to a little beyond what it shows."""
    ends = [end for end in (share.interval[1], *(share.reference or ())) if isfinite(end)]
    unit = BAR_WIDTH / (1.08 * max(ends, default=1.0))
    band = (share.reference[0] * unit, share.reference[1] * unit) if share.reference else None
    if not isfinite(share.corrected):
        return _Bar(band, None, None)
    return _Bar(band, (share.interval[0] * unit, share.interval[1] * unit), share.corrected * unit)
