"""A comparison as files: two tables, the picture of the groups, and everything as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hemoscope.comparison.compare import ENSEMBLE, LEVEL, Comparison, Subject
from hemoscope.evaluation.bootstrap import Estimate
from hemoscope.files import new_folder, write_json, write_text
from hemoscope.report import latex
from hemoscope.report.figure_style import BLUE, INK, PALE, VERMILION, new_figure, save_figure, style
from hemoscope.report.formats import count, interval, percent
from hemoscope.report.texttable import Raw, TextTable, as_csv, as_markdown, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMNS", "groups_figure", "pairs_table", "scores_table", "shown_as", "write_comparison"]

COLUMNS = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_precision": "Precision",
    "macro_specificity": "Specificity",
    "mcc": "MCC",
    "cohens_kappa": "Kappa",
    "auroc": "AUROC",
}
"""Estimates in the order of a table, all in percent."""


_BARS = 8  # beside each other, before they begin anew
_LONGEST = 48


def shown_as(subject: Subject) -> str:
    """Return a subject's label, or where that is long the name of its run."""
    return subject.label if len(subject.label) <= _LONGEST else subject.name


def scores_table(found: Comparison) -> TextTable:
    """Return a line a subject: errors, accuracy with Wilson's interval, the other scores with theirs."""
    rows = [
        (
            subject.label,
            count(subject.scores.errors),
            f"{percent(subject.scores.accuracy)} ({interval(subject.scores.accuracy_ci)})",
            *(_told(subject.estimates[key]) for key in COLUMNS),
        )
        for subject in found.subjects
    ]
    raw_head = ("label", "run", "errors", *_bounds("accuracy"), *(b for key in COLUMNS for b in _bounds(key)))
    raw = [
        (
            *(subject.label, subject.name, subject.scores.errors, subject.scores.accuracy),
            *subject.scores.accuracy_ci,
            *(value for key in COLUMNS for value in _values(subject.estimates[key])),
        )
        for subject in found.subjects
    ]
    caption = (
        f"Scores on the {found.side} side, {found.subjects[0].scores.n:,} images, in percent with 95 % intervals: Wilson's of the "
        "accuracy, BCa bootstrap within the classes of the others, and of the balanced accuracy a sum of exact ones where a class has few images or no error. Means are over the classes that have images."
    )
    head = ("Network", "Errors", "Accuracy", *COLUMNS.values())
    return TextTable("scores", caption, head, plain(rows), raw=Raw(raw_head, tuple(raw)))


def pairs_table(found: Comparison) -> TextTable:
    """Return a line a pair: images that only one gets right, the test, and which is better."""
    subjects = found.subjects
    rows = [
        (
            subjects[pair.first].label,
            subjects[pair.second].label,
            count(pair.only_first),
            count(pair.only_second),
            f"{pair.p:.2g}",
            f"{pair.p_holm:.2g}",
            percent(pair.chance, 1),
            "yes" if pair.p_holm < LEVEL else "not distinguishable",
        )
        for pair in found.pairs
    ]
    caption = (
        "Every two networks: images that only the first, and only the second, gets right; McNemar's exact p-value, alone and adjusted by "
        f"Holm; the probability in percent that the first is the better one; whether they differ at a level of {100 * LEVEL:.0f} %."
    )
    head = ("First", "Second", "Only first", "Only second", "p", "p, Holm", "First better", "Differ")
    raw = Raw(
        ("first", "second", "only_first", "only_second", "p", "p_holm", "chance"),
        tuple(
            (
                subjects[pair.first].name,
                subjects[pair.second].name,
                *(pair.only_first, pair.only_second, pair.p, pair.p_holm, pair.chance),
            )
            for pair in found.pairs
        ),
    )
    return TextTable("pairs", caption, head, plain(rows), n_text=2, raw=raw)


def groups_figure(found: Comparison) -> Figure:
    """Return accuracies with their intervals, best on top, and a bar beside every group that cannot be told apart."""
    n = len(found.subjects)
    with style():
        figure = new_figure(width_in=7.2, height_in=0.7 + 0.2 * n)
        axes = figure.add_subplot()
        for place, subject in enumerate(found.subjects):
            low, high = (100 * bound for bound in subject.scores.accuracy_ci)
            color = INK if subject.name == ENSEMBLE else BLUE
            axes.plot([low, high], [place, place], color=color, linewidth=1.1, solid_capstyle="butt")
            axes.plot(100 * subject.scores.accuracy, place, "o", color=color, markersize=4.2)
        axes.set_yticks(range(n), [shown_as(subject) for subject in found.subjects])
        left, right = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if left <= tick <= min(right, 100.0)]
        step = 0.025 * (right - left)
        groups = [group for group in found.groups if group[1] > group[0]]
        for i, (first, last) in enumerate(groups):
            at = right + step * (1 + i % _BARS)
            axes.plot(
                [at, at], [first - 0.2, last + 0.2], color=VERMILION, linewidth=2, solid_capstyle="butt"
            )
        axes.set(xlim=(left, right + step * (1 + min(len(groups), _BARS))), ylim=(n - 0.4, -0.6))
        axes.set_xticks(ticks)
        axes.set_xlabel(
            f"Accuracy, % of {found.subjects[0].scores.n:,} images; a bar joins what cannot be told apart"
        )
        axes.grid(axis="x", color=PALE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def write_comparison(found: Comparison, folder: Path) -> None:
    """Write `comparison.json`, `scores` and `pairs` as CSV, Markdown and LaTeX, and `groups` as SVG and PNG.

    Raises:
        DataError: If something is in the folder already.
    """
    with new_folder(folder) as part:
        write_json(part / "comparison.json", found.to_json())
        for table in (scores_table(found), pairs_table(found)):
            write_text(part / f"{table.name}.csv", as_csv(table))
            write_text(part / f"{table.name}.md", as_markdown(table))
            write_text(part / f"{table.name}.tex", latex.as_latex((table,)))
        save_figure(groups_figure(found), part / "groups")


def _told(estimate: Estimate) -> str:
    return f"{percent(estimate.value)} ({interval((estimate.low, estimate.high))})"


def _bounds(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _values(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
