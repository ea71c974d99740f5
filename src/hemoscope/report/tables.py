"""The tables of scores: Table 2, Table 3, and the classes of one set of predictions.

Nothing here computes a score. Figures are rounded here and nowhere else; CSV files hold unrounded
fractions.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hemoscope import paper
from hemoscope.evaluation.summary import Scores
from hemoscope.report.collect import Report
from hemoscope.report.formats import (
    NOT_DEFINED,
    count,
    interval,
    percent,
    printable,
    signed_points,
    spread,
)
from hemoscope.report.networks import Entry, Summary
from hemoscope.report.texttable import Kind, Row, TextTable

__all__ = ["compared_entries", "per_class", "table2", "table2_csv", "table3", "table3_csv"]

_PUBLISHED_ENSEMBLE = "ensemble"


def table2(report: Report) -> TextTable:
    """Return class-wise and overall test accuracy in percent, beside the paper's where it can be."""
    groups = [_summary_rows(line, "main", report.comparable) for line in _lines(report)]
    if report.ensemble:
        groups[-1] = tuple(Row("strong" if row.kind == "main" else row.kind, row.cells) for row in groups[-1])
    several = any(len(network.entries) > 1 for network in report.networks)
    caption = (
        "Class-wise and overall test accuracy in percent. The accuracy of a class is its sensitivity. "
        "Below each figure its Wilson 95 % interval"
        + (
            ", taken at the mean count where there are several seeds (mean ± standard deviation)"
            if several
            else ""
        )
        + (
            "; then the paper's figure for the same architecture, and ours minus the paper's in points."
            if report.comparable
            else "."
        )
    )
    return TextTable(
        name="table2",
        caption=caption,
        head=("Network", *report.data.classes, "Overall", "Errors"),
        groups=tuple(groups),
    )


def table3(report: Report) -> TextTable:
    """Return accuracy and macro rates in percent: published methods where the classes are PBC's, then ours."""
    groups: list[tuple[Row, ...]] = []
    if report.data.kind in ("pbc", "bloodmnist"):
        groups += [(Row("paper", _published(row)),) for row in paper.TABLE_3]
    for entry in compared_entries(report):
        groups.append(_macro_rows("main", entry.label, entry.scores))
    if report.ensemble:
        label = f"Ensemble of {len(report.ensemble.members)}"
        groups.append(_macro_rows("strong", label, report.ensemble.scores))
    caption = "Accuracy, and precision, sensitivity and specificity as means over the classes, in percent."
    if report.data.kind in ("pbc", "bloodmnist"):
        caption += " Rows in italics are published figures, on other splits than ours" + (
            ", though of the same test sizes as the paper's." if report.comparable else "."
        )
    return TextTable(
        name="table3",
        caption=caption,
        head=("Method", "Accuracy", "Precision", "Sensitivity", "Specificity"),
        groups=tuple(groups),
    )


def per_class(scores: Scores) -> TextTable:
    """Return precision, sensitivity and specificity of every class, with intervals, in percent."""
    groups = []
    for i, name in enumerate(scores.classes):
        rates = (scores.precision, scores.sensitivity, scores.specificity)
        main = Row("main", (name, *(percent(r.value[i]) for r in rates), count(int(scores.support[i]))))
        low = Row("interval", ("", *(interval((r.low[i], r.high[i])) for r in rates), ""))
        groups.append((main, low))
    macro = scores.macro
    means = (percent(macro.precision), percent(macro.sensitivity), percent(macro.specificity))
    groups.append((Row("strong", ("Mean over classes", *means, count(scores.n))),))
    return TextTable(
        name="per-class",
        caption="Precision, sensitivity and specificity of every class in percent, with Wilson 95 % intervals.",
        head=("Class", "Precision", "Sensitivity", "Specificity", "Images"),
        groups=tuple(groups),
    )


def compared_entries(report: Report) -> tuple[Entry, ...]:
    """Return the single runs that Table 3 shows: the members, or the four best on validation; best last."""
    ranked = sorted(report.entries, key=lambda e: (e.val_accuracy, -e.val_loss), reverse=True)
    chosen = list(report.ensemble.members) if report.ensemble else ranked[:4]
    if report.best.name not in {entry.name for entry in chosen}:
        chosen.append(report.best)
    return tuple(sorted(chosen, key=lambda e: (e.scores.accuracy, e.label)))


def table2_csv(report: Report) -> str:
    """Return Table 2 as CSV: one row a network and class, fractions unrounded, the class empty for overall."""
    rows: list[Sequence[object]] = []
    for line in _lines(report):
        published = line.published if report.comparable else None
        names = (*report.data.classes, "")
        supports = (*report.best.scores.support.tolist(), report.best.scores.n)
        for i, (name, n) in enumerate(zip(names, supports, strict=True)):
            theirs = published[i] if published else math.nan
            ours = float(line.summary.mean[i])
            sd = math.nan if line.summary.sd is None else float(line.summary.sd[i])
            bounds = (float(line.summary.low[i]), float(line.summary.high[i]))
            rows.append(
                (line.label, line.arch, line.seeds, name, n, ours, sd, *bounds, theirs, ours - theirs)
            )
    head = (
        "network",
        "arch",
        "seeds",
        "class",
        "images",
        "accuracy",
        "sd",
        "low",
        "high",
        "paper",
        "difference",
    )
    return _csv(head, rows)


