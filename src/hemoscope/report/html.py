"""The report as files: one self-contained page, its tables as CSV, Markdown and LaTeX, its figures.

The page loads nothing: style, figures and thumbnails are inside it, and it holds no script. Every
name that comes from a user is escaped by the template engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemoscope import paper
from hemoscope.ensemble import How
from hemoscope.evaluation.summary import Scores
from hemoscope.report import formats, provenance, tables, texttable
from hemoscope.report.collect import Mistake, Report, collect
from hemoscope.report.montage import Thumbnail, thumbnails
from hemoscope.report.networks import Network
from hemoscope.report.page import data_uri, render
from hemoscope.report.plots import (
    RankPoint,
    confusion_figure,
    curve_limits,
    curves_figure,
    ranking_figure,
    save_figure,
)
from hemoscope.runs import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_MISTAKES", "write_report"]

MOST_MISTAKES = 48
_MOST_CONFUSIONS = 9
_MOST_CURVES = 12


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A figure inside the page: its SVG as a data URI, what stands under it and what it says in words."""

    uri: str
    caption: str
    alt: str
    width_px: int


@dataclass(frozen=True, slots=True)
class _WrongImage:
    """A wrong image beside its thumbnail, where there is one."""

    mistake: Mistake
    uri: str
    small: bool


def write_report(
    runs_root: Path,
    out: Path,
    *,
    members: str = "auto",
    vote: How = "majority",
    data: Path | None = None,
    title: str | None = None,
) -> Path:
    """Write the report on the runs below a folder.

    Args:
        runs_root: A folder of run folders, or one run folder.
        out: Where `report.html`, `tables/` and `figures/` go.
        members: Who votes: `auto` (the four best on validation), `paper`, `top`, `greedy`,
            `exhaustive`, or names of runs or architectures with commas between.
        vote: `majority` or `soft`.
        data: Where the images are now, for thumbnails; where the runs found them if None.
        title: Headline of the page.

    Returns:
        The path of `out/report.html`.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        UnknownNameError: If a member or the vote has no such name.
    """
    report = collect(runs_root, members=members, vote=vote, title=title)
    made = [tables.table2(report), tables.table3(report)]
    for table, csv_text in zip(made, (tables.table2_csv(report), tables.table3_csv(report)), strict=True):
        write_text(out / "tables" / f"{table.name}.csv", csv_text)
        write_text(out / "tables" / f"{table.name}.md", texttable.as_markdown(table))
        write_text(
            out / "tables" / f"{table.name}.tex", "\n".join(map(texttable.as_latex, texttable.panels(table)))
        )
    page = out / "report.html"
    write_text(page, _render(report, made, _Figures(out / "figures"), data or Path(report.data.root)))
    return page


