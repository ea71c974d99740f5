"""Files and folders that are whole or not there, locks that die with their process, and digests.

Everything hemoscope writes goes through here: a crash leaves the old file or none, never half of one.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hemoscope.encoding import json_text, to_text
from hemoscope.errors import DISK_FULL, DataError, RunError
from hemoscope.plain_files import check_plain

__all__ = [
    "atomic_path",
    "followed",
    "lock_folder",
    "new_folder",
    "refuse_existing",
    "refuse_inside",
    "refuse_occupied",
    "sha256_of",
    "write_json",
    "write_text",
]


_HELD = ".held"
_NAMELESS = DISK_FULL | {errno.EFBIG}  # writing names no file in its error; EFBIG: a limit on the size of one


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path` in one step.

    A crash leaves the old file or none, never half of one. What a killed process has left of the same file is
    deleted: its lock died with it. A link stays, and what it leads to is replaced.

    Raises:
        OSError: Before the work, if there is something else than a file.
    """
    path = followed(path)
    if path.exists():  # a device would be replaced, where the person may do so
        check_plain(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        _delete_abandoned(left)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    # Not by tempfile, whose files are for one person: who may read the result, the user's umask says.
    held = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        _lock(held)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if os.name == "nt":  # an open file cannot be renamed there, nor deleted by anybody else
            os.close(held)
            held = -1
        part.replace(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        if held >= 0:
            os.close(held)
        part.unlink(missing_ok=True)


def followed(path: Path) -> Path:
    """Return what a link leads to, or the path itself: where it is to be written, the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _name(error: OSError, path: Path) -> None:
    if error.errno in _NAMELESS and error.filename is None:
        error.filename = str(path)


def _lock(file: int) -> bool:
    """Hold an open file until this process ends; whether nobody else does."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows; somebody's; a file system without locks
        return False
    return True


def _delete_abandoned(part: Path) -> None:
    with suppress(OSError):
        if os.name == "nt":
            part.unlink()  # refused while somebody has it open
            return
        file = os.open(part, os.O_RDWR)
        try:
            if _lock(file):
                part.unlink()
        finally:
            os.close(file)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `folder` in one step, or is gone after an error.

    Beside it, in its parent, is room for what is not to arrive. What a killed process has left of the same folder is
    deleted: its lock died with it.

    Raises:
        DataError: If something is there already, before or after the work.
    """
    refuse_occupied(folder)
    folder = folder.resolve()  # a link to an empty folder stays
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rmdir()  # empty; Windows does not rename over it, and a mounted one is refused before the work
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.????????.part/{_HELD}"):
        _delete_abandoned(left)
        if not left.exists():
            shutil.rmtree(left.parent, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    held = os.open(scratch / _HELD, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        _lock(held)
        filled = scratch / "out"  # the scratch folder itself is for one person only
        filled.mkdir()
        yield filled
        refuse_occupied(folder)
        filled.replace(folder)
    except OSError as error:
        _name(error, folder)
        raise
    finally:
        os.close(held)
        shutil.rmtree(scratch, ignore_errors=True)


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder to write that holds anything, or is a file.

    Raises:
        DataError: If so.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is there already; expected it to be absent or an empty folder. It is left alone and "
            "nothing was written; choose another, or delete it first"
        )


def refuse_inside(out: Path, data: Path) -> None:
    """Refuse to write below a folder of images, before any work: it would be a class of them; a hidden one is none.

    Raises:
        DataError: If so.
    """
    place, root = out.resolve(), data.resolve()
    if not (data.is_dir() and place.is_relative_to(root)):
        return
    if not any(part.startswith(".") for part in place.relative_to(root).parts):
        raise DataError(
            f"{out} lies inside {data}, where it would be read as data; expected a folder outside of it"
        )


def refuse_existing(*paths: Path, overwrite: bool = False) -> None:
    """Refuse to write what is there already, before any work; with `overwrite` what is no file is refused.

    Raises:
        DataError: With all that is there.
    """
    there = [path for path in paths if os.path.lexists(path) and not (overwrite and path.is_file())]
    if there and overwrite:
        raise DataError("; ".join(f"{path}: expected a file to replace, got {_what(path)}" for path in there))
    if there:
        raise DataError(
            f"{', '.join(map(str, there))} is there already; choose another --out, or --overwrite to replace it"
        )


def _what(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a pipe or a device" if path.exists() else "a link to nothing"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a plain file in hexadecimal."""
    check_plain(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, with LF line ends on every system.

    What is not UTF-8 in a file name is written as an escape, which JSON reads back.
    """
    with atomic_path(path) as part:
        part.write_bytes(to_text(text).encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON document atomically; NaN becomes null, because JSON has no NaN."""
    write_text(path, json_text(value) + "\n")


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process; the operating system frees it even after a kill.

    Args:
        folder: Made if it is not there.
        wait: Wait until it is free instead of refusing.

    Raises:
        RunError: If another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process; wait for it or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
