"""A zip, or a zip in a zip, becomes a folder: wholly and safely, or not at all.

Everything the archive declares is judged before a byte is written, and what is written is counted
again while copying. This module never follows a link, never writes outside its folder, never asks
for a password, and knows nothing of images.
"""

from __future__ import annotations

import errno
import re
import shutil
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hemoscope.archives import MAX_LEVELS, damage_told, why_not
from hemoscope.errors import DataError
from hemoscope.files import new_folder

__all__ = ["DEVICE_NAME", "UnpackLimits", "unpack"]

DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows gives to no file."""

_CHUNK = 1 << 20
_NAMED_AT_MOST = 50


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an archive may ask for, inner archives included.

    Attributes:
        entries: Files and folders.
        total_bytes: Bytes written, those of inner archives included.
        ratio: Bytes unpacked for each byte of an archive. Photographs come to about 1, DEFLATE
            can reach 1,032, overlapping entries millions.
        depth: Archives around a file: 2 is a zip in a zip.
    """

    entries: int = 200_000
    total_bytes: int = 16 << 30
    ratio: float = 200.0
    depth: int = 2


def unpack(archive: Path, into: Path, *, limits: UnpackLimits | None = None) -> list[Path]:
    """Unpack an archive into a folder that is not there yet, and return the files' paths, sorted.

    An inner `.zip` is unpacked where it lies and does not itself arrive. `__MACOSX` and dot entries
    are passed over. `into` appears in one step, when every byte has agreed with its CRC.

    Raises:
        DataError: If the archive is damaged, unsafe or too large (every unsafe entry is named), or
            if `into` is there and not empty.
        OSError: If the disk is full or cannot be written: the archive is not to blame.
    """
    with new_folder(into) as out:
        work = _Work(limits or UnpackLimits(), out)
        _unpack_one(archive, PurePosixPath(), work, chain=archive.name)
        if not work.files:
            raise DataError(f"{archive} holds no file; expected an archive of class folders")
    return sorted(into / file for file in work.files)


@dataclass(slots=True)
class _Work:
    """What one call of `unpack` has promised and written so far."""

    limits: UnpackLimits
    out: Path
    entries: int = 0
    declared_bytes: int = 0
    written_bytes: int = 0
    depth: int = 0
    taken: dict[str, tuple[str, bool]] = field(default_factory=dict)  # key: (name, is a file)
    files: list[PurePosixPath] = field(default_factory=list)


def _unpack_one(path: Path, below: PurePosixPath, work: _Work, *, chain: str) -> None:
    if work.depth == work.limits.depth:
        raise DataError(
            f"{chain} lies {work.depth + 1} archives deep; expected at most {work.limits.depth}. "
            "Unpack it by hand and look at what it is"
        )
    work.depth += 1
    with damage_told(chain), zipfile.ZipFile(path) as source:
        infos = source.infolist()
        _check_size(infos, path.stat().st_size, work, chain)
        plan = _plan(infos, below, work, chain)
        for info, target in plan:
            if target.suffix.lower() == ".zip":
                inner = work.out.parent / f"inner-{work.depth}.zip"
                _copy(source, info, inner, work)
                _unpack_one(inner, target.parent, work, chain=f"{chain} > {info.filename}")
                inner.unlink()
            else:
                _copy(source, info, work.out / target, work)
                work.files.append(target)
    work.depth -= 1


def _check_size(infos: list[zipfile.ZipInfo], size: int, work: _Work, chain: str) -> None:
    declared = sum(info.file_size for info in infos)
    work.entries += len(infos)
    work.declared_bytes += declared
    limits = work.limits
    if work.entries > limits.entries:
        raise DataError(f"{chain} holds {work.entries:,} entries; expected at most {limits.entries:,}")
    if work.declared_bytes > limits.total_bytes:
        raise DataError(
            f"{chain} unpacks to {work.declared_bytes:,} bytes; expected at most {limits.total_bytes:,}"
        )
    if declared > limits.ratio * size:
        raise DataError(
            f"{chain} unpacks {size:,} bytes to {declared:,}, {declared / size:,.0f} times as many; "
            f"expected at most {limits.ratio:g} times, as images do not shrink further"
        )
    free = shutil.disk_usage(work.out).free
    if declared > free:
        raise OSError(errno.ENOSPC, f"unpacking {chain} takes {declared:,} bytes, {free:,} are free")


