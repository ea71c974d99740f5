"""The report as files: one self-contained page; beside it checklists, a model card, tables and figures.

The page loads nothing: style, figures and thumbnails are inside it, and it holds no script. Every
name that comes from a user is escaped by the template engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hemoscope import paper
from hemoscope.ensemble.vote import How
from hemoscope.files import write_text
from hemoscope.report import figures as drawn
from hemoscope.report import provenance
from hemoscope.report.broken import Broken, read_broken
from hemoscope.report.certainty import Certainty, certainty_of
from hemoscope.report.checklists import checklists
from hemoscope.report.collect import Mistake, Report, collect
from hemoscope.report.model_card import model_card
from hemoscope.report.montage import Thumbnail, thumbnails
from hemoscope.report.page import data_uri, render
from hemoscope.report.tables import MOST_MISTAKES, Tables, all_tables, write_tables

__all__ = ["write_report"]

CHECKLISTS, MODEL_CARD = "checklists.md", "model-card.md"
_OPEN_CURVES = 6  # learning curves and
_OPEN_RUNS = 12  # runs that are shown without a click


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
    vote: How | None = None,
    data: Path | None = None,
    title: str | None = None,
    stress: Path | None = None,
) -> Path:
    """Write the report on the runs below a folder.

    Args:
        runs_root: A folder of run folders, or one run folder.
        out: Where `report.html`, `checklists.md`, `model-card.md`, `tables/` and `figures/` go.
        members: Who votes: `auto` (the four best on validation), `paper`, `top`, `greedy`,
            `exhaustive`, or names of runs or architectures with commas between.
        vote: `majority` or `soft`; None: as runs voted that were evaluated together, else `majority`.
        data: Where the images are, for sample cells and pictures of errors; none are shown without it.
        title: Headline of the page.
        stress: What `hemoscope stress --out` wrote of these runs, for what would break them.

    Returns:
        The path of `out/report.html`.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        UnknownNameError: If a member or the vote has no such name.
        DataError: If `stress` is no such folder, or of other networks.
    """
    root = _images_at(data)
    report = collect(runs_root, members=members, vote=vote, title=title)
    sure = certainty_of(report)
    broken = None
    if stress:
        voters = report.ensemble.members if report.ensemble and report.ensemble_leads else (report.best,)
        names = [[entry.name for entry in entries] for entries in (voters, report.entries)]
        broken = read_broken(stress, *names)
    tables = all_tables(report, sure, broken)
    write_tables(tables, out / "tables")
    page = out / "report.html"
    figures = drawn.Figures(out / "figures")
    write_text(out / CHECKLISTS, checklists(report))
    write_text(out / MODEL_CARD, model_card(report))
    write_text(page, _render(report, sure, broken, tables, figures, root))
    figures.forget_earlier()
    return page


def _images_at(data: Path | None) -> Path | None:
    """Return the folder or `.npz` that a data set's paths are below: of a list, a zip or Parquet too."""
    from hemoscope.data.scan.packed import parquet_in
    from hemoscope.data.scan.walk import walk
    from hemoscope.training.scanned import scan_cached

    if data is None or (data.is_file() and data.suffix.lower() == ".npz"):
        return data
    if data.is_dir() and not parquet_in(data, walk(data)):
        return data
    return scan_cached(data).root


def _render(
    report: Report,
    sure: Certainty | None,
    broken: Broken | None,
    tables: Tables,
    figures: drawn.Figures,
    root: Path | None,
) -> str:
    shown = report.mistakes[:MOST_MISTAKES]
    # Never from the folder a run names: it may come from a stranger, and name anybody's images.
    pictures = thumbnails(root, [mistake.path for mistake in shown]) if root else {}
    curves = list(drawn.curves(report, figures))
    return render(
        "template.html.j2",
        report=report,
        paper=paper,
        tables=tables,
        sure=sure,
        broken=broken,
        certainty=list(drawn.certainty(report, sure, figures)) if sure else [],
        commands=provenance.commands(report),
        checklists=CHECKLISTS,
        model_card=MODEL_CARD,
        many_runs=len(report.entries) > _OPEN_RUNS,
        samples=drawn.samples(report, figures, root) if root else None,
        ranking=drawn.ranking(report, figures),
        matrices=list(drawn.matrices(report, figures)),
        curves=curves[:_OPEN_CURVES],
        more_curves=curves[_OPEN_CURVES:],
        wrong=[_wrong(mistake, pictures.get(mistake.path)) for mistake in shown] if pictures else [],
    )


def _wrong(mistake: Mistake, thumbnail: Thumbnail | None) -> _WrongImage:
    if thumbnail is None:
        return _WrongImage(mistake, "", small=False)
    return _WrongImage(mistake, data_uri("image/jpeg", thumbnail.jpeg), small=thumbnail.width_px < 100)
