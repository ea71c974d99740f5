"""All runs of a sweep at a glance: a table that changes on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, TextIO

from hemoscope.cli.console import note, percent
from hemoscope.cli.job import tell_death, teller, test_scores
from hemoscope.sweep.plan import PlannedRun

if TYPE_CHECKING:
    from rich.table import Table

    from hemoscope.runs import EpochRow
    from hemoscope.sweep.one import Outcome
    from hemoscope.training.loop import Watcher

__all__ = ["Board", "board"]

ORDER = ("running", "failed", "waiting", "done")
LEFT_OVER = 6  # lines of a terminal that are not runs
STATE_WIDTH = 26  # characters; a reason comes whole at the end


@dataclass(slots=True)
class _Line:
    """What is known of one run."""

    state: str = "waiting"
    where: str = ""
    begun: int = 0
    row: EpochRow | None = None
    epochs: int = 0
    result: str = ""


class Board:
    """Hears of everything in a sweep and shows it.

    Attributes:
        outcomes: How the runs ended, in the order in which they did.
    """

    def __init__(self, planned: Sequence[PlannedRun], *, as_table: bool) -> None:
        self._lines = {item: _Line() for item in planned}
        self._as_table = as_table
        self._began = time.monotonic()
        self.outcomes: list[Outcome] = []

    def watch(self, item: PlannedRun) -> Watcher:
        """Return a run's watcher."""
        from hemoscope.training.loop import Watcher

        line, as_table = self._lines[item], self._as_table
        plain = teller(item.label, lambda *_: None)

        class Hearer(Watcher):
            def on_epoch(self, row: EpochRow, epochs: int) -> None:
                line.state, line.row, line.epochs = "running", row, epochs
                if not as_table:
                    plain.on_epoch(row, epochs)

        return Hearer()

    def started(self, item: PlannedRun, where: str, times: int = 1) -> None:
        """Hear that a run began, or began again, and where."""
        line = self._lines[item]
        line.state, line.where, line.begun = "running", where, times
        if times > 1:
            note(f"{item.label}: its worker is gone; it goes on at {where}")

    def died(self, item: PlannedRun, reason: str) -> None:
        """Hear that a run's process died and that it is tried again."""
        self._lines[item].state = "waiting"
        tell_death(item, reason)

    def ended(self, outcome: Outcome) -> None:
        """Hear how a run ended."""
        self.outcomes.append(outcome)
        item, run, line = outcome.planned, outcome.run, self._lines[outcome.planned]
        line.state, line.result = ("failed", outcome.reason) if run is None else ("done", "")
        if run is None:
            said = "failed"
        else:
            line.result = f"test {percent(test_scores(run)['accuracy'])}"
            rate = (run.card.get("timings") or {}).get("images_per_s") or 0
            said = f"{line.result}, {rate:.0f} images/s"
            said += f", {outcome.elapsed_s:.0f} s" if outcome.fresh else ", was done"
        left_s = self._left_s()
        note(
            f"[{len(self.outcomes)}/{len(self._lines)}] {item.label}: {said}"
            + ("" if left_s is None else f"; about {left_s / 60:.0f} min left")
        )

    def _left_s(self) -> float | None:
        """Return the seconds that the rest takes if it goes on like what was done now; None if nothing was."""
        now = sum(outcome.fresh and outcome.run is not None for outcome in self.outcomes)
        to_do = len(self._lines) - len(self.outcomes)
        return (time.monotonic() - self._began) / now * to_do if now and to_do else None

    def table(self, height: int) -> Table:
        """Return what is known now, in at most so many lines: what goes on first, what is done last."""
        from rich.box import SIMPLE
        from rich.markup import escape
        from rich.table import Table

        counts = {state: sum(line.state == state for line in self._lines.values()) for state in ORDER}
        table = Table(
            title=", ".join(f"{n} {state}" for state, n in counts.items()), title_justify="left", box=SIMPLE
        )
        for head in ("network", "seed", "epoch", "validation", "images/s", "where", "state"):
            table.add_column(head, no_wrap=True)
        shown = sorted(self._lines.items(), key=lambda pair: ORDER.index(pair[1].state))
        for item, line in shown[: max(1, height - LEFT_OVER)]:
            row = line.row
            table.add_row(
                item.arch,
                str(item.seed) + (f" fold {item.fold}" if item.fold else ""),
                f"{row.epoch}/{line.epochs}" if row else "",
                percent(row.val_accuracy) if row else "",
                f"{row.images_per_s:.0f}" if row else "",
                line.where + (f", try {line.begun}" if line.begun > 1 else ""),
                escape(shorten(f"{line.state} {line.result}", STATE_WIDTH, placeholder="…")),
            )
        return table


@contextmanager
def board(planned: Sequence[PlannedRun], stream: TextIO | None = None) -> Iterator[Board]:
    """Show the runs of a sweep while they are done."""
    out = stream or sys.stderr
    shown = Board(planned, as_table=out.isatty())
    with _live(shown, out) if out.isatty() else nullcontext():
        yield shown


def _live(shown: Board, out: TextIO):
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out)
    return Live(
        get_renderable=lambda: shown.table(console.size.height), console=console, redirect_stdout=False
    )
