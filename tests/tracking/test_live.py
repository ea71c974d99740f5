"""Trackers follow a run while it trains, and cost it nothing when they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemoscope.errors import RunError
from hemoscope.runs import EpochRow
from hemoscope.tracking.live import Live
from hemoscope.tracking.on_tensorboard import OnTensorBoard
from hemoscope.tracking.record import Brought, Record
from hemoscope.training.loop import Watcher
from tests.tracking.conftest import EPOCHS, Training

ROW = EpochRow(1, 0.001, 0.5, 0.9, 0.4, 0.95, 70.0)


class Noted(Watcher):
    def __init__(self) -> None:
        self.heard: list[int] = []

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        self.heard.append(step)

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        self.heard.append(-row.epoch)


class Book:
    """A tracker that keeps what it is told, until it breaks."""

    name, where = "mlflow", "here"

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked, self.told, self._breaks_at = 0, [], breaks_at

    def bring(self, record: Record, *, weights: bool = False) -> Brought:
        self.asked += 1
        if self.asked == self._breaks_at:
            raise ValueError("no\nroom left")
        self.told.append((record.name, record.state, len(record.points)))
        return Brought(False, 0)


def test_every_epoch_and_the_end_are_told_and_the_others_hear_as_before(training: Training):
    book, noted, lines = Book(), Noted(), []
    live = Live([book], lines.append)
    watcher = live.follow(lambda: training.folder, noted)
    with live.at_the_end(lambda: training.folder):
        watcher.on_step(1, 3, 4)
        for epoch in (1, 2):
            training.at(epoch)
            watcher.on_epoch(ROW, EPOCHS)
        training.at(EPOCHS, done=True)
    name = training.folder.name
    assert book.told[:2] == [(name, "running", 6), (name, "running", 12)]
    assert book.told[2][1] == "done"
    assert noted.heard == [3, -1, -1]
    assert not lines


def test_a_tracker_that_breaks_is_left_alone_for_that_run_with_one_line(training: Training, tmp_path: Path):
    broken, sound, lines = Book(breaks_at=2), OnTensorBoard(tmp_path / "board"), []
    live = Live([broken, sound], lines.append)
    watcher = live.follow(lambda: training.folder, Watcher())
    for epoch in (1, 2, 3):
        training.at(epoch)
        watcher.on_epoch(ROW, EPOCHS)
    live.bring(lambda: training.folder)
    assert broken.asked == 2
    (line,) = lines
    assert line == (
        f"warning: {training.folder.name} is not tracked any more: no room left. Training goes on; afterwards: "
        f"hemoscope track {training.folder} --to mlflow"
    )
    other = Training(training.folder.with_name("other"), tmp_path / "whole" / training.folder.name)
    other.at(1)
    live.bring(lambda: other.folder)
    assert broken.told[-1][0] == "other"
    assert {path.name for path in (tmp_path / "board").iterdir()} == {training.folder.name, "other"}


def test_what_stops_the_run_is_told_and_raised(training: Training):
    book, lines = Book(), []
    live = Live([book], lines.append)

    def stopped() -> None:
        with live.at_the_end(lambda: training.folder):
            training.at(1, failed="it diverged")
            raise RunError("it diverged")

    with pytest.raises(RunError):
        stopped()
    assert [state for _, state, _ in book.told] == ["failed"]
    assert not lines


def test_a_run_that_has_no_folder_yet_or_cannot_have_one_is_not_told(tmp_path: Path):
    book, lines = Book(), []
    live = Live([book], lines.append)
    live.bring(lambda: tmp_path / "none")

    def no_weights() -> Path:
        raise RunError("there are no weights")

    live.bring(no_weights)
    assert not book.told
    assert not lines


def test_without_trackers_nobody_is_between(training: Training):
    watcher = Watcher()
    assert Live([], print).follow(lambda: training.folder, watcher) is watcher
