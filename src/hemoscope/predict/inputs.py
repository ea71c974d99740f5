"""What a person names on the command line becomes images with names, one at a time.

Files, folders, patterns, zip and tar archives, and `-` for a list of paths on standard input. Nothing
is unpacked to disk, and nothing is left out in silence: what cannot be read has its name and reason,
what is passed over is counted.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from hemoscope.archives import Limits, Member, damage_told, is_archive, members
from hemoscope.data.images.decode import IMAGE_SUFFIXES
from hemoscope.data.scan.walk import is_folder, is_hidden
from hemoscope.errors import DataError, ImageError
from hemoscope.plain_files import why

__all__ = [
    "Named",
    "Passed",
    "archived_images",
    "count_images",
    "find_images",
    "from_everywhere",
    "stamp_of",
    "stdin_paths",
]

Named = tuple[str, Path | bytes | ImageError]

# Named like images that are not read here: they get a row that says so, as a person expects an answer for them.
_FOREIGN = frozenset({".avif", ".czi", ".dcm", ".dicom", ".heic", ".heif", ".jxl", ".mrxs", ".ndpi", ".svs"})
_HEAD = 132  # bytes that tell an image whatever its name; DICOM says so at byte 128
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")


@dataclass
class Passed:
    """What `find_images` passed over, by what it is."""

    counts: Counter[str] = field(default_factory=Counter)

    def in_words(self) -> str:
        """Return a sentence; empty if nothing was passed over.

        >>> Passed(Counter({".txt": 2, "hidden": 1})).in_words()
        'passed over: 2 .txt, 1 hidden'
        """
        listed = [
            f"{n:,} {what}" for what, n in sorted(self.counts.items(), key=lambda item: (-item[1], item))
        ]
        return f"passed over: {', '.join(listed)}" if listed else ""


def find_images(
    inputs: Sequence[str], *, lines: Iterable[str] | None = None, passed: Passed | None = None
) -> Iterator[Named]:
    """Yield the name and the source of every image, in a fixed order.

    A folder gives the files below it that are named like images or begin like one, by name. A folder that
    cannot be read is given with the reason, like a damaged archive, or an archive inside a folder or another
    archive. A file named directly is taken whatever it is called. A file is given once, however often it is
    named.

    Args:
        inputs: What was named.
        lines: Where `-` reads its paths, one a line; by default standard input.
        passed: Counts what is passed over.

    Raises:
        DataError: At once, if there is nothing of a name or pattern; all of them are listed.
    """
    resolved: list[str | list[str]] = []
    missing: list[str] = []
    for item in inputs:
        if item == "-" or os.path.lexists(item):
            resolved.append(item)
        elif found := _matches(item):
            resolved.append(found)
        else:
            missing.append(item)
    if missing:
        raise DataError(f"there is no file, folder or match for: {', '.join(missing)}")
    return _all(resolved, lines, passed or Passed())


def count_images(inputs: Sequence[str]) -> int | None:
    """Return about how many images `find_images` will give, without opening any; None if that cannot be told.

    A stream is read once, so tar archives and standard input are not counted.
    """
    if "-" in inputs:
        return None
    n = 0
    for item in inputs:
        for name in [item] if os.path.lexists(item) else _matches(item):
            path = Path(name)
            if path.is_dir():
                n += sum(1 for _ in _folder(path, Passed()))
            elif path.suffix.lower() == ".zip":
                try:
                    with damage_told(path.name), zipfile.ZipFile(path) as archive:
                        names = [info.filename for info in archive.infolist()]
                        n += sum(_named_like_one(name) and not _in_hidden(name) for name in names)
                except (DataError, OSError):
                    n += 1
            elif is_archive(name):
                return None
            else:
                n += 1
    return n


def archived_images(
    path: Path, *, limits: Limits | None = None, passed: Passed | None = None
) -> Iterator[Named]:
    """Yield the name in the archive and the bytes of every image of a zip or tar, in a fixed order.

    Args:
        path: The archive.
        limits: How much it may come to.
        passed: Counts what is passed over.

    Raises:
        DataError: If the archive is damaged or beyond the limits; what came before was sound.
    """
    passed = passed or Passed()
    for member in members(path, limits):
        if _in_hidden(member.name):
            passed.counts["hidden"] += 1
        elif (source := _of_archive(member, passed)) is not None:
            yield member.name, source


def from_everywhere(inputs: Sequence[str], n: int, *, lines: Sequence[str] = ()) -> Iterator[Path | bytes]:
    """Yield about n readable images from everywhere among those that `find_images` gives.

    A tar archive tells how many it holds at its end only: where one is given, it is the first n.
    """
    total = count_images([item for item in inputs if item != "-"])
    total = None if total is None else total + len(lines)
    span = n if total is None else max(n, total)
    wanted = {i * span // n for i in range(n)}
    for i, (_, source) in enumerate(islice(find_images(inputs, lines=lines), span)):
        if i in wanted and not isinstance(source, ImageError):
            yield source


def stamp_of(source: Path | bytes | ImageError) -> str:
    """Return what makes a later image the same: the size and time of a file, a digest of what has none."""
    try:
        if isinstance(source, Path):
            info = source.stat()
            return f"{info.st_size} {info.st_mtime_ns}"
    except (OSError, ValueError):
        return "cannot be read"
    content = source if isinstance(source, bytes) else str(source).encode("utf-8", "backslashreplace")
    return hashlib.sha256(content).hexdigest()


def stdin_paths() -> Iterator[str]:
    """Yield the lines of standard input: UTF-16 where it says so, else of whatever bytes they are."""
    first = sys.stdin.buffer.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from (first + sys.stdin.buffer.read()).decode("utf-16", "replace").splitlines()
        return
    yield os.fsdecode(first.removeprefix(b"\xef\xbb\xbf"))
    for line in sys.stdin.buffer:
        yield os.fsdecode(line)


def _matches(pattern: str) -> list[str]:
    """Return what a pattern matches; brackets in the names of its folders may be brackets."""
    if found := sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
        return found
    return sorted(glob.glob(pattern.replace("[", "[[]"), recursive=True))  # noqa: PTH207


def _all(resolved: Sequence[str | list[str]], lines: Iterable[str] | None, passed: Passed) -> Iterator[Named]:
    given: set[str] = set()
    for item in resolved:
        if item == "-":
            names = (line.rstrip("\r\n") for line in (stdin_paths() if lines is None else lines))
            found = ((name, Path(name)) for name in names if name)
        else:
            found = (
                named for name in ([item] if isinstance(item, str) else item) for named in _one(name, passed)
            )
        for name, source in found:
            key = os.path.realpath(source) if isinstance(source, Path) and "\0" not in name else None
            if key in given:
                passed.counts["named twice"] += 1
                continue
            if key is not None:
                given.add(key)
            yield name, source


def _one(item: str, passed: Passed) -> Iterator[Named]:
    path = Path(item)
    if path.is_dir():
        yield from _folder(path, passed)
    elif is_archive(item) and path.is_file():
        yield from _archive(path, passed)
    else:
        yield path.as_posix(), path


def _folder(root: Path, passed: Passed, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Named]:
    """Yield a folder's own images, then those of the folders in it; links are followed, but in no circle."""
    try:
        info = root.stat()
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(root) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    passed.counts["hidden"] += 1
                else:
                    (folders if is_folder(entry) else files).append(entry.name)
    except OSError as error:
        yield root.as_posix(), ImageError(f"the folder cannot be read: {error.strerror or error}")
        return
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        yield root.as_posix(), ImageError("a link back to a folder above; not followed")
        return
    for name in sorted(files):
        path = root / name
        if is_archive(name):
            yield path.as_posix(), ImageError("an archive in a folder; name it itself and it is read")
        elif _named_like_one(name) or _begins_like_one(_head(path)):
            yield path.as_posix(), path
        else:
            passed.counts[_kind(name)] += 1
    for name in sorted(folders):
        yield from _folder(root / name, passed, above | {identity})


