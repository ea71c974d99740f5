"""What hemoscope keeps and can make again: canvases, unpacked data, what scans remember. Listed, cleared when asked."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hemoscope.data.canvas import ABOUT
from hemoscope.data.scan.packed import SOURCE
from hemoscope.errors import RunError
from hemoscope.files import lock_folder
from hemoscope.places import cache_dir

__all__ = ["Kept", "clear", "kept"]


What = Literal["canvas", "unpacked", "scan"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that can be made again.

    Attributes:
        what: A canvas, the images of a zip or Parquet, or what a scan remembers.
        path: Its folder or file.
        root: The data set it was made of; empty where it does not say.
        bytes: How much room it takes.
        unused_days: Days since it was last used.
    """

    what: What
    path: Path
    root: str
    bytes: int
    unused_days: float


def kept() -> list[Kept]:
    """Return everything kept below the cache folder that can be made again, the largest first."""
    found = [_kept("canvas", home, home / ABOUT) for home in _inside(cache_dir() / "canvas")]
    found += [_kept("unpacked", home, home / SOURCE) for home in _inside(cache_dir() / "unpacked")]
    found += [_kept("scan", file, file) for file in _inside(cache_dir() / "scan")]
    return sorted(found, key=lambda item: (-item.bytes, item.path))


def clear(items: Iterable[Kept]) -> list[Kept]:
    """Delete what is not being written; return what was deleted.

    Where another process still reads a canvas, the system frees its room when that ends.
    """
    deleted: list[Kept] = []
    for item in items:
        with suppress(OSError, RunError):
            if item.path.is_dir():
                with lock_folder(item.path):
                    for about in (ABOUT, SOURCE):
                        (item.path / about).unlink(missing_ok=True)
                    shutil.rmtree(item.path)
            else:
                item.path.unlink()
            deleted.append(item)
    return deleted


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _kept(what: What, path: Path, described: Path) -> Kept:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    used_at = described.stat().st_mtime if described.exists() else path.stat().st_mtime
    return Kept(
        what,
        path,
        root=_root(described),
        bytes=sum(file.stat().st_size for file in files),
        unused_days=max(0.0, time.time() - used_at) / 86_400,
    )


def _root(described: Path) -> str:
    """Return the data set that a canvas, unpacked images or a remembered scan say they were made of."""
    try:
        with described.open("rb") as file:
            text = file.read(2**16)
        document = json.loads(text if described.suffix == ".json" else text.partition(b"\n")[0])
        return str(document["root"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
