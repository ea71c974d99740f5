"""Files that may come from anybody: read only where they are plain ones, and no larger than they should be.

A pipe would be waited for, and a device never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["check_plain", "read_plain", "why"]


def check_plain(path: Path) -> None:
    """Refuse what is there and is no plain file.

    Raises:
        OSError: With what it is; also if it is not there.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, expected a plain file", str(path))


def read_plain(path: Path, *, most: int) -> bytes:
    """Return the content of a plain file of at most so many bytes.

    Raises:
        OSError: If it is not there, is none, or is larger.
    """
    check_plain(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", str(path))
    return content


def why(error: Exception) -> str:
    """Return what an error says, without number and path where the system says them."""
    return getattr(error, "strerror", None) or str(error)
