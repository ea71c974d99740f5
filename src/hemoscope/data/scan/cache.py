"""What a scan remembers between two calls: one file, replaced in one step: a line about it, and columns.

The columns are an Arrow stream, a row an image, ordered by path. Read back they stay columns: what a million
images are held against is no million records.
A damaged cache, one of another folder, or one written by another version counts as none. A file
is taken as unchanged only if its size, its modification time and its change time are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from hemoscope.data.images.fingerprint import Fingerprint
from hemoscope.errors import ImageError
from hemoscope.files import atomic_path
from hemoscope.records import collected_later

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FileStamp", "ScanCache"]

_VERSION = 5  # change it whenever decoding changes a pixel, the name of a conversion or a fingerprint
_LONGEST_LINE = 2**16


class FileStamp(NamedTuple):
    """What the file system says about a file; another stamp means another content."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the stamp of a file.

        Raises:
            ImageError: If there is no such file, or it may not be looked at.
        """
        try:
            info = path.stat()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns)


@dataclass
class ScanCache:
    """What the last scan saw (`known`), the rows of it that hold (`kept`), and what this one read (`seen`)."""

    root: str
    known: pa.Table
    kept: Sequence[int] = ()
    seen: dict[str, tuple[FileStamp, Fingerprint]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, root: Path) -> Self:
        """Return what an earlier scan of `root` wrote to `path`; an empty cache where it does not hold."""
        cache = cls(str(root.resolve()), _nothing())
        if path is None:
            return cache
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            with path.open("rb", buffering=0) as file:  # a buffer would copy all of it
                line, files = file.readline(_LONGEST_LINE), file.read()
            if json.loads(line) == _heading(cache.root, files):
                cache.known = _table(files)
        return cache

    @collected_later()
    def unchanged(self, root: Path, paths: Sequence[str]) -> list[bool]:
        """Tell which files are known and have their stamp, and keep what is known of them."""
        size, mtime_ns, ctime_ns = (self.known[name].to_pylist() for name in FileStamp._fields)
        where = str(root)
        rows = self._rows(paths)
        found: list[bool] = []
        for path, row in zip(paths, rows, strict=True):
            try:
                info = os.stat(f"{where}/{path}") if row >= 0 else None  # noqa: PTH116  a Path takes as long again
            except OSError:
                info = None
            found.append(
                info is not None
                and info.st_mtime_ns == mtime_ns[row]
                and info.st_ctime_ns == ctime_ns[row]
                and info.st_size == size[row]
            )
        self.kept = list(compress(rows, found))
        return found

    def remembered(self) -> list[Sequence[object]]:
        """Return what is known of the files that are kept, as columns: a `Fingerprint`'s but for conversions."""
        names = ("width_px", "height_px", "hash", "pixel_hash", "phash", "red", "green", "blue")
        kept = self._kept()
        *columns, red, green, blue = (kept[name].to_pylist() for name in names)
        return [*columns, list(zip(red, green, blue, strict=True))]

    def conversions(self) -> Counter[str]:
        """Count what had to be converted in the files that are kept."""
        counts: Counter[str] = Counter()
        for text, n in Counter(self._kept()["conversions"].to_pylist()).items():
            counts.update(dict.fromkeys(text.splitlines(), n))
        return counts

    def _rows(self, paths: Sequence[str]) -> Sequence[int]:
        """Return the row of every file, -1 for one that is not known."""
        known = [name.decode("utf-8", "surrogatepass") for name in self.known["path"].to_pylist()]
        if known == list(paths):  # as a rule
            return range(len(known))
        rows = {name: row for row, name in enumerate(known)}
        return [rows.get(path, -1) for path in paths]

    def _kept(self) -> pa.Table:
        import pyarrow as pa

        everything = list(range(self.known.num_rows))
        return self.known if self.kept == everything else self.known.take(pa.array(self.kept, pa.int64()))

    def put(self, path: str, stamp: FileStamp, result: Fingerprint) -> None:
        """Remember a file; safe from several threads. Not one of after the year 2262."""
        if max(stamp) < 2**63:
            self.seen[path] = (stamp, result)

    def save(self, path: Path) -> None:
        """Write what this scan kept and read, atomically; nothing if it is what was loaded."""
        if not self.seen and len(self.kept) == self.known.num_rows:
            return
        files = _stream(_joined(self._kept(), self.seen))
        with atomic_path(path) as part, part.open("wb") as file:
            file.write(json.dumps(_heading(self.root, files)).encode("ascii") + b"\n")
            file.write(files)


def _heading(root: str, files: bytes | memoryview) -> dict[str, object]:
    return {"version": _VERSION, "root": root, "sha256": hashlib.sha256(files).hexdigest()}


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("path", pa.large_binary()),  # a name may be no UTF-8
            *((name, pa.int64()) for name in FileStamp._fields),
            ("width_px", pa.int64()),
            ("height_px", pa.int64()),
            ("hash", pa.large_string()),
            ("pixel_hash", pa.large_string()),
            ("phash", pa.uint64()),
            ("red", pa.uint8()),
            ("green", pa.uint8()),
            ("blue", pa.uint8()),
            ("conversions", pa.large_string()),  # a line each
        ]
    )


def _nothing() -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches([], _schema())


def _table(files: bytes) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(files) as stream:
        table = stream.read_all()
    if table.schema != _schema():
        raise ValueError("other columns")
    return table


def _joined(kept: pa.Table, seen: Mapping[str, tuple[FileStamp, Fingerprint]]) -> pa.Table:
    """Return what is known and what was read as one table, ordered by path."""
    import pyarrow as pa

    rows = [
        (name.encode("utf-8", "surrogatepass"), *stamp, *image[:5], *image.background, "\n".join(image[6]))
        for name, (stamp, image) in seen.items()
    ]
    schema = _schema()
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    read = pa.Table.from_arrays(arrays, schema=schema)
    return pa.concat_tables([kept, read]).sort_by("path").combine_chunks()


def _stream(table: pa.Table) -> memoryview:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return memoryview(sink.getvalue())
