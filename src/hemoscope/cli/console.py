"""What the verbs print: results on standard output, notes on standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

__all__ = [
    "JsonFlag",
    "note",
    "percent",
    "print_json",
    "print_scores",
    "print_table",
    "printable",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def note(text: str) -> None:
    """Tell the person something that is not a result."""
    typer.echo(printable(text), err=True)


def printable(text: str) -> str:
    """Return a text that moves no cursor and turns no line around, whatever names are in it.

    >>> printable(f"a{chr(27)}[2Jb") == f"a{chr(92)}x1b[2Jb"
    True
    """
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def print_json(value: object) -> None:
    """Print one JSON document to standard output; NaN is null."""
    from hemoscope.encoding import json_text

    text = json_text(value)
    typer.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))  # file names may be any bytes


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage, or n/a for none or NaN.

    >>> percent(0.995136), percent(None)
    ('99.51 %', 'n/a')
    """
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def print_table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print rows as columns; the first row is the head, columns in `right` are aligned right."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    for number, row in enumerate(shown):
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())
        if number == 0:
            typer.echo("  ".join("-" * w for w in widths))


def print_scores(scores: Mapping[str, Any]) -> None:
    """Print accuracy with its interval, then a line a class."""
    low, high = scores["accuracy_ci"]
    typer.echo(
        f"accuracy {percent(scores['accuracy'])} (95 % interval {percent(low)} to {percent(high)}), "
        f"{scores['errors']} error{'s' * (scores['errors'] != 1)} in {scores['n']:,} image{'s' * (scores['n'] != 1)}"
    )
    rows = [["class", "precision", "sensitivity", "specificity", "images"]]
    for name, c in scores["classes"].items():
        rows.append([name, *(percent(c[k]) for k in rows[0][1:4]), str(c["support"])])
    absent = scores["without_images"]
    label = f"mean of {len(scores['classes']) - len(absent)} classes" if absent else "mean of classes"
    rows.append([label, *(percent(scores["macro"][k]) for k in rows[0][1:4]), str(scores["n"])])
    print_table(rows, right=(1, 2, 3, 4))
    if absent:
        typer.echo(printable(f"no images, and left out of the means: {', '.join(absent)}"))
