"""What a scan remembers between two calls: one file, replaced in one step: a line about it, and columns.

The columns are an Arrow stream, a row an image, which a million images need two seconds to read from.
A damaged cache, one of another folder, or one written by another version counts as none. A file
is taken as unchanged only if its size, its modification time and its change time are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    def of(cls, path: Path | str) -> Self:
        """Read the stamp of a file.

        Raises:
            ImageError: If there is no such file, or it may not be looked at.
        """
        try:
            info = os.stat(path)  # noqa: PTH116  a Path takes as long again
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns)


Entry = tuple[FileStamp, Fingerprint]


@dataclass
class ScanCache:
    """Fingerprints by path, from the last scan (`known`) and of this one (`seen`)."""

    root: str
    known: dict[str, Entry] = field(default_factory=dict)
    seen: dict[str, Entry] = field(default_factory=dict)

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
                cache.known = _entries(files)
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            cache.known = {}
        return cache

    def get(self, path: str, file: str) -> Fingerprint | None:
        """Return the fingerprint of a file that is known and unchanged.

        Args:
            path: Its path below the root.
            file: Where it lies.
        """
        entry = self.known.get(path)
        try:
            if entry is None or entry[0] != FileStamp.of(file):
                return None
        except ImageError:
            return None
        self.seen[path] = entry
        return entry[1]

    def put(self, path: str, stamp: FileStamp, result: Fingerprint) -> None:
        """Remember a file; safe from several threads. Not one of after the year 2262."""
        if max(stamp) < 2**63:
            self.seen[path] = (stamp, result)

    def save(self, path: Path) -> None:
        """Write what this scan saw, atomically; nothing if it is what was loaded."""
        if self.seen == self.known:
            return
        files = _columns(self.seen)
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


def _columns(entries: Mapping[str, Entry]) -> memoryview:
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
def _entries(files: bytes) -> dict[str, Entry]:
    import pyarrow as pa

    with pa.ipc.open_stream(files) as stream:
        table = stream.read_all()
    (path, size, mtime, ctime, width, height, digest, pixels, phash, red, green, blue, conversions) = (
        table[name].to_numpy().tolist() for name in _schema().names
    )
    words = {text: tuple(text.splitlines()) for text in set(conversions)}
    stamps = map(FileStamp._make, zip(size, mtime, ctime, strict=True))
    background = zip(red, green, blue, strict=True)
    reasons = map(words.__getitem__, conversions)
    images = map(
        Fingerprint._make, zip(width, height, digest, pixels, phash, background, reasons, strict=True)
    )
    names = (name.decode("utf-8", "surrogatepass") for name in path)
    return dict(zip(names, zip(stamps, images, strict=True), strict=True))
