"""The run folder: what lies in it, a DONE marker written last, and the index over many runs.

    runs/resnet18-paper-s0-1a2b3c4d/
      run.json             what was run, on what, with what result (the run card)
      history.csv          one line an epoch
      predictions.parquet  split, path, target, pred, prob_<class> of val and test
      model.safetensors
      DONE                 written last

Reading a run never needs a network, a GPU or an image. This module never trains and never
imports torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hemoscope.errors import RunError
from hemoscope.files import sha256_of
from hemoscope.predictions_file import read_predictions, write_predictions
from hemoscope.records import Predictions

__all__ = [
    "EVALUATED",
    "EpochRow",
    "Run",
    "find_runs",
    "format_history",
    "write_predictions",
]

CARD, HISTORY, PREDICTIONS, MODEL, DONE = (
    "run.json",
    "history.csv",
    "predictions.parquet",
    "model.safetensors",
    "DONE",
)
EVALUATED = "evaluated"
"""Policy of the split in a card whose test side is cells that were scored later, as `hemoscope evaluate --out` writes it."""


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One line of history.csv: means over one epoch; rates are images per second of the epoch."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    images_per_s: float


@dataclass(frozen=True)
class Run:
    """One run folder, read lazily.

    Attributes:
        path: The folder.
        card: The parsed run.json.
    """

    path: Path
    card: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open one run folder, finished or not.

        Raises:
            RunError: If the folder holds no readable run card.
        """
        from hemoscope.run_card import read_card

        if path.is_file():
            raise RunError(
                f"{path} is a file; expected a run folder, such as runs/NAME. If it is a bundle, its own scores are "
                f"shown by: hemoscope bundle show {path}"
            )
        try:
            card = read_card(path / CARD, done=(path / DONE).is_file())
        except FileNotFoundError:
            raise RunError(f"expected a run folder with {CARD}; {path} holds none") from None
        return cls(path=path, card=card)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def done(self) -> bool:
        """Whether the run finished."""
        return (self.path / DONE).is_file()

    @property
    def arch(self) -> str:
        """Architecture name in the registry."""
        return self.card["arch"]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.card["seed"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in target order."""
        return tuple(self.card["data"]["classes"])

    def verified(self, name: str) -> Path:
        """Return the path of one of the run's files, read whole and compared with the card's digest of it.

        Raises:
            RunError: If it is missing or holds other bytes. Runs from before digests are taken as they are.
        """
        path, wanted = self.path / name, (self.card.get("files") or {}).get(name)
        try:
            found = sha256_of(path)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror or error}; run it again") from error
        if wanted not in (None, found):
            raise RunError(
                f"{path} is damaged: expected SHA-256 {wanted[:16]}, got {found[:16]}; delete the folder and run again"
            )
        return path

    @cached_property
    def history(self) -> tuple[EpochRow, ...]:
        """The epochs in order; empty before the first one ends.

        Raises:
            RunError: If the file is damaged, or lacks an epoch of a run that finished.
        """
        path = self.path / HISTORY
        if not path.is_file():
            return ()
        try:
            rows = csv.DictReader(io.StringIO(path.read_text("utf-8")), strict=True)
            found = tuple(
                EpochRow(
                    epoch=int(row["epoch"]),
                    **{f.name: float(row[f.name]) for f in fields(EpochRow) if f.name != "epoch"},
                )
                for row in rows
            )
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise RunError(f"{path} is damaged: {error}; expected the file that training writes") from error
        epochs = self.card["recipe"].get("epochs", len(found)) if self.done else len(found)
        if [row.epoch for row in found] != list(range(1, len(found) + 1)) or len(found) != epochs:
            raise RunError(f"{path} is damaged: expected epochs 1 to {epochs}, got {len(found)} lines")
        return found

    def predictions(self, side: Literal["val", "test"]) -> Predictions:
        """Return the predictions of one side, ordered by path.

        Raises:
            RunError: If they are missing or do not fit the run's classes.
        """
        return self._sides[side]

    @cached_property
    def _sides(self) -> dict[str, Predictions]:
        import pyarrow as pa

        path = self.verified(PREDICTIONS)
        try:
            sides = read_predictions(path, self.classes)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise RunError(
                f"{path} cannot be read: {error}; expected the file that training writes"
            ) from error
        for side, found in sides.items():
            if problem := found.problem():
                raise RunError(f"{path} is damaged: its {side} side {problem}; run it again")
        return sides


def find_runs(
    root: Path, *, done_only: bool = True, on_damage: Callable[[str, RunError], None] | None = None
) -> list[Run]:
    """Return the runs below a folder (or the folder itself, if it is one), ordered by name.

    Args:
        root: The folder.
        done_only: Leave out runs that did not finish.
        on_damage: Called with the name of a run that cannot be opened, and why, in place of an error.

    Raises:
        RunError: If there is none, or one cannot be opened.
    """
    candidates = [root] if (root / CARD).is_file() else sorted(p.parent for p in root.glob(f"*/{CARD}"))
    runs: list[Run] = []
    damage: list[str] = []
    for path in candidates:
        try:
            runs.append(Run.open(path))
        except RunError as error:
            if on_damage is None:
                raise
            damage.append(str(error))
            on_damage(path.name, error)
    found = [run for run in runs if run.done or not done_only]
    if not found:
        states = [*([f"{len(runs)} unfinished"] if runs else []), *damage]
        raise RunError(
            f"expected finished runs in {root}, found {'; '.join(states) or 'none'}. "
            f"Train some: hemoscope benchmark --data DIR --out {root}"
        )
    return found


def format_history(rows: Sequence[EpochRow]) -> str:
    """Return history.csv's text.

    >>> print(format_history([EpochRow(1, 0.001, 0.5, 0.9, 0.25, 0.95, 70.04)]).splitlines()[1])
    1,0.001,0.5,0.9,0.25,0.95,70.0
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        values["images_per_s"] = f"{row.images_per_s:.1f}"
        writer.writerow({k: f"{v:.8g}" if isinstance(v, float) else v for k, v in values.items()})
    return out.getvalue()
