"""The one reader of archives: their members one after the other, within limits that hold whatever they claim.

Nothing is written to disk. Decompressors are asked for a bounded piece at a time and what comes out is
counted, so that an archive that claims little and gives much ends as damage and not as a full memory.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Self, cast

from hemoscope.errors import DataError

__all__ = ["MAX_LEVELS", "Limits", "Member", "damage_told", "is_archive", "members", "open_xz", "why_not"]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OTHER_SUFFIXES = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")  # known as archives, not read
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}  # the others unpack without bound
MAX_LEVELS = 32  # folders in a name
_PIECE = 1 << 20
_XZ_MEMORY = 128 << 20  # what `xz -9` needs to be unpacked is 65 MiB
_MAX_HEADER = 1 << 20  # of a tar's long names and extended headers


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may come to.

    Attributes:
        entries: Files and folders.
        total_bytes: Bytes unpacked, headers included.
        ratio: Bytes unpacked for each byte of the archive, beyond 16 MiB that are always allowed. Photographs
            come to about 1, DEFLATE can reach 1,032, bzip2 millions.
        member_bytes: Bytes of one member.
    """

    entries: int = 1_000_000
    total_bytes: int = 1 << 40
    ratio: float = 200.0
    member_bytes: int = 128 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: As the archive gives it, with `/` between folders.
        problem: Why it cannot be read; empty for a plain file.
        read: Gives its bytes once, before the next member is asked for.
    """

    name: str
    problem: str
    read: Callable[[], bytes]


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name, one that is read here or not."""
    return name.lower().endswith((".zip", *TAR_SUFFIXES, *OTHER_SUFFIXES))


def members(path: Path, limits: Limits | None = None) -> Iterator[Member]:
    """Yield the files of a zip (by name) or tar (in its own order); folders are passed over.

    Raises:
        DataError: If the archive, or the member just read, is damaged or beyond the limits.
    """
    limits = limits or Limits()
    with damage_told(path.name):
        if path.name.lower().endswith(".zip"):
            yield from _zip(path, limits)
        elif path.name.lower().endswith(TAR_SUFFIXES):
            yield from _tar(path, limits)
        else:
            raise DataError("it is no zip and no tar; unpack it first")


def why_not(info: zipfile.ZipInfo) -> str:
    """Return why an entry of a zip cannot be read as a plain file; empty if it can."""
    kind = stat.S_IFMT(info.external_attr >> 16)  # zero where no Unix system made the archive
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "is a device or a pipe"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in METHODS:
        known = zipfile.compressor_names.get(info.compress_type, "unknown")  # type: ignore[attr-defined]
        return f"is compressed by method {info.compress_type} ({known}); expected {' or '.join(METHODS.values())}"
    if info.filename.count("/") > MAX_LEVELS:
        return f"lies more than {MAX_LEVELS} folders deep"
    return ""


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn what decompressors and readers of archives raise into a DataError; a disk's own errors pass."""
    damage = (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        IndexError,
    )
    try:
        yield
    except (*damage, ValueError, RuntimeError, MemoryError) as error:
        raise _damaged(name, error) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(name, error) from error  # of gzip or bz2, or a place before the file's beginning


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} is damaged, cut short or no archive: {error or type(error).__name__}; get it again"
    )


def open_xz(path: Path) -> IO[bytes]:
    """Open an `.xz` file for reading in bounded memory."""
    return cast("IO[bytes]", io.BufferedReader(_Xz(path.open("rb")), _PIECE))


def _zip(path: Path, limits: Limits) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.filename)
        _refuse_beyond(limits, len(infos), sum(i.file_size for i in infos), path.stat().st_size)
        for info in infos:
            if not info.is_dir():
                yield Member(info.filename, why_not(info), lambda info=info: _of_zip(archive, info, limits))


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    with damage_told(info.filename), archive.open(info) as file:
        return _bounded(file, info.filename, limits)


def _tar(path: Path, limits: Limits) -> Iterator[Member]:
    with _decompressed(path) as file:
        counted = cast("IO[bytes]", _Counted(file, limits, path.stat().st_size))
        archive = tarfile.open(fileobj=counted, mode="r|", tarinfo=_Plain, bufsize=_PIECE)  # noqa: SIM115  owns nothing
        for n, info in enumerate(archive):
            archive.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
            if n >= limits.entries:
                raise DataError(f"it holds more than {limits.entries:,} entries")
            if not info.isdir():
                yield Member(info.name, _odd_in_tar(info), lambda info=info: _of_tar(archive, info, limits))


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, limits: Limits) -> bytes:
    with damage_told(info.name):
        file = archive.extractfile(info)
        if file is None:  # no plain file: `problem` has said so
            raise DataError(f"{info.name} {_odd_in_tar(info)}")
        return _bounded(file, info.name, limits)


def _odd_in_tar(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a link"
    if info.issparse():
        return "is sparse; expected a plain file"
    if not info.isfile():
        return "is a device or a pipe"
    if info.name.count("/") > MAX_LEVELS:
        return f"lies more than {MAX_LEVELS} folders deep"
    return ""


def _bounded(file: IO[bytes], name: str, limits: Limits) -> bytes:
    content = file.read(limits.member_bytes + 1)
    if len(content) > limits.member_bytes:
        raise DataError(f"{name} has more than {limits.member_bytes:,} bytes")
    return content


def _refuse_beyond(limits: Limits, entries: int, unpacked: int, packed: int) -> None:
    if entries > limits.entries:
        raise DataError(f"it holds {entries:,} entries; expected at most {limits.entries:,}")
    if unpacked > min(limits.total_bytes, limits.ratio * packed + (16 << 20)):
        raise DataError(
            f"it unpacks {packed:,} bytes to {unpacked:,} or more; expected at most {limits.ratio:g} times as "
            "many, as images do not shrink further"
        )


class _Plain(tarfile.TarInfo):
    """A header that is refused before anything that it claims is read into memory."""

    _EXTENDED: ClassVar[set[bytes]] = {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in cls._EXTENDED and info.size > _MAX_HEADER:
            raise DataError(f"a header claims {info.size:,} bytes; expected at most {_MAX_HEADER:,}")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise DataError("it holds sparse files; pack it again without them")
        return info


class _Counted:
    """What comes out of a decompressor, counted."""

    def __init__(self, file: IO[bytes], limits: Limits, packed: int) -> None:
        self._file, self._limits, self._packed, self._came = file, limits, packed, 0

    def read(self, size: int) -> bytes:
        content = self._file.read(min(size, _PIECE))
        self._came += len(content)
        _refuse_beyond(self._limits, 0, self._came, self._packed)
        return content


def _decompressed(path: Path) -> IO[bytes]:
    name = path.name.lower()
    if name.endswith(("gz", "tgz")):
        return cast("IO[bytes]", gzip.open(path))
    if name.endswith(("bz2", "tbz2")):
        return cast("IO[bytes]", bz2.open(path))
    return open_xz(path) if name.endswith("xz") else path.open("rb")


class _Xz(io.RawIOBase):
    """An .xz file; the library's own reader takes as much memory as the file's header asks for, up to 4 GiB."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decompressor = file, self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        while True:
            packed = b""
            if self._decompressor.eof:  # another stream may follow, or the padding of one
                packed = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(_PIECE).lstrip(b"\0")
                if not packed:
                    return 0
                self._decompressor = self._new()
            elif self._decompressor.needs_input:
                packed = self._file.read(_PIECE)
                if not packed:
                    raise EOFError("it ends before the end of its stream")
            content = self._decompressor.decompress(packed, wanted)
            if content:
                buffer[: len(content)] = content
                return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