class _Figures:
    """Saves figures below one folder under names that are all different."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def add(self, stem: str, figure: Figure, *, caption: str, alt: str) -> _Picture:
        name, n = stem, 1
        while name in self._taken:
            n += 1
            name = f"{stem}-{n}"
        self._taken.add(name)
        svg = save_figure(figure, self._folder / name)
        width_in = figure.get_size_inches()[0]
        return _Picture(data_uri("image/svg+xml", svg), caption, alt, round(96 * width_in))


def _render(report: Report, made: Sequence[texttable.TextTable], figures: _Figures, root: Path) -> str:
    shown = report.mistakes[:MOST_MISTAKES]
    pictures = thumbnails(root, [mistake.path for mistake in shown])
    return render(
        "template.html.j2",
        report=report,
        paper=paper,
        table1=provenance.data_table(report),
        table2=texttable.panels(made[0]),
        table3=made[1],
        per_class=tables.per_class(report.headline),
        confusions=provenance.confusions_table(report),
        mistakes=provenance.mistakes_table(report, most=MOST_MISTAKES),
        runs=provenance.runs_table(report),
        recipe=provenance.recipe_table(report),
        machine=provenance.machine_table(report),
        files_left_out=provenance.files_left_out_table(report),
        runs_left_out=provenance.left_out_table(report),
        commands=provenance.commands(report),
        ranking=_ranking(report, figures),
        matrices=list(_matrices(report, figures)),
        curves=list(_curves(report, figures)),
        n_with_history=sum(any(e.history for e in network.entries) for network in report.networks),
        wrong=[_wrong(mistake, pictures.get(mistake.path)) for mistake in shown] if pictures else [],
    )


def _ranking(report: Report, figures: _Figures) -> _Picture:
    points = []
    for network in report.networks:
        row = paper.classwise_accuracy(network.arch)
        theirs = 1 - row.errors / paper.N_TEST if row and report.comparable else None
        points.append(_point(network.label, network.summary.mean[-1], network.summary, theirs))
    points.sort(key=lambda point: -point.value)
    if report.ensemble:
        s = report.ensemble.scores
        theirs = 1 - paper.ENSEMBLE_ERRORS / paper.N_TEST if report.comparable else None
        label = f"Ensemble of {len(report.ensemble.members)}"
        points.insert(0, RankPoint(label, s.accuracy, *s.accuracy_ci, paper=theirs, emphasis=True))
    caption = "Test accuracy with Wilson 95 % intervals"
    caption += "; open diamonds are the paper's figures." if report.comparable else "."
    alt = "; ".join(f"{p.label} {formats.percent(p.value)} %" for p in points)
    return figures.add("ranking", ranking_figure(points), caption=caption, alt=alt)


def _point(label: str, value: float, summary: Any, theirs: float | None) -> RankPoint:
    return RankPoint(label, float(value), float(summary.low[-1]), float(summary.high[-1]), theirs)


def _matrices(report: Report, figures: _Figures) -> Iterator[_Picture]:
    singles = reversed(tables.compared_entries(report))
    drawn: list[tuple[str, str, Scores]] = [(e.label, e.name, e.scores) for e in singles]
    if report.ensemble:
        label = f"Ensemble of {len(report.ensemble.members)}"
        drawn.insert(0, (label, "ensemble", report.ensemble.scores))
    for label, name, scores in drawn[:_MOST_CONFUSIONS]:
        accuracy = f"{formats.percent(scores.accuracy)} %"
        yield figures.add(
            f"confusion-{formats.slug(name)}",
            confusion_figure(scores.confusion, scores.classes),
            caption=f"{label}: {scores.errors:,} errors in {scores.n:,}, accuracy {accuracy}.",
            alt=f"Confusion matrix of {label}: {scores.errors} errors in {scores.n} test images.",
        )


def _curves(report: Report, figures: _Figures) -> Iterator[_Picture]:
    """Draw the networks' histories, best on validation first, all on the same axes."""
    with_history = [n for n in report.networks if any(e.history for e in n.entries)]
    with_history.sort(key=lambda n: -max(e.val_accuracy for e in n.entries))
    shown = with_history[:_MOST_CURVES]
    limits = curve_limits(entry.history for network in shown for entry in network.entries)
    for network in shown:
        histories = [entry.history for entry in network.entries if entry.history]
        yield figures.add(
            f"curves-{formats.slug(network.label)}",
            curves_figure(histories, limits),
            caption=_curve_caption(network),
            alt=f"Loss and accuracy of {network.label} over the epochs, on training and validation images.",
        )


def _curve_caption(network: Network) -> str:
    last = [entry.history[-1] for entry in network.entries if entry.history]
    mean = sum(row.val_accuracy for row in last) / len(last)
    seeds = f", mean of {len(last)} seeds" if len(last) > 1 else ""
    return f"{network.label}: {formats.percent(mean)} % on validation after the last epoch{seeds}."


def _wrong(mistake: Mistake, thumbnail: Thumbnail | None) -> _WrongImage:
    if thumbnail is None:
        return _WrongImage(mistake, "", small=False)
    return _WrongImage(mistake, data_uri("image/jpeg", thumbnail.jpeg), small=thumbnail.width_px < 100)