def table3_csv(report: Report) -> str:
    """Return Table 3 as CSV, fractions unrounded; the paper's rows as it prints them."""
    rows: list[Sequence[object]] = []
    if report.data.kind in ("pbc", "bloodmnist"):
        for row in paper.TABLE_3:
            rates = (row.accuracy, row.precision, row.sensitivity, row.specificity)
            rows.append(
                (_published(row)[0], "published", *(round(r / 100, 6) for r in rates), math.nan, math.nan)
            )
    ours = [(entry.label, entry.scores) for entry in compared_entries(report)]
    if report.ensemble:
        ours.append((f"Ensemble of {len(report.ensemble.members)}", report.ensemble.scores))
    for label, s in ours:
        macro = (s.macro.precision, s.macro.sensitivity, s.macro.specificity)
        rows.append((label, "ours", s.accuracy, *macro, *s.accuracy_ci))
    head = (
        "method",
        "source",
        "accuracy",
        "precision",
        "sensitivity",
        "specificity",
        "accuracy_low",
        "accuracy_high",
    )
    return _csv(head, rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A network or the ensemble, with the paper's fractions a class and overall where it has some."""

    label: str
    arch: str
    seeds: int
    summary: Summary
    published: tuple[float, ...] | None
    published_errors: int


def _lines(report: Report) -> list[_Line]:
    lines = []
    for network in report.networks:
        row = paper.classwise_accuracy(network.arch)
        published = _fractions(row.correct) if row else None
        errors = row.errors if row else 0
        lines.append(
            _Line(network.label, network.arch, len(network.entries), network.summary, published, errors)
        )
    if report.ensemble:
        label, summary = f"Ensemble of {len(report.ensemble.members)}", Summary.of([report.ensemble.scores])
        published = _fractions(paper.ENSEMBLE_CORRECT)
        lines.append(_Line(label, "ensemble", 1, summary, published, paper.ENSEMBLE_ERRORS))
    return lines


def _fractions(correct: tuple[int, ...]) -> tuple[float, ...]:
    """Return exact fractions, because the printed four digits would give false differences."""
    each = [right / n for right, n in zip(correct, paper.TEST_SUPPORT, strict=True)]
    return (*each, sum(correct) / paper.N_TEST)


def _summary_rows(line: _Line, kind: Kind, comparable: bool) -> tuple[Row, ...]:
    s = line.summary
    sds = [None] * len(s.mean) if s.sd is None else s.sd.tolist()
    errors = f"{s.errors:.1f}" if line.seeds > 1 else count(s.errors)
    label = line.label if line.seeds == 1 else f"{line.label}, {line.seeds} seeds"
    figures = (spread(float(m), sd) for m, sd in zip(s.mean, sds, strict=True))
    bounds = (interval((float(a), float(b))) for a, b in zip(s.low, s.high, strict=True))
    rows = [Row(kind, (label, *figures, errors)), Row("interval", ("95 % interval", *bounds, ""))]
    if comparable and line.published:
        differences = np.asarray(s.mean) - np.asarray(line.published)
        rows += [
            Row("paper", ("paper", *(percent(p) for p in line.published), count(line.published_errors))),
            Row("difference", ("difference", *(signed_points(float(d)) for d in differences), _gap(line))),
        ]
    return tuple(rows)


def _gap(line: _Line) -> str:
    gap = line.summary.errors - line.published_errors
    text = f"{abs(gap):.1f}" if line.seeds > 1 else f"{abs(gap):.0f}"
    return text if float(text) == 0 else ("+" if gap > 0 else "−") + text


def _macro_rows(kind: Kind, label: str, s: Scores) -> tuple[Row, ...]:
    means = (s.macro.precision, s.macro.sensitivity, s.macro.specificity)
    return (
        Row(kind, (label, percent(s.accuracy), *map(percent, means))),
        Row("interval", ("95 % interval", interval(s.accuracy_ci), "", "", "")),
    )


def _published(row: paper.MethodScores) -> tuple[str, ...]:
    architecture = paper.classwise_accuracy(row.method)
    name = architecture.paper_name if architecture else row.method
    if row.method == _PUBLISHED_ENSEMBLE:
        name = "Ensemble of 4"
    label = f"{name}, the paper" if row.ours else name
    return (label, *(f"{v:.2f}" for v in (row.accuracy, row.precision, row.sensitivity, row.specificity)))


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, float):
        return NOT_DEFINED if math.isnan(value) else f"{value:.10g}"
    return printable(value) if isinstance(value, str) else value