def _plan(
    infos: list[zipfile.ZipInfo], below: PurePosixPath, work: _Work, chain: str
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return what is to be written where; nothing has been written when this raises."""
    plan: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    unsafe: list[str] = []
    for info in infos:
        # Some Windows tools part folders by backslashes.
        name = info.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        why = _why_unsafe(info, parts)
        if why is None and not _skipped(parts):
            is_file = not name.endswith("/")
            target = below.joinpath(*parts)
            # An inner archive does not itself arrive, so it takes no name.
            arrives = not (is_file and target.suffix.lower() == ".zip")
            why = _why_taken(target, work, is_file=is_file) if arrives else None
            if why is None and is_file:
                plan.append((info, target))
        if why is not None:
            unsafe.append(f"{info.orig_filename[:200]!r} {why}")
    if unsafe:
        more = f", and {len(unsafe) - _NAMED_AT_MOST:,} more" if len(unsafe) > _NAMED_AT_MOST else ""
        raise DataError(
            f"{chain} is not safe to unpack, and nothing was: {'; '.join(unsafe[:_NAMED_AT_MOST])}{more}. "
            "Expected plain files in plain folders"
        )
    return plan


def _why_unsafe(info: zipfile.ZipInfo, parts: list[str]) -> str | None:
    name = info.filename
    checks = (
        (name.startswith(("/", "\\")), "is an absolute path"),
        (any(":" in part for part in parts), "names a drive or a stream"),
        (".." in parts, "climbs out of its folder"),
        (any(ord(c) < 32 for c in info.orig_filename), "has a control character in its name"),
        (any(DEVICE_NAME.fullmatch(part) for part in parts), "is a device's name on Windows"),
        (len(parts) > MAX_LEVELS, f"lies more than {MAX_LEVELS} folders deep"),
        (any(len(part.encode()) > 255 for part in parts), "has a name of more than 255 bytes"),
        (not parts and not name.endswith(("/", "\\")), "has no name"),
    )
    return next((why for bad, why in checks if bad), why_not(info) or None)


def _skipped(parts: list[str]) -> bool:
    return any(part == "__MACOSX" or part.startswith(".") for part in parts) or not parts


def _why_taken(target: PurePosixPath, work: _Work, *, is_file: bool) -> str | None:
    """Take a name and its folders' names; say why that cannot be, on a disk that ignores case."""
    for path in (target, *target.parents[:-1]):
        wanted = (str(path), is_file and path == target)
        held = work.taken.setdefault(_disk_key(path), wanted)
        if held is wanted:
            continue  # nobody had it
        if held != wanted or wanted[1]:
            return f"collides with {held[0]!r}"
    return None


def _disk_key(path: PurePosixPath) -> str:
    """Return what two paths share when Windows or macOS takes them for one."""
    parts = (unicodedata.normalize("NFC", part).casefold().rstrip(" .") for part in path.parts)
    return "/".join(parts)


def _copy(source: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, work: _Work) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source.open(info) as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):  # the last read compares the CRC
            written += len(chunk)
            work.written_bytes += len(chunk)
            if written > info.file_size or work.written_bytes > work.limits.total_bytes:
                raise zipfile.BadZipFile(
                    f"{info.filename!r} goes on after its declared {info.file_size:,} bytes"
                )
            writer.write(chunk)
    if written != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename!r} ends after {written:,} of {info.file_size:,} bytes")
