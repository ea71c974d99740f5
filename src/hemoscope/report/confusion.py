"""What was taken for what: the most frequent confusions, the counts of every network, the wrong images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hemoscope.evaluation.summary import Scores
from hemoscope.records import IntArray
from hemoscope.report.collect import Report
from hemoscope.report.formats import count
from hemoscope.report.texttable import Raw, Row, TextTable, plain

__all__ = ["MOST_SHOWN", "confusions_table", "counts_tables", "mistakes_table"]

MOST_SHOWN = 60
"""Classes of a matrix that is shown whole, which has their square of cells."""

_MOST_TOGETHER = 40  # classes of a matrix that is kept on one page
_PAIRS, _PAIRS_OF_MANY = 12, 30
_RAW = ("network", "run", "true", "predicted", "images")


def confusions_table(report: Report, *, most: int | None = None) -> TextTable:
    """Return the most frequent confusions; the raw rows are all of them.

    Args:
        report: Whose headline is meant.
        most: How many; by default more where no matrix is shown.
    """
    if most is None:
        most = _PAIRS if len(report.headline.classes) <= MOST_SHOWN else _PAIRS_OF_MANY
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

    The raw rows of the first are those of all: one a pair of classes. With more classes than `MOST_SHOWN`
    there is one table, of errors a network, and the raw rows leave out the pairs that did not occur.
    """
    subjects = [(entry.label, entry.name, entry.scores) for entry in report.entries]
    if report.ensemble:
        subjects.insert(0, (report.ensemble.label, "", report.ensemble.scores))
    rows = tuple(row for subject in subjects for row in _pairs(*subject))
    if len(report.headline.classes) > MOST_SHOWN:
        return (_errors_table(subjects, rows),)
    return tuple(
        TextTable(
            name="confusion-counts" if i == 1 else f"confusion-counts-{i}",
            caption=f"Test images of each true class (rows) by predicted class (columns): {label}."
            if i == 1
            else f"The same: {label}.",
            head=("True class", *scores.classes),
            groups=_lines(scores),
            continues=i > 1,
            raw=Raw(_RAW, rows) if i == 1 else None,
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


def _errors_table(
    subjects: Sequence[tuple[str, str, Scores]], rows: tuple[tuple[object, ...], ...]
) -> TextTable:
    lines = [
        (label, count(scores.errors), count(int(np.count_nonzero(_off_diagonal(scores)))))
        for label, _, scores in subjects
    ]
    caption = (
        f"Wrong test images, and the pairs of different classes among them. The matrices of {len(subjects[0][2].classes):,} "
        "classes are too large for a page; their counts are in the CSV, pairs that did not occur left out."
    )
    head = ("Network", "Errors", "Pairs of classes")
    return TextTable("confusion-counts", caption, head, plain(lines), raw=Raw(_RAW, rows))


def _off_diagonal(scores: Scores) -> IntArray:
    return scores.confusion - np.diag(np.diagonal(scores.confusion))


def _pairs(label: str, run: str, scores: Scores) -> Iterator[tuple[object, ...]]:
    names, counts = scores.classes, scores.confusion
    shown = counts > 0 if len(names) > MOST_SHOWN else np.ones_like(counts, dtype=bool)
    for true, predicted in np.argwhere(shown).tolist():
        yield (label, run, names[true], names[predicted], int(counts[true, predicted]))
