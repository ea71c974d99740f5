"""What a person names on the command line becomes images with names, one at a time.

Files, folders, patterns, zip and tar archives, and `-` for a list of paths on standard input. Nothing
is unpacked to disk, and nothing is left out in silence: what cannot be read has its name and reason.
"""

from __future__ import annotations

import glob
import gzip
import io
import lzma
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from hemoscope.data.decode import IMAGE_SUFFIXES
from hemoscope.data.scan_walk import is_folder, is_hidden
from hemoscope.errors import DataError, ImageError

__all__ = ["Named", "count_images", "find_images", "stdin_paths"]

Named = tuple[str, Path | bytes | ImageError]

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MAX_BYTES = 512 * 1024 * 1024  # of one image in an archive
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


def find_images(inputs: Sequence[str], *, lines: Iterable[str] | None = None) -> Iterator[Named]:
    """Yield the name and the source of every image, in a fixed order.

    A folder gives the files below it that are named like images, by name; hidden ones are passed over. A
    folder that cannot be read is given with the reason, like a damaged archive.
    A file named directly is taken whatever it is called.

    Args:
        inputs: What was named.
        lines: Where `-` reads its paths, one a line; by default standard input.

    Raises:
        DataError: At once, if there is nothing of a name or pattern; all of them are listed.
    """
    resolved: list[str | list[str]] = []
    missing: list[str] = []
    for item in inputs:
        if item == "-" or os.path.lexists(item):
            resolved.append(item)
        elif found := sorted(glob.glob(item, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
            resolved.append(found)
        else:
            missing.append(item)
    if missing:
        raise DataError(f"there is no file, folder or match for: {', '.join(missing)}")
    return _all(resolved, lines)


def count_images(inputs: Sequence[str]) -> int | None:
    """Return about how many images `find_images` will give, without opening any; None if that cannot be told.

    A stream is read once, so tar archives and standard input are not counted.
    """
    if "-" in inputs:
        return None
    n = 0
    for item in inputs:
        for name in [item] if os.path.lexists(item) else glob.glob(item, recursive=True):  # noqa: PTH207
            path = Path(name)
            if path.name.lower().endswith(_TAR):
                return None
            if path.suffix.lower() == ".zip":
                try:
                    with zipfile.ZipFile(path) as archive:
                        n += sum(_is_image(info.filename) for info in archive.infolist())
                except _DAMAGE:
                    n += 1
            else:
                n += sum(1 for _ in _folder(path)) if path.is_dir() else 1
    return n


def stdin_paths() -> Iterator[str]:
    """Yield the lines of standard input, of whatever bytes they are."""
    for line in sys.stdin.buffer:
        yield os.fsdecode(line)


def _all(resolved: Sequence[str | list[str]], lines: Iterable[str] | None) -> Iterator[Named]:
    for item in resolved:
        if item == "-":
            for line in stdin_paths() if lines is None else lines:
                if name := line.rstrip("\r\n"):
                    yield name, Path(name)
            continue
        for name in [item] if isinstance(item, str) else item:
            yield from _one(Path(name))


def _one(path: Path) -> Iterator[Named]:
    name = path.as_posix()
    if path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() == ".zip":
        yield from _whole(name, _zip(path))
    elif path.name.lower().endswith(_TAR):
        yield from _whole(name, _tar(path))
    else:
        yield name, path


def _folder(root: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Named]:
    """Yield a folder's own images, then those of the folders in it; links are followed, but in no circle."""
    try:
        info = root.stat()
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(root) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if is_folder(entry):
                    folders.append(entry.name)
                elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                    files.append(entry.name)
    except OSError as error:
        yield root.as_posix(), ImageError(f"the folder cannot be read: {error.strerror or error}")
        return
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        yield root.as_posix(), ImageError("a link back to a folder above; not followed")
        return
    for name in sorted(files):
        yield (root / name).as_posix(), root / name
    for name in sorted(folders):
        yield from _folder(root / name, above | {identity})


def _whole(archive: str, members: Iterator[Named]) -> Iterator[Named]:
    """Yield an archive's images; damage to the archive itself is the last, with the archive's name."""
    try:
        for name, source in members:
            yield f"{archive}/{name}", source
    except _DAMAGE as error:
        yield archive, ImageError(f"the archive is damaged or cut short: {error or type(error).__name__}")


def _zip(path: Path) -> Iterator[Named]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir() or not _is_image(info.filename):
                continue
            try:
                with archive.open(info) as file:
                    yield info.filename, _limited(file)
            except _DAMAGE as error:
                yield info.filename, ImageError(f"damaged in its archive: {error or type(error).__name__}")


def _tar(path: Path) -> Iterator[Named]:
    with tarfile.open(path, "r|*") as archive:  # a stream: one pass, whatever its size
        for info in archive:
            if info.isfile() and _is_image(info.name):
                file = archive.extractfile(info)
                if file is not None:
                    yield info.name, _limited(file)


def _is_image(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(is_hidden(part) for part in parts) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _limited(file: io.BufferedIOBase | io.RawIOBase | object) -> bytes | ImageError:
    content = file.read(_MAX_BYTES + 1)  # type: ignore[attr-defined]
    return (
        content
        if len(content) <= _MAX_BYTES
        else ImageError(f"more than {_MAX_BYTES:,} bytes; expected an image")
    )
