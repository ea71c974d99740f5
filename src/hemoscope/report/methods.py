"""Table 3, published methods and ours; and the classes of what the headline is about.

Published figures are of other test images than ours, each on its authors' own split: they stand apart,
with whose split it was. Nothing here computes a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hemoscope import paper
from hemoscope.ensemble.candidates import Entry
from hemoscope.evaluation.summary import Rates, Scores
from hemoscope.report.collect import Report
from hemoscope.report.formats import count, interval, percent
from hemoscope.report.texttable import Kind, Raw, Row, TextTable

__all__ = ["compared_entries", "per_class", "table3"]

_RAW_3 = (
    "method",
    "source",
    "accuracy",
    "precision",
    "sensitivity",
    "specificity",
    "accuracy_low",
    "accuracy_high",
)
_RATES = ("precision", "sensitivity", "specificity")


def table3(report: Report) -> TextTable:
    """Return accuracy and macro rates in percent: published methods where the classes are PBC's, then ours."""
    ours = [(entry.label, entry.scores) for entry in compared_entries(report)]
    if report.ensemble:
        ours.append((report.ensemble.label, report.ensemble.scores))
    published = paper.TABLE_3 if report.data.kind in ("pbc", "bloodmnist") else ()
    groups = [
        _macro_rows(report.ensemble is not None and scores is report.ensemble.scores, label, scores)
        for label, scores in ours
    ]
    caption = "Accuracy, and precision, sensitivity and specificity as means over the classes, in percent."
    if published:
        groups = [
            *_sections(published),
            (_section(f"This report, {_split(report)}"), *groups[0]),
            *groups[1:],
        ]
        caption += (
            " Figures in italics were published, each of other test images than ours; none of these splits is known "
            "image by image, so a difference may be the split's."
        )
    if report.data.kind == "bloodmnist":
        caption += " They are of the original images, ours of BloodMNIST's smaller ones."
    rows = [*(_raw_published(row) for row in published), *(_raw_ours(label, s) for label, s in ours)]
    head = ("Method", "Accuracy", "Precision", "Sensitivity", "Specificity")
    return TextTable("table3", caption, head, tuple(groups), raw=Raw(_RAW_3, tuple(rows)))


def per_class(report: Report) -> TextTable:
    """Return precision, sensitivity and specificity of every class of what the headline is about, in percent.

    Raw rows are of the ensemble and of every run, the class empty for the means over the classes.
    """
    scores = report.headline
    groups = []
    for i, name in enumerate(scores.classes):
        rates = [getattr(scores, rate) for rate in _RATES]
        main = Row("main", (name, *(percent(r.value[i]) for r in rates), count(int(scores.support[i]))))
        low = Row("interval", ("", *(interval((r.low[i], r.high[i])) for r in rates), ""))
        groups.append((main, low))
    means = (percent(getattr(scores.macro, rate)) for rate in _RATES)
    there = len(scores.classes) - len(scores.without_images)
    label = f"Mean over {there} classes with images" if scores.without_images else "Mean over classes"
    groups.append((Row("strong", (label, *means, count(scores.n))),))
    subjects = [(entry.label, entry.name, entry.scores) for entry in report.entries]
    if report.ensemble:
        subjects.insert(0, (report.ensemble.label, "", report.ensemble.scores))
    raw = [row for subject in subjects for row in _raw_classes(*subject)]
    columns = [f"{rate}{end}" for rate in _RATES for end in ("", "_low", "_high")]
    return TextTable(
        name="per-class",
        caption=f"{report.judged_label}: precision, sensitivity and specificity of every class in percent, with "
        "Wilson 95 % intervals.",
        head=("Class", "Precision", "Sensitivity", "Specificity", "Images"),
        groups=tuple(groups),
        raw=Raw(("network", "run", "class", "images", *columns), tuple(raw)),
    )


def compared_entries(report: Report) -> tuple[Entry, ...]:
    """Return the single runs that Table 3 shows: the members, or the four best on validation; best last."""
    ranked = sorted(report.entries, key=lambda e: (e.val_accuracy, -e.val_loss), reverse=True)
    chosen = list(report.ensemble.members) if report.ensemble else ranked[:4]
    if report.best.name not in {entry.name for entry in chosen}:
        chosen.append(report.best)
    return tuple(sorted(chosen, key=lambda e: (e.scores.accuracy, e.label)))


def _sections(published: Sequence[paper.MethodScores]) -> Iterator[tuple[Row, ...]]:
    for ours, title in (
        (False, "Earlier work as the paper cites it, each on its authors' own split"),
        (True, f"The paper, on its own split of 64, 24 and 12 % with {paper.N_TEST:,} test images"),
    ):
        rows = [Row("paper", _published(row)) for row in published if row.ours == ours]
        yield (_section(title), *rows)


def _section(title: str) -> Row:
    return Row("section", (title,))


def _split(report: Report) -> str:
    data = report.data
    named = f"on its split {data.policy!r}" if data.policy else "on its split"
    seed = f", seed {data.split_seed}" if data.split_seed is not None else ""
    return f"{named}{seed}, with {report.best.scores.n:,} test images"


def _macro_rows(strong: bool, label: str, s: Scores) -> tuple[Row, ...]:
    kind: Kind = "strong" if strong else "main"
    means = (s.macro.precision, s.macro.sensitivity, s.macro.specificity)
    return (
        Row(kind, (label, percent(s.accuracy), *map(percent, means))),
        Row("interval", ("95 % interval", interval(s.accuracy_ci), "", "", "")),
    )


def _published(row: paper.MethodScores) -> tuple[str, ...]:
    rates = (row.accuracy, row.precision, row.sensitivity, row.specificity)
    return (_method(row), *(f"{value:.2f}" for value in rates))


def _method(row: paper.MethodScores) -> str:
    architecture = paper.classwise_accuracy(row.method)
    name = architecture.paper_name if architecture else row.method
    if row.method == "ensemble":
        name = f"Ensemble of {len(paper.ENSEMBLE_MEMBERS)}"
    return f"{name}, the paper" if row.ours else name


def _raw_published(row: paper.MethodScores) -> tuple[object, ...]:
    rates = (row.accuracy, row.precision, row.sensitivity, row.specificity)
    return (_method(row), "published", *(round(rate / 100, 6) for rate in rates), math.nan, math.nan)


def _raw_ours(label: str, s: Scores) -> tuple[object, ...]:
    macro = (s.macro.precision, s.macro.sensitivity, s.macro.specificity)
    return (label, "ours", s.accuracy, *macro, *s.accuracy_ci)


def _raw_classes(label: str, run: str, scores: Scores) -> Iterator[tuple[object, ...]]:
    for i, name in enumerate(scores.classes):
        rates: list[Rates] = [getattr(scores, rate) for rate in _RATES]
        figures = [float(values[i]) for rate in rates for values in (rate.value, rate.low, rate.high)]
        yield (label, run, name, int(scores.support[i]), *figures)
    means = [value for rate in _RATES for value in (getattr(scores.macro, rate), math.nan, math.nan)]
    yield (label, run, "", scores.n, *means)
