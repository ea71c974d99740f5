"""How far a verb is, on standard error: bars with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

from hemoscope.progress import Progress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID

__all__ = ["byte_progress", "counted", "progress"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is counted: things, or bytes of a transfer.

    Attributes:
        in_bytes: Whether it is bytes.
        every_s: Time between plain lines.
        at_once: Whether the first plain line comes with the first call.
    """

    in_bytes: bool
    every_s: float
    at_once: bool

    def amount(self, done: int, total: int | None) -> str:
        """Return how much of how much."""
        if not self.in_bytes:
            return f"{done:,}" if total is None else f"{done:,} of {total:,}"
        if not total:
            return f"{done / 1e6:.1f} MB"
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB ({done / total:.0%})"

    def rate(self, per_s: float) -> str:
        """Return a rate."""
        return f"{per_s / 1e6:.1f} MB/s" if self.in_bytes else f"{per_s:,.0f}/s"


_BAR_EVERY_S = 0.05  # a bar costs ten times what it takes to remember an image

_THINGS = _Unit(in_bytes=False, every_s=10.0, at_once=False)
_BYTES = _Unit(in_bytes=True, every_s=5.0, at_once=True)


@contextmanager
def progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Give a function to call with what is being done, how much is done and how much there is."""
    with _shown(_THINGS, stream) as report:
        yield report


@contextmanager
def byte_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Give the same for the bytes of a transfer."""
    with _shown(_BYTES, stream) as report:
        yield report


@contextmanager
def counted(what: str, items: Iterable[T], total: int | None) -> Iterator[Iterator[T]]:
    """Give the items, with progress while they are taken."""
    with progress() as report:

        def each() -> Iterator[T]:
            for done, item in enumerate(items, 1):
                yield item
                report(what, done, total)

        yield each()


@contextmanager
def _shown(unit: _Unit, stream: TextIO | None) -> Iterator[Progress]:
    out: TextIO = stream or sys.stderr
    if out.isatty():
        yield from _bars(unit, out)
    else:
        yield _lines(unit, out)


def _bars(unit: _Unit, stream: TextIO) -> Iterator[Progress]:
    from rich import progress as rich
    from rich.console import Console

    # Results go to standard output as they are, also while there is a bar on standard error.
    console = Console(file=stream)
    staying = unit.in_bytes  # a transfer is an event; a sweep has hundreds of epochs, each a bar
    with rich.Progress(
        *_columns(unit), console=console, transient=not staying, redirect_stdout=False
    ) as bars:
        tasks: dict[str, TaskID] = {}
        shown = -math.inf

        def report(what: str, done: int, total: int | None, /) -> None:
            nonlocal shown
            now = time.monotonic()
            if what in tasks and done != total and now - shown < _BAR_EVERY_S:
                return
            shown = now
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="")
            speed = next(task.speed for task in bars.tasks if task.id == tasks[what])
            bars.update(tasks[what], completed=done, total=total, rate=unit.rate(speed) if speed else "")
            if done == total and not staying:
                bars.remove_task(tasks.pop(what))

        yield report


def _columns(unit: _Unit) -> list[ProgressColumn]:
    from rich import progress as rich

    return [
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn() if unit.in_bytes else rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
    ]


def _lines(unit: _Unit, stream: TextIO) -> Progress:
    """Return a function that writes a line when one is due: in time, and at the end of what had one before."""
    from hemoscope.cli.console import printable

    began: dict[str, tuple[float, int]] = {}  # when, and how much was done by then
    said: dict[str, float] = {}

    def report(what: str, done: int, total: int | None, /) -> None:
        now = time.monotonic()
        if what not in began or done < began[what][1]:  # new, or a transfer that started over
            began[what] = now, done
            said.pop(what, None)
            due = unit.at_once
        else:
            due = now - said.get(what, began[what][0]) >= unit.every_s or (what in said and done == total)
        if not due:
            return
        said[what] = now
        since, first = began[what]
        rate = (done - first) / (now - since) if done > first and now > since else 0.0
        line = f"{what}: {unit.amount(done, total)}"
        if rate:
            line += f", {unit.rate(rate)}"
            line += f", {(total - done) / rate:.0f} s left" if total and done < total else ""
        print(printable(line), file=stream, flush=True)

    return report
