"""What every export is made from, and the lines that all of them show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hemoscope.differential.count import CellShare
from hemoscope.differential.facts import ModelFacts
from hemoscope.differential.reference import ReferenceTable, Role
from hemoscope.review.bias import Followed
from hemoscope.review.cells import Cell
from hemoscope.review.count import ReviewedDifferential
from hemoscope.review.exports.loinc import Code, Codes, read_codes
from hemoscope.review.readers import Agreement
from hemoscope.review.signing import Signature
from hemoscope.review.state import State

__all__ = ["RESEARCH", "Line", "Report", "flag", "lines", "signer", "status"]

RESEARCH = "Research use only. Not for diagnosis."


@dataclass(frozen=True, slots=True)
class Report:
    """A revision of a slide as it leaves the house.

    Attributes:
        slide: The slide's identifier.
        title: Its name.
        revision: From 1.
        at: When the count stood so, UTC, ISO 8601; of a signed slide, when it was signed.
        found: The count.
        reference: The table it is read against.
        model: Who counted before anybody looked.
        cells: The cells.
        state: Where they lie.
        signature: Who stands for it; None before it is signed.
        account: As whom the signer was signed in, for the name is what they wrote; empty where nobody signs in.
        agreement: Of two readers; None where one read.
        nucleus_px: Diameter of the nuclei that the model framed the cells by, in pixels; None where it frames none.
        bias: How often each reader followed a wrong answer, by reader; empty without an audit.
        codes: LOINC codes.
    """

    slide: str
    title: str
    revision: int
    at: str
    found: ReviewedDifferential
    reference: ReferenceTable
    model: ModelFacts
    cells: tuple[Cell, ...]
    state: State
    signature: Signature | None = None
    account: str = ""
    agreement: Agreement | None = None
    nucleus_px: float | None = None
    bias: Mapping[str, Followed] = field(default_factory=dict)
    codes: Codes = field(default_factory=read_codes)


@dataclass(frozen=True, slots=True)
class Line:
    """One class on a report; every figure for 100 white cells.

    Attributes:
        name: The class.
        label: Its name on a report.
        role: What it counts among.
        code: Its LOINC code, or None.
        before: Cells that the model alone counted.
        counted: Cells counted after review.
        value: Of white classes the percentage, which add up to 100; of those counted apart their number for 100 white
            cells; None without white cells, and for classes in no percentage.
        sampling: 95 % interval of counting so few cells; None as `value`. Its upper end is infinite without white cells.
        corrected: Median with the model's errors among unreviewed cells taken out; None as `value`, and where nobody
            knows how it errs.
        interval: 95 % interval of it; None as `corrected`.
        expected: Reference range, or None.
        finding: What to say of it; empty if nothing.
    """

    name: str
    label: str
    role: Role
    code: Code | None
    before: int
    counted: int
    value: float | None
    sampling: tuple[float, float] | None
    corrected: float | None
    interval: tuple[float, float] | None
    expected: tuple[float, float] | None
    finding: str


def lines(report: Report) -> list[Line]:
    """Return a line a class, in the reference table's order."""
    before = {share.name: share.counted for share in report.found.before.shares}
    return [_line(share, before[share.name], report) for share in report.found.after.shares]


def status(report: Report) -> Literal["preliminary", "final", "amended"]:
    """Return how far a report is to be trusted: amended is what was signed again."""
    if report.signature is None:
        return "preliminary"
    return "final" if report.revision == 1 else "amended"


def signer(report: Report) -> str:
    """Return who signed, and as whom they were signed in; empty before it is signed."""
    if report.signature is None:
        return ""
    return report.signature.name + (f" (signed in as {report.account})" if report.account else "")


def flag(line: Line) -> Literal["H", "L", "N", ""]:
    """Return HL7's flag of the value against its range; empty where there is no value or no range."""
    if line.value is None or line.expected is None:
        return ""
    if line.finding:
        return "L" if line.finding.endswith("low") else "H"
    return "N"


def _line(share: CellShare, before: int, report: Report) -> Line:
    told = share.role != "other" and report.found.after.n_white > 0
    corrected = told and math.isfinite(share.corrected)
    value = None
    if told:
        whole = report.found.percents.get(share.name)
        value = round(100 * share.per_white, 1) if whole is None else whole
    return Line(
        name=share.name,
        label=share.label,
        role=share.role,
        code=report.codes.classes.get(share.name),
        before=before,
        counted=share.counted,
        value=value,
        sampling=_hundred(share.sampling) if told else None,
        corrected=round(100 * share.corrected, 2) if corrected else None,
        interval=_hundred(share.interval) if corrected else None,
        expected=_hundred(share.reference) if share.reference else None,
        finding=share.finding,
    )


def _hundred(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    return round(100 * low, 2), round(100 * high, 2) if math.isfinite(high) else high
