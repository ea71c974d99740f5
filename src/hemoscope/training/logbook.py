"""What a run keeps while it trains, so that a killed one goes on, and what it leaves when it is done.

The run folder is written here and nowhere else in training; only the card has a file of its own.
"""

from __future__ import annotations

import time
from pathlib import Path

from hemoscope.files import write_text
from hemoscope.models.tensor_file import write_tensors
from hemoscope.records import Predictions
from hemoscope.runs import DONE, HISTORY, MODEL, PREDICTIONS, EpochRow, format_history, write_predictions
from hemoscope.training.card import RunCard
from hemoscope.training.checkpoint import FILE, Pace, State, load_checkpoint, save_checkpoint
from hemoscope.training.device import Device
from hemoscope.training.epochs import Clock
from hemoscope.training.recipe import Recipe

__all__ = ["Logbook"]

BEST = f"best.{MODEL}"


class Logbook:
    """The run folder of one job, held by the caller.

    Args:
        folder: The run folder.
        state: What training changes.
        recipe: How it is trained.
        digest: The job's.
        clock: Hears what saving takes.
        writes: Off where another rank does.

    Attributes:
        history: The epochs that ended, over all processes that worked on the run.
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        *,
        recipe: Recipe,
        digest: str,
        clock: Clock,
        writes: bool = True,
    ) -> None:
        """Bring the state to where an earlier process stopped.

        Raises:
            RunError: If what was saved is damaged or another job's.
        """
        self._folder, self._state = folder, state
        self._recipe, self._digest, self._clock = recipe, digest, clock
        self._writes = writes
        self._pace = Pace()
        self.history, self._train_s = load_checkpoint(folder, state, digest=digest)

    def add(self, row: EpochRow, train_s: float) -> None:
        """Keep an epoch that ended: its line, the best weights so far, and a checkpoint where one is due."""
        if not self._writes:
            self.history.append(row)
            return
        before = max((earlier.val_accuracy for earlier in self.history), default=-1.0)
        best = self._recipe.select_epoch == "best_val" and row.val_accuracy > before
        if best:
            write_tensors(self._folder / BEST, self._state.scored.state_dict(), {"epoch": str(row.epoch)})
        self.history.append(row)
        self._train_s += train_s
        start = time.perf_counter()
        if (
            best or row.epoch == self._recipe.epochs or self._pace.due(start)
        ):  # a kept best is one of the history
            save_checkpoint(
                self._folder,
                self._state,
                history=self.history,
                digest=self._digest,
                train_s=self._train_s,
            )
            self._pace.saved(start, self._clock.add("save_s", start))
        write_text(self._folder / HISTORY, format_history(self.history))

    def load_best(self) -> None:
        """Bring the scored network to its best epoch on validation."""
        from safetensors.torch import load_file

        self._state.scored.load_state_dict(load_file(self._folder / BEST))

    def finish(
        self,
        card: RunCard,
        *,
        val: Predictions,
        test: Predictions,
        about: dict[str, str],
        images: int,
        device: Device,
    ) -> None:
        """Write everything a finished run is, DONE last, and remove what only an unfinished one needs.

        Args:
            card: The run card to complete.
            val: Predictions on the validation images.
            test: Predictions on the test images.
            about: What the weights say of themselves.
            images: Training images seen, over all epochs.
            device: Where it was trained.
        """
        if not self._writes:
            return
        write_text(self._folder / HISTORY, format_history(self.history))
        write_predictions(self._folder / PREDICTIONS, {"val": val, "test": test})
        write_tensors(self._folder / MODEL, self._state.scored.state_dict(), about)
        card.finish(
            val=val,
            test=test,
            seconds=self._clock.seconds | {"other_s": self._clock.other_s},
            train_s=self._train_s,
            images=images,
            device=device,
        )
        write_text(self._folder / DONE, f"{self._digest}\n")
        for name in (FILE, BEST):
            (self._folder / name).unlink(missing_ok=True)
        for part in self._folder.glob(".*.part"):  # of processes that were killed while they wrote
            part.unlink()
