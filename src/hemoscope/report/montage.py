"""Pictures of a data set for a report, and thumbnails of them as small JPEG files in memory.

Reads a folder of class folders or a BloodMNIST `.npz`. An image that cannot be read gives no
thumbnail, because a report must not fail on a data set that has moved; the page then shows its name.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.decode import decode
from hemoscope.errors import ImageError

__all__ = ["THUMB_PX", "Thumbnail", "pictures", "thumbnail", "thumbnails"]

THUMB_PX = 150
_QUALITY = 84


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG file in memory and its size."""

    jpeg: bytes
    width_px: int
    height_px: int


def thumbnails(root: Path, paths: Iterable[str]) -> dict[str, Thumbnail]:
    """Return thumbnails of those images that can be read.

    Args:
        root: The data folder or `.npz` the paths are below.
        paths: As in a manifest: `class/file.jpg`, or `test/00017` inside an `.npz`.
    """
    return {path: thumbnail(pixels) for path, pixels in pictures(root, paths).items()}


def pictures(root: Path, paths: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Return the pixels, shape (H, W, 3), of those images that can be read; arguments as above."""
    wanted = list(paths)
    if root.suffix.lower() == ".npz":
        return _from_npz(root, wanted)
    return {path: found for path in wanted if (found := _from_folder(root, path)) is not None}


def _from_folder(root: Path, path: str) -> NDArray[np.uint8] | None:
    below = PurePosixPath(path)
    if below.is_absolute() or ".." in below.parts:  # a run made elsewhere may name any path
        return None
    try:
        return decode(root / below).pixels
    except (ImageError, ValueError):  # ValueError: a name no file can have, such as one with a zero byte
        return None


def _from_npz(root: Path, paths: list[str]) -> dict[str, NDArray[np.uint8]]:
    """Read the rows that are asked for, one after the other, so that memory stays flat."""
    by_side: dict[str, list[tuple[int, str]]] = {}
    for path in paths:
        side, _, index = path.partition("/")
        if index.isdecimal():
            by_side.setdefault(side, []).append((int(index), path))
    found: dict[str, NDArray[np.uint8]] = {}
    try:
        with zipfile.ZipFile(root) as archive:
            for side, rows in by_side.items():
                found |= _rows(archive, f"{side}_images.npy", sorted(rows))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return found
    return found


def _rows(archive: zipfile.ZipFile, member: str, rows: list[tuple[int, str]]) -> dict[str, NDArray[np.uint8]]:
    found: dict[str, NDArray[np.uint8]] = {}
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            return {}
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype != np.uint8 or len(shape) not in (3, 4):
            return {}
        row_bytes, start = int(np.prod(shape[1:])), file.tell()
        for index, path in rows:
            file.seek(start + index * row_bytes)
            body = file.read(row_bytes)
            if len(body) == row_bytes:
                pixels = np.frombuffer(body, dtype=np.uint8).reshape(shape[1], shape[2], -1)
                found[path] = np.array(np.broadcast_to(pixels, (*shape[1:3], 3)))
    return found


def thumbnail(pixels: NDArray[np.uint8]) -> Thumbnail:
    """Return decoded pixels, shape (H, W, 3), as a thumbnail."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return Thumbnail(buffer.getvalue(), *image.size)
