"""A BloodMNIST-like `.npz` becomes a Manifest, or a DataError that lists everything wrong with it.

Arrays are read row by row, so memory stays flat however large the file is. Nothing is unpickled.

Source:
    J. Yang et al., MedMNIST v2, Scientific Data 10, 41 (2023): keys, shapes and class order.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.catalog import SOURCES
from hemoscope.data.images.decode import MAX_PIXELS, Decoded
from hemoscope.data.images.fingerprint import fingerprint
from hemoscope.errors import DataError
from hemoscope.paper import CLASSES
from hemoscope.plain_files import check_plain, why
from hemoscope.progress import Progress
from hemoscope.records import SIDES, CellImage, Manifest, Side

__all__ = ["npz_images", "scan_npz"]

_MAX_LABELS = 1000
# What zipfile, its decompressors and numpy's reader of headers raise on a file that is damaged or encrypted.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError, SyntaxError),
)


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class _Layout:
    """A checked file: the header of each side's images, and its labels."""

    images: dict[Side, _Header]
    labels: dict[Side, NDArray[np.int64]]
    classes: tuple[str, ...]


def scan_npz(root: Path, *, progress: Progress | None = None) -> Manifest:
    """Read every image of an `.npz` with the keys {train,val,test}_{images,labels}.

    Images are uint8, (N, S, S) or (N, S, S, 3); labels are integers, (N,) or (N, 1). Paths are
    `train/00017`, and every image keeps the side it was published on.

    Raises:
        DataError: Everything wrong with the file, at once.
    """
    with _opened(root) as archive:
        layout = _checked(root, archive)
        total = sum(len(labels) for labels in layout.labels.values())
        images: list[CellImage] = []
        converted: Counter[str] = Counter()
        for (side, index, pixels), path in zip(_rows(root, archive, layout), _paths(layout), strict=True):
            gray = layout.images[side].shape[-1] != 3 or len(layout.images[side].shape) == 3
            result = fingerprint(Decoded(pixels, ("grayscale",) if gray else ()))
            converted.update(result.conversions)
            name = layout.classes[int(layout.labels[side][index])]
            images.append(result.image(path, name, "", side))
            if progress is not None:
                progress("reading images", len(images), total)
    return Manifest(
        root=root,
        classes=layout.classes,
        images=tuple(sorted(images, key=lambda image: image.path)),
        converted=dict(converted),
    )


def npz_images(root: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (path, pixels (S, S, 3) uint8 RGB) of every image in the order of the file.

    Raises:
        DataError: Everything wrong with the file, at once.
    """
    with _opened(root) as archive:
        layout = _checked(root, archive)
        for (_, _, pixels), path in zip(_rows(root, archive, layout), _paths(layout), strict=True):
            yield path, pixels


def _opened(root: Path) -> zipfile.ZipFile:
    try:
        check_plain(root)
        return zipfile.ZipFile(root)
    except _UNREADABLE as error:
        raise _refused(root, [f"it is no readable zip archive: {why(error)}"]) from error


def _refused(root: Path, problems: list[str]) -> DataError:
    shown = str(root) if str(root).isprintable() else repr(str(root))
    return DataError(
        f"{shown} cannot be used:\n"
        + "\n".join(f"  {problem}" for problem in problems)
        + "\nExpected the arrays {train,val,test}_images, uint8 (N, S, S) or (N, S, S, 3), and "
        "{train,val,test}_labels, integers (N, 1). Get one: hemoscope data fetch bloodmnist"
    )


def _checked(root: Path, archive: zipfile.ZipFile) -> _Layout:
    """Check headers and labels of all six arrays before any image is read."""
    problems: list[str] = []
    images: dict[Side, _Header] = {}
    labels: dict[Side, NDArray[np.int64]] = {}
    for side in SIDES:
        header = _image_header(archive, f"{side}_images", problems)
        values = _labels(archive, f"{side}_labels", problems)
        if header is not None and values is not None:
            if header.shape[0] != len(values):
                problems.append(f"{side}: {header.shape[0]} images but {len(values)} labels")
            images[side], labels[side] = header, values
    sizes = sorted({header.shape[1:] for header in images.values()})
    if len(sizes) > 1:
        problems.append(f"the sides have images of different shapes: {', '.join(map(str, sizes))}")
    if not problems and len(np.unique(np.concatenate(list(labels.values())))) < 2:
        problems.append("expected at least 2 different labels, found 1")
    if problems:
        raise _refused(root, problems)
    n_classes = 1 + max(int(values.max()) for values in labels.values())
    return _Layout(images, labels, _class_names(root, n_classes, color=sizes[0][2:] == (3,)))


def _class_names(root: Path, n_classes: int, *, color: bool) -> tuple[str, ...]:
    """Name the labels: BloodMNIST's are cells, in their alphabetical order; of others only the number is known."""
    if n_classes == len(CLASSES) and color and _is_blood(root):
        return CLASSES
    digits = len(str(n_classes - 1))  # so that alphabetical order is label order
    return tuple(f"class_{label:0{digits}d}" for label in range(n_classes))


def _is_blood(root: Path) -> bool:
    """Whether a file is BloodMNIST by its name or, under another name, by its digest."""
    if root.name.lower().startswith("bloodmnist"):
        return True
    published = {source.digest for source in SOURCES if source.form == "npz"}
    with root.open("rb") as file:
        return f"md5:{hashlib.file_digest(file, _md5).hexdigest()}" in published


def _md5():
    return hashlib.md5(usedforsecurity=False)  # what its publishers name; nothing is trusted by it


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"array format {version} is unknown")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if fortran and len(shape) > 1:
        raise ValueError("it is stored in column order; save it with numpy.ascontiguousarray")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return _Header(shape, dtype)


