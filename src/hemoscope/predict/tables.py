"""Rows as CSV, JSON lines or Parquet: writing a part, joining the parts, and reading what a part holds.

In CSV a cell that a spreadsheet would take for a formula gets an apostrophe in front; JSON lines and
Parquet hold every name as it is.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hemoscope.encoding import from_cell, to_cell

__all__ = ["JOIN", "LAST_COLUMNS", "READ", "WRITE", "Format", "csv_cell", "schema_of"]

LAST_COLUMNS = ("status", "error", "reason", "candidates", "distance", "share", "converted")  # of every row

Format = Literal[".csv", ".jsonl", ".parquet"]


def csv_cell(value: Any) -> Any:
    """Return a value as CSV holds it: numbers to six digits, texts that no spreadsheet takes for a formula."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return to_cell(value) if isinstance(value, str) else value


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writerows({k: csv_cell(v) for k, v in row.items()} for row in rows)


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            values = {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
            file.write(json.dumps(values, ensure_ascii=False) + "\n")


def schema_of(columns: list[str]) -> Any:
    """Return the Arrow schema of rows with these columns."""
    import pyarrow as pa

    numbers = {"margin", "distance", "share", *(c for c in columns if c.startswith("prob_"))}
    return pa.schema([(c, pa.float32() if c in numbers else pa.string()) for c in columns])


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema_of(list(rows[0]))), path, write_page_checksum=True
    )


def _join_text(whole: Path, parts: list[Path], head: str) -> None:
    with whole.open("wb") as file:
        file.write(head.encode())
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)


def _join_csv(whole: Path, parts: list[Path], columns: list[str]) -> None:
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(columns)
    _join_text(whole, parts, head.getvalue())


def _join_jsonl(whole: Path, parts: list[Path], columns: list[str]) -> None:  # noqa: ARG001  one shape for all
    _join_text(whole, parts, "")


def _join_parquet(whole: Path, parts: list[Path], columns: list[str]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(whole, schema_of(columns), write_page_checksum=True) as writer:
        for part in parts:
            with pq.ParquetFile(part, page_checksum_verification=True) as piece:
                writer.write_table(piece.read())


def _read_csv(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            yield from_cell(row[0]), row[-len(LAST_COLUMNS)]


def _read_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["path"], row["status"]


def _read_parquet(path: Path) -> Iterator[tuple[str, str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read(columns=["path", "status"])
    yield from zip(table["path"].to_pylist(), table["status"].to_pylist(), strict=True)


WRITE = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}


JOIN = {".csv": _join_csv, ".jsonl": _join_jsonl, ".parquet": _join_parquet}


READ = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
