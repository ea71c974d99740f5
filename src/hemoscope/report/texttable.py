"""One table as text: a record of titles and rows, cut into panels, set in Markdown or LaTeX.

The page is set from the same record by its template, so that page and files cannot disagree. Nothing
here knows what a table is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hemoscope.report.formats import latex, markdown

__all__ = ["Kind", "Row", "TextTable", "as_latex", "as_markdown", "panels"]

Kind = Literal["main", "strong", "interval", "paper", "difference"]
_CLASSES_A_PANEL = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its label and figures as text. `kind` says how it is set."""

    kind: Kind
    cells: tuple[str, ...]


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
    """

    name: str
    caption: str
    head: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    n_text: int = 1
    continues: bool = False

    @property
    def ruled(self) -> bool:
        """Whether groups hold several lines, so that rules must tell them apart."""
        return any(len(group) > 1 for group in self.groups)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        return tuple(row for group in self.groups for row in group)


def panels(table: TextTable) -> tuple[TextTable, ...]:
    """Cut a table with many classes into tables that fit a page; the overall figures stand in the first.

    Args:
        table: Table 2: a label, one column a class, and two columns over all classes.
    """
    classes = range(1, len(table.head) - 2)
    if len(classes) <= _CLASSES_A_PANEL:
        return (table,)
    parts = []
    for start in range(classes.start, classes.stop, _CLASSES_A_PANEL):
        columns = [0, *range(start, min(start + _CLASSES_A_PANEL, classes.stop))]
        first = start == classes.start
        columns += [len(table.head) - 2, len(table.head) - 1] if first else []

        def cut(row: Row, columns: Sequence[int] = columns) -> Row:
            return Row(row.kind, tuple(row.cells[i] for i in columns))

        parts.append(
            TextTable(
                name=table.name if first else f"{table.name}-{len(parts) + 1}",
                caption=table.caption if first else "Continued: more classes.",
                continues=not first,
                head=tuple(table.head[i] for i in columns),
                groups=tuple(tuple(map(cut, group)) for group in table.groups),
            )
        )
    return tuple(parts)


def as_markdown(table: TextTable) -> str:
    """Return a Markdown table; strong rows are bold, the paper's figures in italics."""
    marks = {"strong": "**", "paper": "*", "main": "", "interval": "", "difference": ""}
    align = [":--"] * table.n_text + ["--:"] * (len(table.head) - table.n_text)
    lines = [table.caption, "", _piped(map(markdown, table.head)), _piped(align)]
    for row in table.rows:
        mark = marks[row.kind]
        lines.append(_piped(f"{mark}{markdown(cell)}{mark}" if cell else "" for cell in row.cells))
    return "\n".join(lines) + "\n"


def as_latex(table: TextTable) -> str:
    """Return a LaTeX table for the booktabs package."""
    marks = {"main": "{}", "strong": r"\textbf{{{}}}", "paper": r"\textit{{{}}}"}
    small = r"{{\footnotesize {}}}"
    columns = "l" * table.n_text + "r" * (len(table.head) - table.n_text)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(latex(title) for title in table.head) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        mark = marks.get(row.kind, small)
        lines.append(" & ".join(mark.format(latex(cell)) if cell else "" for cell in row.cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
