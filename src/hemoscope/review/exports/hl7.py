"""A slide's count as an HL7 v2.5.1 message, ORU^R01, as laboratory systems take it.

No patient is named, because none is known here: the receiving system knows the slide by its number (OBR-3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from hemoscope.review.exports.loinc import Code
from hemoscope.review.exports.report import RESEARCH, Line, Report, flag, lines, signer, status

__all__ = ["as_hl7"]

ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
LINE_END = "\\.br\\"
RESULT_STATUS = {"preliminary": "P", "final": "F", "amended": "C"}
PERCENT = "%^percent^UCUM"
PER_100 = "/100{WBCs}^for 100 white cells^UCUM"
CELLS = "{cells}^cells^UCUM"
PER_LITRE = "10*9/L^10*9/L^UCUM"


def as_hl7(report: Report) -> str:
    """Return a message; its segments end in a carriage return, its text is UTF-8.

    The finding in words and both intervals follow each result as notes.
    """
    at = _time(report.at)
    state = RESULT_STATUS[status(report)]
    control = hashlib.sha256(f"{report.slide}/{report.revision}/{report.at}".encode()).hexdigest()[:20]
    out = [
        f"MSH|^~\\&|hemoscope||||{at}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8",
        _segment(
            "OBR", "1", "", f"{_text(report.slide)}^hemoscope", _coded(report.codes.panel, "differential"), "", "",
            at, *[""] * 10, _text(report.title[:60]), "", "", "", at, "", "HM", state,
        ),
    ]  # fmt: skip
    out += _notes(_about(report))
    results = [_of_class(line) for line in lines(report) if line.value is not None] + _of_slide(report)
    for number, (code, value, unit, expected, sign, notes) in enumerate(results, 1):
        out.append(
            _segment(
                "OBX", str(number), "NM", code, "", value, unit, expected, sign, "", "", state, "", "", at
            )
        )
        out += _notes(notes)
    return "".join(f"{segment}\r" for segment in out)


_Result = tuple[str, str, str, str, str, Sequence[str]]  # code, value, unit, range, flag, notes


def _about(report: Report) -> list[str]:
    signature, found = report.signature, report.found
    open_cells = found.waiting + found.unidentified
    told = [
        RESEARCH,
        f"{report.title}, revision {report.revision}",
        f"{found.reviewed} of {found.cells} cells reviewed, {found.not_classed} not classed, {open_cells} open",
        f"hemoscope {version('hemoscope')}, model {report.model.name}, SHA-256 {report.model.digest}",
        f"Ranges: {report.reference.name}",
    ]
    if signature:
        told.append(f"Signed by {signer(report)} at {signature.at}; SHA-256 of the log {signature.log}")
        if signature.reason:
            told.append(f"Signed with open cells: {signature.reason}")
    return [*told, *(remark.text for remark in found.after.remarks)]


def _of_class(line: Line) -> _Result:
    expected = f"{line.expected[0]:g}-{line.expected[1]:g}" if line.expected else ""
    notes = [f"{line.counted} cells; by the model alone {line.before}"]
    if line.finding:
        notes.append(line.finding)
    if line.sampling:
        notes.append(f"95 % interval, counting so few cells: {line.sampling[0]:g} to {line.sampling[1]:g}")
    if line.interval:
        notes.append(
            f"95 % interval, counting and the model's errors: {line.interval[0]:g} to {line.interval[1]:g}"
        )
    unit = PERCENT if line.role == "white" else PER_100
    return _coded(line.code, line.name, line.label), f"{line.value:g}", unit, expected, flag(line), notes


def _of_slide(report: Report) -> list[_Result]:
    codes, corrected = report.codes, report.found.corrected_white
    told: list[_Result] = [
        (_coded(codes.cells_counted, "cells"), str(report.found.after.n_white), CELLS, "", "", ())
    ]
    if corrected:
        told += [
            (_coded(codes.white_count, "white"), f"{corrected.given:g}", PER_LITRE, "", "", ()),
            (
                _coded(codes.corrected_white_count, "corrected"),
                f"{corrected.value:g}",
                PER_LITRE,
                "",
                "",
                (corrected.working,),
            ),
        ]
    return told


def _coded(code: Code | None, name: str, label: str = "") -> str:
    if code is None:
        return f"{_text(name)}^{_text(label or name)}^L"  # a local code
    return f"{code.code}^{_text(code.name)}^LN"


def _notes(texts: Sequence[str]) -> list[str]:
    return [_segment("NTE", str(i), "L", _text(text)) for i, text in enumerate(texts, 1)]


def _segment(*fields: str) -> str:
    return "|".join(fields).rstrip("|")


def _text(text: str) -> str:
    r"""Return a text as a field holds it: delimiters are escaped, line ends become \.br\."""
    escaped = "".join(ESCAPES.get(letter, letter) for letter in text)
    return LINE_END.join(escaped.splitlines())


def _time(at: str) -> str:
    """Return a time of ISO 8601 as HL7 writes it, in UTC."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
