"""Bytes that are on the disk when a function returns: files, and the names of files in folders."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hemoscope.errors import DISK_FULL, HemoscopeError

__all__ = ["DiskFullError", "full_told", "need_room", "sync_folder", "write_synced"]


class DiskFullError(HemoscopeError):
    """There is no room for what came."""


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a file that was renamed into it is there after a power cut."""
    if sys.platform == "win32":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file whose content is on the disk when this returns; for its name see `sync_folder`.

    Raises:
        DiskFullError: If the disk is full.
    """
    with full_told(), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def need_room(folder: Path, wanted: int, *, spare: int) -> None:
    """Refuse what would fill the disk.

    Raises:
        DiskFullError: If fewer than `wanted` and `spare` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + spare:
        raise DiskFullError(
            f"the server's disk has {max(free - spare, 0):,} bytes free, and {wanted:,} came; nothing was changed. Make "
            "room and try again"
        )


@contextmanager
def full_told() -> Iterator[None]:
    """Turn the system's error of a full disk into one that says what to do.

    Raises:
        DiskFullError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise DiskFullError(
            "the server's disk is full; nothing more was saved. Make room and try again"
        ) from error
