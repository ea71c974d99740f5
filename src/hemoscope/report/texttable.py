"""One table as text: a record of titles and rows, cut into panels, set in Markdown or as CSV.

The page is set from the same record by its template, so that page and files cannot disagree. Nothing
here knows what a table is about.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hemoscope.encoding import to_cell
from hemoscope.report.formats import NOT_DEFINED, markdown, printable

__all__ = ["Kind", "Raw", "Row", "TextTable", "as_csv", "as_markdown", "panels", "plain"]

Kind = Literal["main", "strong", "interval", "paper", "difference", "section"]
_CLASSES_A_PANEL = 10
_NUMBER = re.compile(r"[-+]?\d[\d,.]*( %)?")
_MARKS = {"strong": "**", "paper": "*", "section": "*"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its label and figures as text. `kind` says how it is set; a section has one cell."""

    kind: Kind
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """The same content for machines: column names, and values that are not rounded."""

    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table ready to be set.

    Attributes:
        name: Stem of its files and its anchor.
        caption: What it shows, in plain text.
        head: Column titles.
        groups: Rows that must stay on one page together.
        n_text: Leading columns that hold text and are set flush left.
        continues: Whether it goes on with the table before it, and shares its number.
        raw: What its CSV file holds; its cells as they stand where None.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    n_text: int = 1
    continues: bool = False
    raw: Raw | None = None

    @property
    def ruled(self) -> bool:
        """Whether groups hold several lines, so that rules must tell them apart."""
        return any(len([row for row in group if row.kind != "section"]) > 1 for group in self.groups)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        return tuple(row for group in self.groups for row in group)


def plain(rows: Iterable[Sequence[str]]) -> tuple[tuple[Row, ...], ...]:
    """Return rows of cells as groups of one ordinary row each."""
    return tuple((Row("main", tuple(cells)),) for cells in rows)


def panels(table: TextTable) -> tuple[TextTable, ...]:
    """Cut a table with many classes into tables that fit a page; the overall figures stand in the first.

    Args:
        table: Table 2: a label, one column a class, and two columns over all classes.
    """
    classes = range(1, len(table.head) - 2)
    if len(classes) <= _CLASSES_A_PANEL:
        return (table,)
    parts: list[TextTable] = []
    for start in range(classes.start, classes.stop, _CLASSES_A_PANEL):
        columns = [0, *range(start, min(start + _CLASSES_A_PANEL, classes.stop))]
        first = start == classes.start
        columns += [len(table.head) - 2, len(table.head) - 1] if first else []

        def cut(row: Row, columns: Sequence[int] = columns) -> Row:
            return Row(row.kind, tuple(row.cells[i] for i in columns))

        part = replace(
            table,
            head=tuple(table.head[i] for i in columns),
            groups=tuple(tuple(map(cut, group)) for group in table.groups),
        )
        if not first:
            name = f"{table.name}-{len(parts) + 1}"
            part = replace(part, name=name, caption="Continued: more classes.", continues=True)
        parts.append(part)
    return tuple(parts)


def as_markdown(table: TextTable) -> str:
    """Return a Markdown table; strong rows are bold, the paper's figures and section titles in italics."""
    align = [":--"] * table.n_text + ["--:"] * (len(table.head) - table.n_text)
    lines = [markdown(table.caption), "", _piped(map(markdown, table.head)), _piped(align)]
    for row in table.rows:
        mark = _MARKS.get(row.kind, "")
        cells = [*row.cells, *[""] * (len(table.head) - len(row.cells))]
        lines.append(_piped(f"{mark}{markdown(cell)}{mark}" if cell else "" for cell in cells))
    return "\n".join(lines) + "\n"


def as_csv(table: TextTable) -> str:
    """Return the table as CSV: its raw values where it has some, fractions unrounded, else its cells."""
    raw = table.raw or Raw(table.head, tuple(row.cells for row in table.rows))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_csv_cell, raw.head))
    writer.writerows([_csv_cell(value) for value in row] for row in raw.rows)
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if value is None:
        return NOT_DEFINED
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else NOT_DEFINED
    if isinstance(value, str):
        text = printable(value)
        return text if _NUMBER.fullmatch(text) else to_cell(text)
    return value


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
