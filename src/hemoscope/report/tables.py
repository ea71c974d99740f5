"""Every table of a report, once: the page shows these, and each is a CSV, Markdown and LaTeX file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from hemoscope.files import write_text
from hemoscope.report import latex
from hemoscope.report.architectures import table4
from hemoscope.report.beside_paper import beside_paper
from hemoscope.report.broken import Broken, damage_table
from hemoscope.report.certainty import Certainty, calibration_table, refusal_table, sets_table
from hemoscope.report.classwise import table2
from hemoscope.report.collect import Report
from hemoscope.report.confusion import confusions_table, counts_tables, mistakes_table
from hemoscope.report.dataset import files_left_out_table, table1
from hemoscope.report.methods import per_class, table3
from hemoscope.report.provenance import left_out_table, machine_table, recipe_table, runs_table
from hemoscope.report.subtypes import border_table, subtypes_table
from hemoscope.report.texttable import TextTable, as_csv, as_markdown, panels

__all__ = ["MOST_MISTAKES", "Tables", "all_tables", "write_tables"]

MOST_MISTAKES = 48


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one report; several in one place are panels of one, or one a network."""

    table1: TextTable
    table2: tuple[TextTable, ...]
    table3: TextTable
    beside_paper: TextTable
    table4: TextTable
    per_class: TextTable
    calibration: TextTable
    refusal: TextTable
    sets: TextTable
    damage: TextTable
    confusions: TextTable
    subtypes: TextTable
    border: TextTable
    confusion_counts: tuple[TextTable, ...]
    mistakes: TextTable
    runs: TextTable
    recipe: TextTable
    machine: TextTable
    files_left_out: TextTable
    left_out: TextTable

    def __iter__(self) -> Iterator[tuple[TextTable, ...]]:
        """Go through the tables that have rows."""
        for field in fields(self):
            found = getattr(self, field.name)
            parts: tuple[TextTable, ...] = found if isinstance(found, tuple) else (found,)
            if any(part.groups for part in parts):
                yield parts


def all_tables(report: Report, sure: Certainty | None, broken: Broken | None = None) -> Tables:
    """Make every table."""
    return Tables(
        table1=table1(report),
        table2=panels(table2(report)),
        table3=table3(report),
        beside_paper=beside_paper(report),
        table4=table4(report),
        per_class=per_class(report),
        calibration=calibration_table(sure),
        refusal=refusal_table(sure),
        sets=sets_table(sure),
        damage=damage_table(broken),
        confusions=confusions_table(report),
        subtypes=subtypes_table(report),
        border=border_table(report),
        confusion_counts=counts_tables(report),
        mistakes=mistakes_table(report, most=MOST_MISTAKES),
        runs=runs_table(report),
        recipe=recipe_table(report),
        machine=machine_table(report),
        files_left_out=files_left_out_table(report),
        left_out=left_out_table(report),
    )


def write_tables(tables: Tables, folder: Path) -> None:
    """Write each table as CSV, Markdown and LaTeX, and `all.tex`, a document that sets them all.

    A table without rows is not written, and one of an earlier report goes.
    """
    written: dict[str, tuple[TextTable, ...]] = {parts[0].name: parts for parts in tables}
    for name in {field.name.replace("_", "-") for field in fields(tables)} - written.keys():
        for kind in ("csv", "md", "tex"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    for name, parts in written.items():
        write_text(folder / f"{name}.csv", as_csv(parts[0]))
        write_text(folder / f"{name}.md", "\n".join(map(as_markdown, parts)))
        write_text(folder / f"{name}.tex", latex.as_latex(parts))
    every = [part for parts in written.values() for part in parts]
    write_text(folder / "all.tex", latex.document(written, every))
