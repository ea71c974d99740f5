"""All runs at a glance: what goes on first, no more lines than the terminal has, a reason never taken for markup."""

from __future__ import annotations

import io

from rich.console import Console

from hemoscope.cli.board import LEFT_OVER, Board
from hemoscope.runs import EpochRow
from hemoscope.sweep.one import Outcome
from hemoscope.sweep.plan import plan


def _shown(board: Board, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=110)
    with console.capture() as caught:
        console.print(board.table(height))
    return caught.get().splitlines()


def test_what_runs_stands_first_and_a_reason_as_it_is():
    planned = plan(["alexnet", "resnet18", "densenet121"], [0, 1])
    board = Board(planned, as_table=True)
    board.ended(Outcome(planned[0], None, "[red]loss is NaN", fresh=True, elapsed_s=1.0))
    board.started(planned[4], "10.0.0.5", 2)
    board.watch(planned[4]).on_epoch(EpochRow(3, 0.01, 0.5, 0.9, 0.2, 0.9312, 123.4), 25)
    lines = _shown(board, 40)
    assert lines[0].strip() == "1 running, 1 failed, 4 waiting, 0 done"
    runs = [line for line in lines if line.strip().startswith(("alexnet", "resnet18", "densenet121"))]
    assert len(runs) == 6
    for word in ("resnet18", "3/25", "93.12 %", "123", "10.0.0.5, try 2", "running"):
        assert word in runs[0]
    assert "failed [red]loss is NaN" in runs[1]


def test_a_long_sweep_fits_the_terminal():
    board = Board(plan([f"net{i}" for i in range(27)], range(3)), as_table=True)
    for height in (10, 24, 50):
        assert len(_shown(board, height)) <= max(height, LEFT_OVER + 1)
