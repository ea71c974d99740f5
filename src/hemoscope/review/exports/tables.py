"""CSV and JSON: a row a class, a row a cell, and everything."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from hemoscope.encoding import json_text, jsonable, to_cell
from hemoscope.review.exports.report import RESEARCH, Report, lines, status

__all__ = ["as_json", "cells_csv", "differential_csv"]


def differential_csv(report: Report) -> str:
    """Return a row a class: counts before and after review, figures for 100 white cells, intervals, range, finding, code."""
    head = (
        "class", "label", "role", "loinc", "counted_before", "counted", "value", "sampling_low", "sampling_high",
        "corrected", "interval_low", "interval_high", "expected_low", "expected_high", "finding",
    )  # fmt: skip
    rows = [
        (
            line.name, line.label, line.role, line.code.code if line.code else "", line.before, line.counted,
            line.value, *(line.sampling or (None, None)), line.corrected, *(line.interval or (None, None)),
            *(line.expected or (None, None)), line.finding,
        )
        for line in lines(report)
    ]  # fmt: skip
    return _csv(head, rows)


def cells_csv(report: Report) -> str:
    """Return a row a cell: what the model said, where it lies, whether a person has said so, and the note."""
    head = ("cell", "name", "digest", "status", "pred", "margin", "place", "reviewed", "note")
    rows = []
    for cell in report.cells:
        held = report.state.held[cell.cell]
        rows.append(
            (
                cell.cell, cell.name, cell.digest, cell.status, cell.pred, cell.margin, held.place,
                "yes" if held.reviewed else "no", held.note,
            )
        )  # fmt: skip
    return _csv(head, rows)


def as_json(report: Report) -> str:
    """Return everything that is known of a signed or unsigned slide but its pictures and its log."""
    cells: list[dict[str, Any]] = []
    for cell in report.cells:
        held = report.state.held[cell.cell]
        cells.append({**asdict(cell), "place": held.place, "reviewed": held.reviewed, "note": held.note})
    content = {
        "slide": report.slide,
        "title": report.title,
        "revision": report.revision,
        "status": status(report),
        "at": report.at,
        "notice": RESEARCH,
        "model": asdict(report.model),
        "nucleus_px": report.nucleus_px,
        "reference": report.reference.name,
        "signature": {**asdict(report.signature), "account": report.account or None}
        if report.signature
        else None,
        "classes": [
            {**asdict(line), "code": line.code.code if line.code else None} for line in lines(report)
        ],
        "differential": asdict(report.found),
        "agreement": asdict(report.agreement) if report.agreement else None,
        "automation_bias": {reader: asdict(found) for reader, found in report.bias.items()},
        "cells": cells,
    }
    return json_text(jsonable(content)) + "\n"


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return to_cell(value) if isinstance(value, str) else "" if value is None else value
