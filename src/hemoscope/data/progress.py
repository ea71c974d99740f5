"""Show how far a transfer is, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from hemoscope.transfer import Progress

__all__ = ["byte_progress"]


@contextmanager
def byte_progress(stream: TextIO | None = None, *, every_s: float = 5.0) -> Iterator[Progress]:
    """Give a `Progress` for `fetch`.

    Args:
        stream: Where to write; standard error by default.
        every_s: Time between plain lines.
    """
    from rich.console import Console

    console = Console(file=stream or sys.stderr, soft_wrap=True, highlight=False, markup=False)
    if console.is_terminal:
        from rich import progress as rich

        columns = (
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.DownloadColumn(),
            rich.TransferSpeedColumn(),
            rich.TimeRemainingColumn(),
        )
        with rich.Progress(*columns, console=console) as bar:
            tasks: dict[str, rich.TaskID] = {}

            def draw(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, completed=done)
                bar.update(tasks[what], completed=done, total=total or None)

            yield draw
    else:
        lines = _Lines(every_s)

        def write(what: str, done: int, total: int) -> None:
            line = lines.line(what, done, total, now_s=time.monotonic())
            if line:
                console.print(line)

        yield write


class _Lines:
    """Decides when a plain line is due, and what it says."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._what = ""
        self._start_s = self._last_s = 0.0
        self._start_bytes = 0
        self._last_bytes = -1

    def line(self, what: str, done: int, total: int, *, now_s: float) -> str | None:
        """Return the line that is due now, if one is."""
        if what != self._what or done < self._last_bytes:  # new, or started over
            self._what, self._start_s, self._start_bytes = what, now_s, done
        elif now_s - self._last_s < self._every_s and (done != total or done == self._last_bytes):
            self._last_bytes = done
            return None
        self._last_s, self._last_bytes = now_s, done
        size = f"{_mb(done)} of {_mb(total)} MB ({done / total:.0%})" if total else f"{_mb(done)} MB"
        rate = (done - self._start_bytes) / max(now_s - self._start_s, 1e-9)
        if done == self._start_bytes:
            return f"{what}: {size}"
        left = f", {(total - done) / rate:.0f} s left" if total > done else ""
        return f"{what}: {size}, {_mb(rate)} MB/s{left}"


def _mb(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.1f}"
