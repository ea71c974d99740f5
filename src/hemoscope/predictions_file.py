"""predictions.parquet: what a network said of the validation and the test images.

Probabilities of a few hundred megabytes are read into memory. More of them lie in a file without a name in the
cache folder, which ends with the process: the system keeps in memory what is looked at, and no more than it has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hemoscope.encoding import from_text, to_text
from hemoscope.files import atomic_path
from hemoscope.places import cache_dir
from hemoscope.records import FloatArray, Predictions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SIDES_READ", "read_predictions", "write_predictions"]

SIDES_READ = ("val", "test")
IN_MEMORY = 2**28
"""Bytes of one side's probabilities that are held in memory."""

_AT_ONCE = 2**22  # probabilities in hand
_A_GROUP = 2**24  # of a group of rows in the file


def read_predictions(path: Path, classes: Sequence[str]) -> dict[str, Predictions]:
    """Return the predictions of both sides, each ordered by path.

    Raises:
        ValueError: If cells are empty; pyarrow's errors are of this or another kind.
        OSError: If it cannot be read, or the cache folder has no room for it.
        KeyError: If a column is missing.
        TypeError: If a column is of another kind.
    """
    import pyarrow.parquet as pq

    # ParquetFile and not read_table, which imports a query engine for a second.
    with pq.ParquetFile(path, page_checksum_verification=True, memory_map=True) as file:
        about = file.read(columns=["split", "path", "target", "pred"])
        _refuse_empty_cells(about)
        names = np.array([from_text(path) for path in about["path"].to_pylist()], dtype=object)
        split = np.array(about["split"].to_pylist(), dtype=object)
        target, pred = (about[name].to_numpy().astype(np.int64) for name in ("target", "pred"))
        rows = {side: np.flatnonzero(split == side) for side in SIDES_READ}
        rows = {side: found[np.argsort(names[found], kind="stable")] for side, found in rows.items()}
        probs = _probabilities(file, classes, rows)
    return {
        side: Predictions(tuple(classes), tuple(names[found]), target[found], probs[side], pred[found])
        for side, found in rows.items()
    }


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
    probs = np.concatenate([p.probs.astype(np.float32) for p in sides.values()])
    columns |= {f"prob_{name}": probs[:, i] for i, name in enumerate(classes)}
    group = min(2**20, max(1024, _A_GROUP // len(classes)))
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part, write_page_checksum=True, row_group_size=group)


def _probabilities(file: Any, classes: Sequence[str], rows: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return every side's probabilities, shape (N, C), read a few million at a time."""
    columns = [f"prob_{name}" for name in classes]
    probs = {side: _room(len(found), len(classes)) for side, found in rows.items()}
    place = {side: np.full(file.metadata.num_rows, -1) for side in rows}
    for side, found in rows.items():
        place[side][found] = np.arange(len(found))
    start = 0
    for batch in file.iter_batches(max(1, _AT_ONCE // max(1, len(classes))), columns=columns):
        _refuse_empty_cells(batch)
        block = np.stack([batch[name].to_numpy() for name in columns], axis=1)
        for side in rows:
            to = place[side][start : start + len(block)]
            probs[side][to[to >= 0]] = block[to >= 0]
        start += len(block)
    return probs


def _room(n: int, classes: int) -> FloatArray:
    """Return an array to fill, shape (n, classes), in memory or in a file without a name."""
    size = 8 * n * classes
    if size <= IN_MEMORY or not hasattr(os, "posix_fallocate"):
        return np.empty((n, classes))
    folder = cache_dir() / "votes"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(
            file.fileno(), 0, size
        )  # no room is an error here, and would end the process later
        return np.asarray(np.memmap(file, dtype=np.float64, mode="r+", shape=(n, classes)))


def _refuse_empty_cells(table: pa.Table | pa.RecordBatch) -> None:
    empty = [
        name for name, column in zip(table.schema.names, table.columns, strict=True) if column.null_count
    ]
    if empty:
        raise ValueError(f"it has empty cells in {', '.join(empty)}")
