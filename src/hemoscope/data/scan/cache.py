"""What a scan remembers between two calls: one file, replaced in one step: a line about it, and columns.

The columns are an Arrow stream, a row an image, which a million images need two seconds to read from.
A damaged cache, one of another folder, or one written by another version counts as none. A file
is taken as unchanged only if its size, its modification time and its change time are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from hemoscope.data.images.fingerprint import Fingerprint
from hemoscope.errors import ImageError
from hemoscope.files import atomic_path
from hemoscope.records import collected_later

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FileStamp", "Known", "ScanCache"]

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
class Known:
    """What an earlier scan saw, a row an image, as lists: a million tuples are made in a second, and no more."""

    rows: dict[str, int] = field(default_factory=dict)
    stamps: list[tuple[int, int, int]] = field(default_factory=list)
    images: list[tuple[int, int, str, str, int, tuple[int, int, int]]] = field(default_factory=list)
    conversions: list[tuple[str, ...]] = field(default_factory=list)

    def entry(self, row: int) -> tuple[FileStamp, Fingerprint]:
        """Return the stamp of a file and what was read from it."""
        return FileStamp(*self.stamps[row]), Fingerprint(*self.images[row], self.conversions[row])


@dataclass
class ScanCache:
    """What the last scan saw (`known`), the rows of it that hold (`kept`), and what this one read (`seen`)."""

    root: str
    known: Known = field(default_factory=Known)
    kept: list[int] = field(default_factory=list)
    seen: dict[str, tuple[FileStamp, Fingerprint]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, root: Path) -> Self:
        """Return what an earlier scan of `root` wrote to `path`; an empty cache where it does not hold."""
        cache = cls(root=str(root.resolve()))
        if path is None:
            return cache
        try:
            with path.open("rb") as file:
                line, files = file.readline(_LONGEST_LINE), file.read()
            if json.loads(line) == _heading(cache.root, files):
                cache.known = _known(files)
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            cache.known = Known()
        return cache

    @collected_later()
    def unchanged(self, root: Path, paths: Iterable[str]) -> list[int]:
        """Return the row of every file that is known and has its stamp, -1 for any other, and keep them."""
        rows, stamps, where = self.known.rows, self.known.stamps, str(root)
        found: list[int] = []
        for path in paths:
            row = rows.get(path, -1)
            if row >= 0:
                try:
                    info = os.stat(f"{where}/{path}")  # noqa: PTH116  a Path takes as long again
                    if (info.st_size, info.st_mtime_ns, info.st_ctime_ns) != stamps[row]:
                        row = -1
                except OSError:
                    row = -1
            found.append(row)
        self.kept = [row for row in found if row >= 0]
        return found

    def put(self, path: str, stamp: FileStamp, result: Fingerprint) -> None:
        """Remember a file; safe from several threads. Not one of after the year 2262."""
        if max(stamp) < 2**63:
            self.seen[path] = (stamp, result)

    def save(self, path: Path) -> None:
        """Write what this scan kept and read, atomically; nothing if it is what was loaded."""
        if not self.seen and len(self.kept) == len(self.known.rows):
            return
        names = list(self.known.rows)
        files = _columns({names[row]: self.known.entry(row) for row in self.kept} | self.seen)
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


def _columns(entries: Mapping[str, tuple[FileStamp, Fingerprint]]) -> memoryview:
    import pyarrow as pa

    names = sorted(entries)
    rows = [
        (name.encode("utf-8", "surrogatepass"), *stamp, *image[:5], *image.background, "\n".join(image[6]))
        for name in names
        for stamp, image in [entries[name]]
    ]
    schema = _schema()
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    table = pa.Table.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(table)
    return memoryview(sink.getvalue())


@collected_later()
def _known(files: bytes) -> Known:
    import pyarrow as pa

    with pa.ipc.open_stream(files) as stream:
        table = stream.read_all()
    (path, size, mtime, ctime, width, height, digest, pixels, phash, red, green, blue, conversions) = (
        table[name].to_numpy().tolist() for name in _schema().names
    )
    words = {text: tuple(text.splitlines()) for text in set(conversions)}
    background = zip(red, green, blue, strict=True)
    return Known(
        rows={name.decode("utf-8", "surrogatepass"): row for row, name in enumerate(path)},
        stamps=list(zip(size, mtime, ctime, strict=True)),
        images=list(zip(width, height, digest, pixels, phash, background, strict=True)),
        conversions=[words[text] for text in conversions],
    )
