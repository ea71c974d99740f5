r"""A table as LaTeX, and a document that sets all tables of a report.

Short tables float; long ones, and several in one file, are `longtable`s that break over pages between
their groups of rows. Every table compiles by itself, with the packages that its first line names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hemoscope.report.formats import latex
from hemoscope.report.texttable import Row, TextTable

__all__ = ["PACKAGES", "as_latex", "document"]

PACKAGES = ("array", "booktabs", "longtable")
_LONGEST_FLOAT = 40  # lines of a table that still fits a page with its caption
_LONGEST_WORD = 26  # characters of a text column that is not broken into lines
_WIDE = 8  # columns from which a table is set in small type
_MARKS = {"main": "{}", "strong": r"\textbf{{{}}}", "paper": r"\textit{{{}}}"}
_SMALL = r"{{\footnotesize {}}}"
_TINY = r"{{\tiny {}}}"


def as_latex(tables: Sequence[TextTable]) -> str:
    """Return one file that holds the tables."""
    long = len(tables) > 1 or any(len(table.rows) > _LONGEST_FLOAT for table in tables)
    needed = ",".join(PACKAGES)
    lines = [rf"% needs \usepackage[T1]{{fontenc}} and \usepackage{{{needed}}}"]
    if not all(_latin(text) for table in tables for text in _texts(table)):
        lines.append(
            "% holds letters beyond Latin-1: set it with lualatex or xelatex and a font that has them"
        )
    for table in tables:
        lines += _longtable(table) if long else _float(table)
    return "\n".join(lines) + "\n"


def document(names: Iterable[str], tables: Iterable[TextTable]) -> str:
    """Return a document that sets the files of these names; pdfLaTeX, LuaLaTeX and XeLaTeX all compile it.

    pdfLaTeX knows few letters beyond Latin-1; the others show there as their code point.

    Args:
        names: Stems of the `.tex` files beside it.
        tables: What these files hold.
    """
    foreign = sorted({c for table in tables for text in _texts(table) for c in text if not _latin(c)})
    declared = [
        rf"  \ifcsname u8:\detokenize{{{c}}}\endcsname\else\DeclareUnicodeCharacter{{{ord(c):04X}}}{{U+{ord(c):04X}}}\fi"
        for c in foreign
    ]
    lines = [
        r"\documentclass[a4paper]{article}",
        r"\usepackage{iftex}",
        r"\ifPDFTeX",
        r"  \usepackage[T1]{fontenc}",
        *declared,
        r"\fi",
        r"\usepackage{lmodern}",
        r"\usepackage[landscape,margin=15mm]{geometry}",
        rf"\usepackage{{{','.join(PACKAGES)}}}",
        r"\begin{document}",
        *(rf"\input{{{name}}}\clearpage" for name in names),
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def _float(table: TextTable) -> list[str]:
    return [
        r"\begin{table}",
        r"\centering",
        _type_size(table),
        rf"\caption{{{latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{_columns(table)}}}",
        r"\toprule",
        _head(table),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _longtable(table: TextTable) -> list[str]:
    head = [r"\toprule", _head(table), r"\midrule"]
    again = rf"\multicolumn{{{len(table.head)}}}{{l}}{{\textit{{Continued}}}} \\"
    # An empty \caption[] would still count; a continued table takes none, and keeps its number.
    caption = (
        [rf"\multicolumn{{{len(table.head)}}}{{l}}{{{latex(table.caption)}}} \\"]
        if table.continues
        else [rf"\caption{{{latex(table.caption)}}}\label{{tab:{table.name}}} \\"]
    )
    numbered = [r"\addtocounter{table}{-1}"] if table.continues else []
    return [
        rf"\begingroup{_type_size(table)}\setlength{{\LTcapwidth}}{{\linewidth}}",
        *numbered,
        rf"\begin{{longtable}}{{{_columns(table)}}}",
        *caption,
        *head,
        r"\endfirsthead",
        again,
        *head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *_body(table),
        r"\end{longtable}",
        r"\endgroup",
    ]


def _type_size(table: TextTable) -> str:
    size = r"\scriptsize" if len(table.head) > _WIDE else r"\small"
    between = "2.5pt" if len(table.head) > _WIDE else "5pt"
    return rf"{size}\setlength{{\tabcolsep}}{{{between}}}\setlength{{\belowcaptionskip}}{{6pt}}"


def _columns(table: TextTable) -> str:
    """Return the column types; text that is too long for one line gets a share of the line's width."""
    widths = [
        max(len(row.cells[i]) for row in table.rows if len(row.cells) > i) if table.rows else 0
        for i in range(table.n_text)
    ]
    long = sum(min(width, 90) for width in widths if width > _LONGEST_WORD)
    short = sum(width for width in widths if width <= _LONGEST_WORD)
    room = max(0.3, 0.9 - 0.016 * short) if table.n_text == len(table.head) else 0.3
    text = "".join(
        "l"
        if width <= _LONGEST_WORD
        else rf">{{\raggedright\arraybackslash}}p{{{room * min(width, 90) / long:.2f}\linewidth}}"
        for width in widths
    )
    return text + "r" * (len(table.head) - table.n_text)


def _head(table: TextTable) -> str:
    return " & ".join(latex(title) for title in table.head) + r" \\"


def _body(table: TextTable) -> list[str]:
    r"""Return the rows; `\\*` forbids a page break inside a group."""
    small = _TINY if len(table.head) > _WIDE else _SMALL
    lines: list[str] = []
    for group in table.groups:
        if lines and len(group) > 1:
            lines.append(r"\addlinespace")
        for left, row in enumerate(group, start=1 - len(group)):
            lines.append(_line(table, row, small) + (r" \\*" if left else r" \\"))
    return lines


def _line(table: TextTable, row: Row, small: str) -> str:
    if row.kind == "section":
        return rf"\multicolumn{{{len(table.head)}}}{{l}}{{\textit{{{latex(row.cells[0])}}}}}"
    mark = _MARKS.get(row.kind, small)
    return " & ".join(mark.format(latex(cell)) if cell else "" for cell in row.cells)


def _texts(table: TextTable) -> Iterable[str]:
    yield table.caption
    yield from table.head
    for row in table.rows:
        yield from row.cells


def _latin(text: str) -> bool:
    return all(c <= "\xff" or latex(c) != c for c in text)
