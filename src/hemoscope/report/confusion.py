"""What was taken for what: the most frequent confusions, the counts of every network, the wrong images."""

from __future__ import annotations

from collections.abc import Iterator

from hemoscope.evaluation.summary import Scores
from hemoscope.report.collect import Report
from hemoscope.report.formats import count
from hemoscope.report.texttable import Raw, Row, TextTable, plain

__all__ = ["confusions_table", "counts_tables", "mistakes_table"]

_MOST_TOGETHER = 40  # classes of a matrix that is kept on one page


def confusions_table(report: Report, *, most: int = 12) -> TextTable:
    """Return the most frequent confusions; the raw rows are all of them."""
    rows = [(c.true, c.pred, count(c.count), f"{100 * c.share:.2f}") for c in report.confusions[:most]]
    caption = (
        f"{report.judged_label}: the most frequent confusions; the share is of the images of the true class, "
        "in percent."
    )
    head = ("True class", "Predicted class", "Images", "Share")
    raw = Raw(
        ("true", "predicted", "images", "share"),
        tuple((c.true, c.pred, c.count, c.share) for c in report.confusions),
    )
    return TextTable("confusions", caption, head, plain(rows), n_text=2, raw=raw)


def counts_tables(report: Report) -> tuple[TextTable, ...]:
    """Return the confusion matrix of the ensemble and of every run as a table of counts each.

    The raw rows of the first are those of all: one a pair of classes.
    """
    subjects = [(entry.label, entry.name, entry.scores) for entry in report.entries]
    if report.ensemble:
        subjects.insert(0, (report.ensemble.label, "", report.ensemble.scores))
    rows = tuple(row for subject in subjects for row in _pairs(*subject))
    return tuple(
        TextTable(
            name="confusion-counts" if i == 1 else f"confusion-counts-{i}",
            caption=f"Test images of each true class (rows) by predicted class (columns): {label}."
            if i == 1
            else f"The same: {label}.",
            head=("True class", *scores.classes),
            groups=_lines(scores),
            continues=i > 1,
            raw=Raw(("network", "run", "true", "predicted", "images"), rows) if i == 1 else None,
        )
        for i, (label, _, scores) in enumerate(subjects, start=1)
    )


def mistakes_table(report: Report, *, most: int) -> TextTable:
    """Return the wrongly classified images as text; the raw rows are all of them."""
    rows = [(m.path, m.true, m.pred, f"{m.prob:.3f}") for m in report.mistakes[:most]]
    caption = f"{report.judged_label}: wrongly classified test images, the most confident first."
    if len(report.mistakes) > most:
        caption += f" The first {most} of {len(report.mistakes):,}."
    head = ("Image", "True class", "Predicted class", "Probability")
    raw = Raw(
        ("image", "true", "predicted", "probability"),
        tuple((m.path, m.true, m.pred, m.prob) for m in report.mistakes),
    )
    return TextTable("mistakes", caption, head, plain(rows), n_text=3, raw=raw)


def _lines(scores: Scores) -> tuple[tuple[Row, ...], ...]:
    named = zip(scores.classes, scores.confusion.tolist(), strict=True)
    rows = tuple(Row("main", (name, *map(str, line))) for name, line in named)
    return (rows,) if len(rows) <= _MOST_TOGETHER else tuple((row,) for row in rows)


def _pairs(label: str, run: str, scores: Scores) -> Iterator[tuple[object, ...]]:
    for true, line in zip(scores.classes, scores.confusion.tolist(), strict=True):
        for predicted, n in zip(scores.classes, line, strict=True):
            yield (label, run, true, predicted, n)
