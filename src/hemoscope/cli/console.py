"""What the verbs print: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Protocol, TypeVar

import typer

__all__ = [
    "JsonFlag",
    "Progress",
    "counted",
    "note",
    "percent",
    "print_json",
    "print_scores",
    "print_table",
    "printable",
    "progress",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

PLAIN_EVERY_S = 10.0

T = TypeVar("T")


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is; None: not known."""

    def __call__(self, what: str, done: int, total: int | None) -> None:  # noqa: D102  (the class says it)
        ...


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
    from hemoscope.runs import jsonable

    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    typer.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))  # file names may be any bytes


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage, or n/a.

    >>> percent(0.995136), percent(None)
    ('99.51 %', 'n/a')
    """
    return "n/a" if value is None else f"{100 * value:.{digits}f} %"


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
        f"{scores['errors']} errors in {scores['n']:,} images"
    )
    rows = [["class", "precision", "sensitivity", "specificity", "images"]]
    for name, c in scores["classes"].items():
        rows.append([name, *(percent(c[k]) for k in rows[0][1:4]), str(c["support"])])
    rows.append(["mean of classes", *(percent(scores["macro"][k]) for k in rows[0][1:4]), str(scores["n"])])
    print_table(rows, right=(1, 2, 3, 4))


@contextmanager
def progress() -> Iterator[Progress]:
    """Give a progress function: a bar with rate and time left on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        yield from _bars()
    else:
        yield _plain_lines()


def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as RichProgress,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # Results go to standard output as they are, also while there is a bar on standard error.
    with RichProgress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="")
            speed = next(t.speed for t in bars.tasks if t.id == tasks[what])
            bars.update(tasks[what], completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")
            if done == total:  # a sweep has hundreds of epochs, each a bar
                bars.remove_task(tasks.pop(what))

        yield report


def _plain_lines() -> Progress:
    began: dict[str, float] = {}
    said: dict[str, float] = {}

    def report(what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        began.setdefault(what, now)
        more = total is None or done < total
        if now - said.get(what, began[what]) < PLAIN_EVERY_S and (more or what not in said):
            return
        said[what] = now
        elapsed = now - began[what]
        rate = done / elapsed if elapsed > 0 else 0.0
        of = "" if total is None else f" of {total:,}"
        left = f", {(total - done) / rate:.0f} s left" if rate and total is not None and more else ""
        note(f"{what}: {done:,}{of}" + (f", {rate:,.0f}/s{left}" if rate else ""))

    return report


@contextmanager
def counted(what: str, items: Iterable[T], total: int | None) -> Iterator[Iterator[T]]:
    """Give the items, with progress while they are taken."""
    with progress() as tell:

        def each() -> Iterator[T]:
            for done, item in enumerate(items, 1):
                yield item
                tell(what, done, total)

        yield each()
