"""The canvas: every image decoded and resized once, into one memory-mapped uint8 array.

Built in parallel once for all runs of a data set; it lives in the cache folder under a name made of
the manifest's digest and the size, so a changed image means another canvas. The description is
written last, so that a killed build is never taken for whole; the next one goes on with it, after reading
what it has. A process reads a canvas whole before it uses it, so that no bit of it changes a result in silence.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import mmap
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.framing import SQUARE, Framing
from hemoscope.data.images.square import is_long
from hemoscope.errors import DataError, ShapeError
from hemoscope.files import lock_folder, write_json
from hemoscope.places import available_cores, cache_dir
from hemoscope.progress import Progress
from hemoscope.records import CellImage, IntArray, Manifest

__all__ = ["ABOUT", "PIXELS", "Canvas", "is_long", "open_canvas"]

# Part of the name: change it whenever decoding or resizing changes a pixel.
PIXEL_RULES = "3: upright RGB, central square, Pillow bilinear with antialiasing, rows before columns"
FRAME_RULES = "1: whole image on white, nuclei of one size"
PIXELS, ABOUT = "pixels.npy", "canvas.json"
_PART, _NOTE = f"{PIXELS}.part", f"{PIXELS}.part.json"
_NOTE_EVERY = 1024  # squares; a kill costs no more than these

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

    def soon(self, rows: IntArray) -> None:
        """Let the system read rows that are needed next, while something else is done; where it can, and is asked.

        A canvas larger than memory lies on the disk, and an epoch wants its rows in any order.
        """
        memory = self.pixels.base
        if not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
            return
        size = self.pixels[0].nbytes
        first = len(memory) - self.pixels.nbytes
        for row in rows.tolist():
            start = first + row * size
            page = start - start % mmap.PAGESIZE
            memory.madvise(mmap.MADV_WILLNEED, page, start + size - page)


def open_canvas(
    manifest: Manifest,
    canvas_px: int,
    *,
    framing: Framing = SQUARE,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Canvas:
    """Return the canvas of a data set, building it if it is not there.

    Args:
        manifest: The images; those of the manifest, no others.
        canvas_px: Side of the squares.
        framing: How an image becomes one.
        folder: Where canvases are kept; by default below the cache folder.
        progress: Called after each image while building.

    Raises:
        DataError: If an image changed since the scan, or the disk is too small.
    """
    if canvas_px < 8:
        raise ShapeError(f"expected a canvas of at least 8 px, got {canvas_px}")
    home = (folder or cache_dir() / "canvas") / _key(manifest, canvas_px, framing)
    if not _is_sound(home):
        try:
            with lock_folder(home, wait=True):
                if not _is_sound(home):  # another process may have built it while we waited
                    _build(manifest, canvas_px, framing, home, progress)
        except OSError as error:
            raise DataError(
                f"the canvas cannot be written to {home}: {error.strerror or error}; make room or set "
                "HEMOSCOPE_CACHE to a folder that can be written"
            ) from error
    with suppress(OSError):
        os.utime(home / ABOUT)  # when it was last used
    pixels = np.load(home / PIXELS, mmap_mode="r")
    return Canvas(pixels, {image.path: row for row, image in enumerate(manifest.images)})


def _key(manifest: Manifest, canvas_px: int, framing: Framing) -> str:
    text = f"{manifest.digest}\0{canvas_px}\0{PIXEL_RULES}"
    if framing.view_px is not None:
        text += f"\0{FRAME_RULES}\0{framing.view_px!r}"
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


def _build(
    manifest: Manifest, canvas_px: int, framing: Framing, home: Path, progress: Progress | None
) -> None:
    shape = (len(manifest.images), canvas_px, canvas_px, 3)
    needed = int(np.prod(shape, dtype=np.int64))
    (home / ABOUT).unlink(missing_ok=True)
    part, note = home / _PART, home / _NOTE
    free = shutil.disk_usage(home).free + (part.stat().st_size if part.exists() else 0)
    if free < needed * 1.02:
        raise DataError(
            f"the canvas of {shape[0]:,} images needs {needed / 2**30:.1f} GiB in {home}, which has "
            f"{free / 2**30:.1f} GiB free; make room or set HEMOSCOPE_CACHE to a larger disk"
        )
    try:
        _write(manifest, framing, shape, home, progress)
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part.replace(home / PIXELS)
        note.unlink(missing_ok=True)
    except (OSError, DataError):
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        raise
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
    manifest: Manifest,
    framing: Framing,
    shape: tuple[int, int, int, int],
    home: Path,
    progress: Progress | None,
) -> None:
    """Write the squares as a NumPy file, from where a killed build ended.

    Not through a memory map: there a disk that fills ends the process, here it is an error. The rows of an
    `.npz` come in another order than they are written in, so that its canvas is built from the beginning.
    """
    problems: list[str] = []
    head, size = _header(shape), shape[1] * shape[2] * shape[3]
    begun, sha = (0, hashlib.sha256(head)) if manifest.is_npz else _begun(home, head, size)
    with (home / _PART).open("rb+" if begun else "wb") as file:
        file.truncate(len(head) + begun * size if begun else 0)
        file.write(head)
        for done, (row, square) in enumerate(_squares(manifest, framing, shape[1], begun), begun + 1):
            if isinstance(square, str):
                problems.append(square)
            else:
                raw = square.tobytes()
                file.seek(len(head) + row * size)
                file.write(raw)
                sha.update(raw)
            if done % _NOTE_EVERY == 0 and not problems and not manifest.is_npz:
                _flush(file)
                write_json(home / _NOTE, {"squares": done, "sha256": sha.hexdigest()})
            if progress:
                progress("building the canvas", done, shape[0])
        _flush(file)
    if problems:
        listing = "\n  ".join(problems[:20])
        raise DataError(
            f"{len(problems)} images changed since they were scanned; run again, and if it goes on, "
            f"hemoscope data cache --clear:\n  {listing}"
        )


def _header(shape: tuple[int, int, int, int]) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return head.getvalue()


def _begun(home: Path, head: bytes, size: int) -> tuple[int, hashlib._Hash]:
    """Return how many squares a killed build has left, read for itself, and the digest up to there."""
    try:
        note = json.loads((home / _NOTE).read_text("utf-8"))
        squares, wanted = int(note["squares"]), note["sha256"]
        sha = hashlib.sha256()
        with (home / _PART).open("rb") as file:
            if len(head) + squares * size <= os.fstat(file.fileno()).st_size:
                for n in (len(head), *itertools.repeat(size, squares)):
                    sha.update(file.read(n))
        if sha.hexdigest() == wanted:
            return squares, sha
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, hashlib.sha256(head)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _squares(
    manifest: Manifest, framing: Framing, canvas_px: int, begun: int
) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """Yield the row and square of every image, or what is wrong with it; a bounded number in memory.

    Args:
        manifest: The images.
        framing: How an image becomes a square.
        canvas_px: Side of the squares.
        begun: How many are there already.
    """
    if manifest.is_npz:
        from hemoscope.data.scan.npz import npz_images

        rows = {image.path: row for row, image in enumerate(manifest.images)}
        for path, pixels in npz_images(manifest.root):
            yield rows[path], framing.square(pixels, canvas_px)
        return
    workers = available_cores()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(begun, len(manifest.images), 64 * workers):
            chunk = manifest.images[start : start + 64 * workers]
            squares = pool.map(lambda image: _read_square(manifest.root, image, framing, canvas_px), chunk)
            yield from enumerate(squares, start)


def _read_square(root: Path, image: CellImage, framing: Framing, canvas_px: int) -> NDArray[np.uint8] | str:
    from hemoscope.data.images.decode import decode
    from hemoscope.errors import ImageError

    try:
        raw = (root / image.path).read_bytes()
        if hashlib.sha256(raw).hexdigest() != image.hash:
            return f"{image.path}: its bytes are no longer those of the scan"
        return framing.square(decode(raw).pixels, canvas_px)
    except (OSError, ImageError) as error:
        return f"{image.path}: {error}"