def _image_header(archive: zipfile.ZipFile, key: str, problems: list[str]) -> _Header | None:
    try:
        with archive.open(f"{key}.npy") as file:
            header = _read_header(file)
    except KeyError:
        problems.append(f"{key} is missing")
    except _UNREADABLE as error:
        problems.append(f"{key} cannot be read: {error}")
    else:
        shape = header.shape
        square = len(shape) in {3, 4} and shape[1] == shape[2] and (len(shape) == 3 or shape[3] in {1, 3})
        if header.dtype != np.uint8 or not square:
            problems.append(f"{key} is {header.dtype} {shape}; expected uint8 (N, S, S) or (N, S, S, 3)")
        elif shape[0] == 0 or shape[1] == 0 or shape[1] ** 2 > MAX_PIXELS:
            problems.append(f"{key} has shape {shape}; expected at least one image of a sensible size")
        else:
            return header
    return None


def _labels(archive: zipfile.ZipFile, key: str, problems: list[str]) -> NDArray[np.int64] | None:
    try:
        with archive.open(f"{key}.npy") as file:
            header = _read_header(file)
            flat = len(header.shape) == 1 or (len(header.shape) == 2 and header.shape[1] == 1)
            if header.dtype.kind not in "iu" or not flat or header.shape[0] == 0:
                problems.append(f"{key} is {header.dtype} {header.shape}; expected integers (N, 1)")
                return None
            body = _read_exactly(file, header.shape[0] * header.dtype.itemsize)
    except KeyError:
        problems.append(f"{key} is missing")
        return None
    except _UNREADABLE as error:
        problems.append(f"{key} cannot be read: {error}")
        return None
    values = np.frombuffer(body, dtype=header.dtype).astype(np.int64)
    if values.min() < 0 or values.max() >= _MAX_LABELS:
        problems.append(f"{key} goes from {values.min()} to {values.max()}; expected 0 to {_MAX_LABELS - 1}")
        return None
    return values


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    """Read `size` bytes; an archive that promises more than it holds is truncated."""
    body = file.read(size)
    if len(body) != size:
        raise EOFError(f"truncated: {len(body):,} of {size:,} bytes")
    return body


def _expect_end(file: IO[bytes]) -> None:
    """Read to the end, where the archive's checksum is compared; nothing may be left."""
    if file.read(1):
        raise EOFError("longer than its header says")


def _paths(layout: _Layout) -> Iterator[str]:
    digits = max(5, *(len(str(len(labels) - 1)) for labels in layout.labels.values()))
    for side in SIDES:
        for index in range(len(layout.labels[side])):
            yield f"{side}/{index:0{digits}d}"


def _rows(
    root: Path, archive: zipfile.ZipFile, layout: _Layout
) -> Iterator[tuple[Side, int, NDArray[np.uint8]]]:
    for side in SIDES:
        shape = layout.images[side].shape
        try:
            with archive.open(f"{side}_images.npy") as file:
                _read_header(file)
                for index in range(shape[0]):
                    body = _read_exactly(file, math.prod(shape[1:]))
                    pixels = np.frombuffer(body, dtype=np.uint8).reshape(shape[1], shape[2], -1)
                    yield side, index, np.array(np.broadcast_to(pixels, (*shape[1:3], 3)))
                _expect_end(file)
        except _UNREADABLE as error:
            raise _refused(root, [f"{side}_images cannot be read: {error}"]) from error
