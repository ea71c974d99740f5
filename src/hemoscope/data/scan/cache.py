"""What a scan remembers between two calls: one file, replaced in one step: a line about it, and JSON.

A damaged cache, one of another folder, or one written by another version counts as none. A file
is taken as unchanged only if its size, its modification time and its change time are the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Self

from hemoscope.data.images.fingerprint import Fingerprint
from hemoscope.errors import ImageError
from hemoscope.files import write_text

__all__ = ["FileStamp", "ScanCache"]

_VERSION = 4  # change it whenever decoding changes a pixel, the name of a conversion or a fingerprint


@dataclass(frozen=True, slots=True)
class FileStamp:
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
    """Fingerprints by path, from the last scan (`known`) and of this one (`seen`)."""

    root: str
    known: dict[str, tuple[FileStamp, Fingerprint]] = field(default_factory=dict)
    seen: dict[str, tuple[FileStamp, Fingerprint]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, root: Path) -> Self:
        """Return what an earlier scan of `root` wrote to `path`; an empty cache where it does not hold."""
        cache = cls(root=str(root.resolve()))
        if path is None:
            return cache
        try:
            line, _, files = path.read_bytes().partition(b"\n")
            if json.loads(line) == _heading(cache.root, files):
                cache.known = {name: _entry(row) for name, row in json.loads(files).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            cache.known = {}
        return cache

    def get(self, path: str, stamp: FileStamp) -> Fingerprint | None:
        """Return the fingerprint of an unchanged file."""
        entry = self.known.get(path)
        if entry is None or entry[0] != stamp:
            return None
        self.seen[path] = entry
        return entry[1]

    def put(self, path: str, stamp: FileStamp, result: Fingerprint) -> None:
        """Remember a file; safe from several threads."""
        self.seen[path] = (stamp, result)

    def save(self, path: Path) -> None:
        """Write what this scan saw, atomically; nothing if it is what was loaded."""
        if self.seen == self.known:
            return
        files = {
            name: [*astuple(stamp), *astuple(result)] for name, (stamp, result) in sorted(self.seen.items())
        }
        text = json.dumps(files)  # odd names as escapes: plain ASCII
        write_text(path, f"{json.dumps(_heading(self.root, text.encode('ascii')))}\n{text}")


def _heading(root: str, files: bytes) -> dict[str, object]:
    return {"version": _VERSION, "root": root, "sha256": hashlib.sha256(files).hexdigest()}


def _entry(row: list[Any]) -> tuple[FileStamp, Fingerprint]:
    size, mtime_ns, ctime_ns, width, height, digest, of_pixels, phash, background, conversions = row
    red, green, blue = (int(value) for value in background)
    return FileStamp(int(size), int(mtime_ns), int(ctime_ns)), Fingerprint(
        width_px=int(width),
        height_px=int(height),
        hash=str(digest),
        pixel_hash=str(of_pixels),
        phash=int(phash),
        background=(red, green, blue),
        conversions=tuple(str(reason) for reason in conversions),
    )
