"""Table 2: every network's test accuracy a class, beside the paper's figure of the same network.

Nothing here computes a score. Figures are rounded here and nowhere else; the raw rows hold unrounded
fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hemoscope import paper
from hemoscope.ensemble.networks import Summary
from hemoscope.report.collect import Report
from hemoscope.report.formats import count, interval, percent, signed_points, spread
from hemoscope.report.texttable import Kind, Raw, Row, TextTable

__all__ = ["table2"]

_RAW = (
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


def table2(report: Report) -> TextTable:
    """Return class-wise and overall test accuracy in percent, beside the paper's where it can be.

    The paper's ensemble stands beside ours only where the same four architectures vote as there. Raw rows
    are one a network and class, the class empty for the overall accuracy.
    """
    lines = _lines(report)
    groups = [_summary_rows(line, "main") for line in lines]
    if report.ensemble:
        groups[-1] = tuple(Row("strong" if row.kind == "main" else row.kind, row.cells) for row in groups[-1])
    caption = (
        "Class-wise and overall test accuracy in percent. The accuracy of a class is its sensitivity. "
        "Below each figure its Wilson 95 % interval"
    )
    if any(len(network.entries) > 1 for network in report.networks):
        caption += ", taken at the mean count where there are several seeds (mean ± standard deviation)"
    if any(line.published for line in lines):
        caption += (
            "; then the paper's figure for the same architecture, and ours minus the paper's in points. The paper "
            "tested as many images of each class of the same data set, but not the same images: its split is not "
            "published"
        )
    return TextTable(
        name="table2",
        caption=f"{caption}.",
        head=("Network", *report.data.classes, "Overall", "Errors"),
        groups=tuple(groups),
        raw=Raw(_RAW, tuple(row for line in lines for row in _raw_rows(line, report))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A network or the ensemble, with the paper's fractions a class and overall where they can stand beside."""

    label: str
    arch: str
    seeds: int
    summary: Summary
    published: tuple[float, ...] | None
    published_errors: int


def _lines(report: Report) -> list[_Line]:
    lines = []
    for network in report.networks:
        row = paper.classwise_accuracy(network.arch) if report.comparable else None
        published = _fractions(row.correct) if row else None
        errors = row.errors if row else 0
        lines.append(
            _Line(network.label, network.arch, len(network.entries), network.summary, published, errors)
        )
    if report.ensemble:
        summary = Summary.of([report.ensemble.scores])
        same = report.comparable and report.ensemble.is_papers
        published = _fractions(paper.ENSEMBLE_CORRECT) if same else None
        lines.append(_Line(report.ensemble.label, "ensemble", 1, summary, published, paper.ENSEMBLE_ERRORS))
    return lines


def _fractions(correct: tuple[int, ...]) -> tuple[float, ...]:
    """Return exact fractions, because the printed four digits would give false differences."""
    each = [right / n for right, n in zip(correct, paper.TEST_SUPPORT, strict=True)]
    return (*each, sum(correct) / paper.N_TEST)


def _summary_rows(line: _Line, kind: Kind) -> tuple[Row, ...]:
    s = line.summary
    sds = [None] * len(s.mean) if s.sd is None else s.sd.tolist()
    errors = f"{s.errors:.1f}" if line.seeds > 1 else count(s.errors)
    label = line.label if line.seeds == 1 else f"{line.label}, {line.seeds} seeds"
    figures = (spread(float(m), sd) for m, sd in zip(s.mean, sds, strict=True))
    bounds = (interval((float(a), float(b))) for a, b in zip(s.low, s.high, strict=True))
    rows = [Row(kind, (label, *figures, errors)), Row("interval", ("95 % interval", *bounds, ""))]
    if line.published:
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


def _raw_rows(line: _Line, report: Report) -> list[tuple[object, ...]]:
    names = (*report.data.classes, "")
    supports = (*report.best.scores.support.tolist(), report.best.scores.n)
    rows: list[tuple[object, ...]] = []
    for i, (name, n) in enumerate(zip(names, supports, strict=True)):
        theirs = line.published[i] if line.published else math.nan
        ours = float(line.summary.mean[i])
        sd = math.nan if line.summary.sd is None else float(line.summary.sd[i])
        bounds = (float(line.summary.low[i]), float(line.summary.high[i]))
        rows.append((line.label, line.arch, line.seeds, name, n, ours, sd, *bounds, theirs, ours - theirs))
    return rows