def _archive(path: Path, passed: Passed) -> Iterator[Named]:
    """Yield an archive's images; damage to the archive itself is the last, with the archive's name."""
    try:
        for name, source in archived_images(path, passed=passed):
            yield f"{path.as_posix()}/{name}", source
    except DataError as error:
        yield path.as_posix(), ImageError(str(error))
    except OSError as error:
        yield path.as_posix(), ImageError(f"the archive cannot be read: {why(error)}")


def _of_archive(member: Member, passed: Passed) -> bytes | ImageError | None:
    """Return the bytes of an image, why it cannot be had, or None for what is passed over."""
    if is_archive(member.name):
        return ImageError("an archive in an archive; unpack the outer one first")
    if member.problem:
        if _named_like_one(member.name):
            return ImageError(f"it {member.problem}")
        passed.counts[_kind(member.name)] += 1
        return None
    try:
        content = member.read()
    except DataError as error:  # whatever its name: what cannot be read may have been an image
        return ImageError(str(error))
    if _named_like_one(member.name) or _begins_like_one(content[:_HEAD]):
        return content
    passed.counts[_kind(member.name)] += 1
    return None


def _in_hidden(name: str) -> bool:
    return any(is_hidden(part) for part in PurePosixPath(name).parts)


def _named_like_one(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES | _FOREIGN


def _head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _begins_like_one(head: bytes) -> bool:
    return (
        head.startswith(_MAGIC)
        or head[8:12] == b"WEBP"
        or head[4:12] in (b"ftypheic", b"ftypavif", b"ftypmif1")
        or head[128:132] == b"DICM"
    )


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "without an ending"
