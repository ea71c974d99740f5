"""The canvas: every image decoded and resized once, into one memory-mapped uint8 array.

Built in parallel once for all runs of a data set; it lives in the cache folder under a name made of
the manifest's digest and the size, so a changed image means another canvas. The description is
written last: a killed build leaves nothing that a later one trusts. A process reads a canvas whole
before it uses it, so that no bit of it changes a result in silence.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import DataError, ShapeError
from hemoscope.files import lock_folder, write_json
from hemoscope.places import available_cores, cache_dir
from hemoscope.progress import Progress
from hemoscope.records import CellImage, IntArray, Manifest

__all__ = ["ABOUT", "PIXELS", "Canvas", "center_square", "is_long", "open_canvas"]

# Part of the name: change it whenever decoding or resizing changes a pixel.
PIXEL_RULES = "3: upright RGB, central square, Pillow bilinear with antialiasing, rows before columns"
PIXELS, ABOUT = "pixels.npy", "canvas.json"

_read_whole: set[tuple[Path, int, int]] = set()  # by this process: home, size and time of the pixels


@dataclass(frozen=True)
class Canvas:
    """A data set's pixels.

    Attributes:
        pixels: Memory map, uint8, shape (N, canvas_px, canvas_px, 3), RGB.
        index: Row of every path.
    """

    pixels: NDArray[np.uint8]
    index: dict[str, int]

    @property
    def canvas_px(self) -> int:
        """Side of the squares."""
        return self.pixels.shape[1]

    def rows(self, paths: list[str]) -> IntArray:
        """Return the rows of the given paths, shape (len(paths),)."""
        return np.array([self.index[path] for path in paths], dtype=np.int64)


def open_canvas(
    manifest: Manifest, canvas_px: int, *, folder: Path | None = None, progress: Progress | None = None
) -> Canvas:
    """Return the canvas of a data set, building it if it is not there.

    Args:
        manifest: The images; those of the manifest, no others.
        canvas_px: Side of the squares.
        folder: Where canvases are kept; by default below the cache folder.
        progress: Called after each image while building.

    Raises:
        DataError: If an image changed since the scan, or the disk is too small.
    """
    if canvas_px < 8:
        raise ShapeError(f"expected a canvas of at least 8 px, got {canvas_px}")
    home = (folder or cache_dir() / "canvas") / _key(manifest, canvas_px)
    if not _is_sound(home):
        try:
            with lock_folder(home, wait=True):
                if not _is_sound(home):  # another process may have built it while we waited
                    _build(manifest, canvas_px, home, progress)
        except OSError as error:
            raise DataError(
                f"the canvas cannot be written to {home}: {error.strerror or error}; make room or set "
                "HEMOSCOPE_CACHE to a folder that can be written"
            ) from error
    with suppress(OSError):
        os.utime(home / ABOUT)  # when it was last used
    pixels = np.load(home / PIXELS, mmap_mode="r")
    return Canvas(pixels, {image.path: row for row, image in enumerate(manifest.images)})


def center_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return the largest central square, resized to `side_px` with antialiasing.

    It is the centre crop after resizing the shorter side to `side_px`, without ever making the long
    side of a 1 x 5000 image 256 times longer.

    Args:
        pixels: uint8, shape (H, W, 3).
        side_px: Side of the result.
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    reach = max(1.0, side / side_px) + 1  # of the filter, and a row to spare
    first, last = max(0, floor(top - reach)), min(height, ceil(top + side + reach))
    image = Image.fromarray(pixels[first:last])
    # One direction at a time: in one call Pillow 13 takes the columns of a tall image first, Pillow 12 the
    # rows, and the rounding in between makes a quarter of the pixels differ.
    wide = image.resize((side_px, last - first), bilinear, box=(left, 0, left + side, last - first))
    square = wide.resize((side_px, side_px), bilinear, box=(0, top - first, side_px, top - first + side))
    return np.asarray(square)


def is_long(width_px: int, height_px: int) -> bool:
    """Whether the central square leaves more than half of an image out, and perhaps the cell.

    >>> is_long(800, 400), is_long(801, 400), is_long(300, 700)
    (False, True, True)
    """
    return max(width_px, height_px) > 2 * min(width_px, height_px)


def _key(manifest: Manifest, canvas_px: int) -> str:
    text = f"{manifest.digest}\0{canvas_px}\0{PIXEL_RULES}"
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{canvas_px}"


def _is_sound(home: Path) -> bool:
    """Whether a canvas holds the bytes that were written, as this process has read for itself."""
    try:
        with (home / PIXELS).open("rb") as file:
            stat = os.fstat(file.fileno())
            known = (home, stat.st_size, stat.st_mtime_ns)
            if known in _read_whole:
                return True
            wanted = json.loads((home / ABOUT).read_text("utf-8"))["sha256"]
            if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    _read_whole.add(known)
    return True


def _build(manifest: Manifest, canvas_px: int, home: Path, progress: Progress | None) -> None:
    shape = (len(manifest.images), canvas_px, canvas_px, 3)
    needed = int(np.prod(shape, dtype=np.int64))
    (home / ABOUT).unlink(missing_ok=True)
    part = home / f"{PIXELS}.part"
    part.unlink(missing_ok=True)
    free = shutil.disk_usage(home).free
    if free < needed * 1.02:
        raise DataError(
            f"the canvas of {shape[0]:,} images needs {needed / 2**30:.1f} GiB in {home}, which has "
            f"{free / 2**30:.1f} GiB free; make room or set HEMOSCOPE_CACHE to a larger disk"
        )
    try:
        problems = _write(manifest, shape, part, progress)
        if problems:
            listing = "\n  ".join(problems[:20])
            raise DataError(
                f"{len(problems)} images changed since they were scanned; run again, and if it goes on, "
                f"hemoscope data cache --clear:\n  {listing}"
            )
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part.replace(home / PIXELS)
    finally:
        part.unlink(missing_ok=True)
    write_json(
        home / ABOUT,
        {
            "manifest": manifest.digest,
            "root": str(manifest.root.resolve()),
            "canvas_px": canvas_px,
            "images": shape[0],
            "rules": PIXEL_RULES,
            "sha256": digest,
        },
    )


def _write(
    manifest: Manifest, shape: tuple[int, int, int, int], part: Path, progress: Progress | None
) -> list[str]:
    """Write the squares as a NumPy file; return what is wrong with the images that have none.

    Not through a memory map: there a disk that fills ends the process, here it is an error.
    """
    problems: list[str] = []
    with part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        first, size = file.tell(), shape[1] * shape[2] * shape[3]
        for done, (row, square) in enumerate(_squares(manifest, shape[1]), 1):
            if isinstance(square, str):
                problems.append(square)
            else:
                file.seek(first + row * size)
                file.write(square.tobytes())
            if progress:
                progress("building the canvas", done, shape[0])
        file.flush()
        os.fsync(file.fileno())
    return problems


def _squares(manifest: Manifest, canvas_px: int) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """Yield the row and square of every image, or what is wrong with it; a bounded number in memory."""
    if manifest.is_npz:
        from hemoscope.data.scan.npz import npz_images

        rows = {image.path: row for row, image in enumerate(manifest.images)}
        for path, pixels in npz_images(manifest.root):
            yield rows[path], center_square(pixels, canvas_px)
        return
    workers = available_cores()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(manifest.images), 64 * workers):
            chunk = manifest.images[start : start + 64 * workers]
            squares = pool.map(lambda image: _read_square(manifest.root, image, canvas_px), chunk)
            yield from enumerate(squares, start)


def _read_square(root: Path, image: CellImage, canvas_px: int) -> NDArray[np.uint8] | str:
    from hemoscope.data.images.decode import decode
    from hemoscope.errors import ImageError

    try:
        raw = (root / image.path).read_bytes()
        if hashlib.sha256(raw).hexdigest() != image.hash:
            return f"{image.path}: its bytes are no longer those of the scan"
        return center_square(decode(raw).pixels, canvas_px)
    except (OSError, ImageError) as error:
        return f"{image.path}: {error}"
