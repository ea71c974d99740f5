"""Trackers kept up to date while runs train. Nothing that goes wrong with one costs a run anything but a line.

After every epoch the whole run folder is told anew, as `hemoscope track` does afterwards; what a tracker knows already
is not told again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hemoscope.errors import HemoscopeError
from hemoscope.runs import EpochRow, Run
from hemoscope.tracking.record import Tracker, has_begun, record_of
from hemoscope.training.loop import Watcher

__all__ = ["Live"]


class Live:
    """Brings trackers up to date, and leaves one alone for the rest of a run once it has failed."""

    def __init__(self, trackers: Sequence[Tracker], tell: Callable[[str], None]) -> None:
        """Ask nobody yet.

        Args:
            trackers: Whom to tell; there may be none.
            tell: Called with a line where one of them fails.
        """
        self._trackers, self._tell = tuple(trackers), tell
        self._lost: set[tuple[str, Path]] = set()

    def follow(self, folder: Callable[[], Path], watcher: Watcher) -> Watcher:
        """Return a watcher that hears what `watcher` hears and keeps the trackers up to date.

        Args:
            folder: Gives the run folder; asked where there is a tracker.
            watcher: Who else hears of the run.
        """
        return _Following(self, folder, watcher) if self._trackers else watcher

    @contextmanager
    def at_the_end(self, folder: Callable[[], Path]) -> Iterator[None]:
        """Tell what is in a run folder when the block ends, well or by an error; Ctrl-C waits for nobody."""
        try:
            yield
        except Exception:
            self.bring(folder)
            raise
        self.bring(folder)

    def bring(self, folder: Callable[[], Path]) -> None:
        """Tell what is in a run folder now."""
        if not self._trackers:
            return
        try:
            path = folder()
        except (HemoscopeError, OSError):  # the run itself stops for the same reason
            return
        for tracker in self._trackers:
            if (tracker.name, path) not in self._lost:
                self._bring(tracker, path)

    def _bring(self, tracker: Tracker, path: Path) -> None:
        try:
            if not path.is_dir() or not has_begun(run := Run.open(path)):
                return
            tracker.bring(record_of(run))
        except Exception as error:  # noqa: BLE001  whatever it is, training goes on
            self._lost.add((tracker.name, path))
            reason = " ".join(str(error).split()) or type(error).__name__
            self._tell(
                f"warning: {path.name} is not tracked any more: {reason}. Training goes on; afterwards: "
                f"hemoscope track {path} --to {tracker.name}"
            )


class _Following(Watcher):
    """Passes on what it hears, then brings the trackers up to date."""

    def __init__(self, live: Live, folder: Callable[[], Path], watcher: Watcher) -> None:
        self._live, self._folder, self._watcher = live, folder, watcher

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Pass it on."""
        self._watcher.on_step(epoch, step, steps)

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Pass it on, and tell the trackers."""
        self._watcher.on_epoch(row, epochs)
        self._live.bring(self._folder)
