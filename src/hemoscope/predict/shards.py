"""Millions of images as shards: tar archives, or slices of Parquet manifests. Nothing here lists images one by one.

A manifest has a row an image: a column `path`, beside the manifest or absolute, or a column `image` with the file's
bytes. The driver reads its footers only; rows are read where they are asked about.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hemoscope.archives import TAR_SUFFIXES
from hemoscope.data.camera import evenly
from hemoscope.errors import DataError, ImageError
from hemoscope.predict.inputs import Named, find_images, stamp_of

__all__ = ["Shard", "images_of", "plan_shards", "some_of_shards"]

PATH, IMAGE = "path", "image"
LOOKED_INTO = 16  # shards: those of a manifest that holds the images themselves are read whole


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that are asked about and written together.

    Attributes:
        file: A manifest or an archive, absolute.
        first: Its first row; of an archive 0.
        rows: How many; of an archive 0, which says that nobody counted them.
    """

    file: str
    first: int = 0
    rows: int = 0


def plan_shards(inputs: Sequence[str], rows: int) -> list[Shard]:
    """Return the shards of manifests and archives, in the order of the inputs and of names.

    Args:
        inputs: `.parquet` manifests and tar archives, folders of them, or patterns.
        rows: Images of a shard of a manifest, at most.

    Raises:
        DataError: With everything that is neither, is not there, or is damaged.
    """
    shards: list[Shard] = []
    problems: list[str] = []
    for item in inputs:
        path = Path(item)
        files = sorted(map(str, path.iterdir())) if path.is_dir() else sorted(glob.glob(item))  # noqa: PTH207
        known = [file for file in files if file.lower().endswith((".parquet", *TAR_SUFFIXES))]
        if not known:
            problems.append(
                f"{item}: expected .parquet manifests or tar archives; got {len(files)} other files"
            )
        for file in map(str, (Path(name).absolute() for name in known)):
            if file.lower().endswith(".parquet"):
                try:
                    n = _rows_of(file)
                except DataError as error:
                    problems.append(str(error))
                else:
                    shards += [Shard(file, first, min(rows, n - first)) for first in range(0, n, rows)]
            else:
                shards.append(Shard(file))
    if problems:
        raise DataError("\n".join(problems))
    return shards


def images_of(shard: Shard) -> tuple[str, Iterator[Named]]:
    """Return a digest of a shard's content, and its images; those that lie in a manifest are read at once.

    Of a file that a manifest names the digest holds its size and time, for it may change and the manifest not.

    Raises:
        DataError: If a manifest is damaged. A damaged archive is an image with that error.
    """
    if not shard.rows:
        with open(shard.file, "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").hexdigest(), find_images([shard.file])
    table = _slice(shard)
    digest = hashlib.sha256()
    named: list[Named] = []
    folder = Path(shard.file).parent
    for i, row in enumerate(table.to_pylist(), shard.first):
        name, content = row.get(PATH), row.get(IMAGE)
        if isinstance(content, dict):  # as Hugging Face's Image feature stores it
            name, content = name or content.get("path"), content.get("bytes")
        name = name or f"{shard.file}:{i}"
        digest.update(f"{len(name)} {name} {len(content or b'')} ".encode("utf-8", "surrogateescape"))
        digest.update(stamp_of(folder / name).encode() if content is None else content)
        named.append((name, content if content is not None else folder / name))
    return digest.hexdigest(), iter(named)


def some_of_shards(shards: Sequence[Shard], n: int) -> Iterator[Path | bytes]:
    """Yield about n readable images from some shards among all: from everywhere in a manifest's, the first of an archive's.

    Raises:
        DataError: If a manifest is damaged.
    """
    chosen = evenly(shards, LOOKED_INTO)
    each = -(-n // max(1, len(chosen)))
    for shard in chosen:
        found = evenly(list(images_of(shard)[1]), each) if shard.rows else find_images([shard.file])
        yield from (source for _, source in islice(found, each) if not isinstance(source, ImageError))


def _rows_of(file: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as manifest:
            names = set(manifest.schema_arrow.names)
            n = manifest.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: expected a Parquet manifest; {error}") from error
    if not names & {PATH, IMAGE}:
        raise DataError(f"{file}: expected a column {PATH} or {IMAGE}; got {', '.join(sorted(names))}")
    return n


def _slice(shard: Shard) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(shard.file) as manifest:
            columns = [name for name in (PATH, IMAGE) if name in manifest.schema_arrow.names]
            start, found = 0, []
            for group in range(manifest.num_row_groups):
                n = manifest.metadata.row_group(group).num_rows
                low, high = max(shard.first - start, 0), min(shard.first + shard.rows - start, n)
                if low < high:
                    found.append(manifest.read_row_group(group, columns=columns).slice(low, high - low))
                start += n
            return pa.concat_tables(found)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.file}: damaged: {error}") from error
