"""The run folder: atomic files, a DONE marker written last, and the index over many runs.

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
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hemoscope.errors import DataError, RunError
from hemoscope.plain_files import check_plain
from hemoscope.records import Predictions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "EpochRow",
    "Run",
    "atomic_path",
    "find_runs",
    "format_history",
    "from_cell",
    "from_text",
    "jsonable",
    "lock_folder",
    "new_folder",
    "refuse_existing",
    "refuse_occupied",
    "sha256_of",
    "to_cell",
    "to_text",
    "write_json",
    "write_predictions",
    "write_text",
]

CARD, HISTORY, PREDICTIONS, MODEL, DONE = (
    "run.json",
    "history.csv",
    "predictions.parquet",
    "model.safetensors",
    "DONE",
)


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
    card: Mapping[str, Any]

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
    def finished_at(self) -> float:
        """When the run finished, in seconds since the epoch; 0 if it did not."""
        done = self.path / DONE
        return done.stat().st_mtime if done.is_file() else 0.0

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
        import pyarrow.parquet as pq

        path = self.verified(PREDICTIONS)
        columns = [f"prob_{name}" for name in self.classes]
        try:
            # ParquetFile and not read_table, which imports a query engine for a second.
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(columns=["split", "path", "target", "pred", *columns])
            _refuse_empty_cells(table)
            names = np.array([from_text(path) for path in table["path"].to_pylist()], dtype=object)
            split = np.array(table["split"].to_pylist(), dtype=object)
            probs = np.stack([table[name].to_numpy() for name in columns], axis=1).astype(np.float64)
            target, pred = (table[name].to_numpy().astype(np.int64) for name in ("target", "pred"))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise RunError(
                f"{path} cannot be read: {error}; expected the file that training writes"
            ) from error
        sides: dict[str, Predictions] = {}
        for side in ("val", "test"):
            rows = np.flatnonzero(split == side)
            rows = rows[np.argsort(names[rows], kind="stable")]
            sides[side] = Predictions(self.classes, tuple(names[rows]), target[rows], probs[rows], pred[rows])
            if problem := sides[side].problem():
                raise RunError(f"{path} is damaged: its {side} side {problem}; run it again")
        return sides


def _refuse_empty_cells(table: pa.Table) -> None:
    empty = [
        name for name, column in zip(table.column_names, table.columns, strict=True) if column.null_count
    ]
    if empty:
        raise ValueError(f"it has empty cells in {', '.join(empty)}")


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


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path` in one step.

    A crash leaves the old file or none, never half of one. What a killed process has left of the same file is
    deleted: its lock died with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        _delete_abandoned(left)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    # Not by tempfile, whose files are for one person: who may read the result, the user's umask says.
    held = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        _lock(held)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if os.name == "nt":  # an open file cannot be renamed there, nor deleted by anybody else
            os.close(held)
            held = -1
        part.replace(path)
    finally:
        if held >= 0:
            os.close(held)
        part.unlink(missing_ok=True)


def _lock(file: int) -> bool:
    """Hold an open file until this process ends; whether nobody else does."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows; somebody's; a file system without locks
        return False
    return True


def _delete_abandoned(part: Path) -> None:
    with suppress(OSError):
        if os.name == "nt":
            part.unlink()  # refused while somebody has it open
            return
        file = os.open(part, os.O_RDWR)
        try:
            if _lock(file):
                part.unlink()
        finally:
            os.close(file)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `folder` in one step, or is gone after an error.

    Beside it, in its parent, is room for what is not to arrive.

    Raises:
        DataError: If something is there already, before or after the work.
    """
    refuse_occupied(folder)
    folder = folder.resolve()  # a link to an empty folder stays
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rmdir()  # empty; Windows does not rename over it, and a mounted one is refused before the work
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        filled = scratch / "out"  # the scratch folder itself is for one person only
        filled.mkdir()
        yield filled
        refuse_occupied(folder)
        filled.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder to write that holds anything, or is a file.

    Raises:
        DataError: If so.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is there already; expected it to be absent or an empty folder. It is left alone and "
            "nothing was written; choose another, or delete it first"
        )


def refuse_existing(*paths: Path, overwrite: bool = False) -> None:
    """Refuse to write what is there already, before any work; with `overwrite` only folders are refused.

    Raises:
        DataError: With all that is there.
    """
    there = [str(path) for path in paths if (path.is_dir() if overwrite else os.path.lexists(path))]
    if there and overwrite:
        raise DataError(f"{', '.join(there)}: expected a file to replace, got a folder")
    if there:
        raise DataError(
            f"{', '.join(there)} is there already; choose another --out, or --overwrite to replace it"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a plain file in hexadecimal."""
    check_plain(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, with LF line ends on every system.

    What is not UTF-8 in a file name is written as an escape, which JSON reads back.
    """
    with atomic_path(path) as part:
        part.write_bytes(to_text(text).encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON document atomically; NaN becomes null, because JSON has no NaN."""
    write_text(path, json.dumps(jsonable(value), indent=2, ensure_ascii=False) + "\n")


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


def write_predictions(path: Path, sides: Mapping[str, Predictions]) -> None:
    """Write predictions of several sides as one Parquet file, atomically. Probabilities are float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = next(iter(sides.values())).classes
    columns: dict[str, Any] = {
        "split": [side for side, p in sides.items() for _ in p.paths],
        "path": [to_text(path) for p in sides.values() for path in p.paths],
        "target": np.concatenate([p.target for p in sides.values()]),
        "pred": np.concatenate([p.pred for p in sides.values()]),
    }
    probs = np.concatenate([p.probs for p in sides.values()]).astype(np.float32)
    columns |= {f"prob_{name}": probs[:, i] for i, name in enumerate(classes)}
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part, write_page_checksum=True)


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process; the operating system frees it even after a kill.

    Args:
        folder: Made if it is not there.
        wait: Wait until it is free instead of refusing.

    Raises:
        RunError: If another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process; wait for it or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def to_text(path: str) -> str:
    """Return a path as text; a byte that is no UTF-8, a lone surrogate in Python, becomes an escape."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def from_text(text: str) -> str:
    """Return the path that `to_text` was given."""
    if "\\udc" not in text:
        return text
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), text)


def to_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe comes first where it would.

    >>> to_cell("=1+1.jpg"), to_cell("a=1.jpg")
    ("'=1+1.jpg", 'a=1.jpg')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "'")) else text


def from_cell(text: str) -> str:
    """Return the text that `to_cell` was given."""
    return text.removeprefix("'")


def jsonable(value: object) -> object:
    """Return a value that JSON can hold: arrays as lists, paths as text, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return value.as_posix()
    return value
