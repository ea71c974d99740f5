"""One image file becomes upright 8-bit RGB, or an `ImageError`; never a part of an image.

What had to be converted on the way is told by name, so that a scan can count it. This module
never resizes, never guesses at a format Pillow does not know, and never runs another program
(which Pillow would do for PostScript).
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from hemoscope.data.images import tiff
from hemoscope.data.images.channels import are_channels
from hemoscope.data.images.checks import check_jpeg, check_jpeg2000, check_ppm, clean_png, name_of_kind
from hemoscope.data.images.color import color_of, is_narrow, is_sixteen_bit, is_srgb, on_white
from hemoscope.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "Decoded", "decode", "decode_opened", "read_image_file"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = 25_000_000
"""Of one image: a whole camera field of 20 million fits, and a cell is a thousandth of it.

Measured at this size, decoding takes 360 to 740 MiB (WebP with alpha is the most), however small the file.
"""

_LARGE = 4_000_000  # pixels
_one_large_at_a_time = threading.Lock()  # so that the peak does not grow with the number of threads
_MAX_BYTES = 256 << 20  # MAX_PIXELS of four 16-bit values
_MAX_PACKED = 64 << 20  # of what Pillow walks block by block, at 5 MB a second
_STORED = (b"\x89PNG", b"II", b"MM", b"BM", b"P")
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_ORIENTATION_TAG = 0x0112
_UPRIGHT: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright 8-bit RGB image.

    Attributes:
        pixels: Shape (H, W, 3), uint8.
        conversions: What had to be done to get there, or to be known of it, in this order where it applies:
            `grayscale`, `palette`, `cmyk`, `ycbcr`, `alpha` (laid on white), `alpha-zero` (everywhere, so no
            alpha: the colours), `16-bit`, `16-bit-narrow` (its values use a quarter of 16 bits or less, as of
            a camera of 12 bits: dark or flat), `channel-pages` (three pages are red, green and blue),
            `thumbnail-skipped` (a reduced page before the image), `first-frame` (of an animation or a stack),
            `icc` (a colour profile that is not sRGB, left aside), `exif-rotated`, `exif-damaged` (taken as
            upright).
    """

    pixels: NDArray[np.uint8]
    conversions: tuple[str, ...] = ()


def decode(source: bytes | Path) -> Decoded:
    """Decode one image file.

    Sixteen-bit grey is scaled by value / 257, rounded, so that 65,535 becomes 255; Pillow itself
    keeps the upper byte of sixteen-bit colour. Nothing is stretched to the values that are there.

    Args:
        source: The file's bytes, or its path.

    Raises:
        ImageError: If it cannot be read, is empty, truncated, damaged by its own checksums, no image, of a
            pixel format without an agreed meaning in 8-bit RGB, or larger than `MAX_PIXELS`.
    """
    data = source if isinstance(source, bytes) else read_image_file(source)
    if not data:
        raise ImageError("the file is empty; expected an image")
    most = _MAX_BYTES if data.startswith(_STORED) else _MAX_PACKED
    if len(data) > most:
        raise ImageError(f"{len(data):,} bytes; expected at most {most:,}, a cell's image")
    with _reasons_named(data):
        if tiff.is_tiff(data):
            return _decode_tiff(data)
        flags: tuple[str, ...] = ()
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            data, flags = clean_png(data)
        elif data.startswith(b"\xff\xd8"):
            check_jpeg(data)
        elif data[:1] == b"P":
            check_ppm(data)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _upright_rgb(image, flags)


def decode_opened(image: Image.Image) -> Decoded:
    """Decode an image that Pillow has opened or made, as `decode` does; of a file, the page it stands at.

    Raises:
        ImageError: For the reasons of `decode`, as far as they show in an opened file.
    """
    with _reasons_named():
        return _upright_rgb(image)


@contextmanager
def _reasons_named(data: bytes = b"") -> Iterator[None]:
    """Turn the many kinds of errors that Pillow's decoders raise into one."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        kind = name_of_kind(data) or "not an image"
        raise ImageError(f"{kind}; expected one of {', '.join(_FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"claims more than {MAX_PIXELS:,} pixels; expected a cell's image") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        if "truncated" in str(error) or isinstance(error, EOFError):
            raise ImageError(f"truncated: {error}") from error
        raise ImageError(f"damaged: {error or type(error).__name__}") from error


def read_image_file(path: Path) -> bytes:
    """Return the bytes of a regular file of a sensible size.

    Raises:
        ImageError: If it cannot be read, is no regular file (a pipe would block), or is too large.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ImageError("not a regular file; expected an image")
        if info.st_size > _MAX_BYTES:
            raise ImageError(f"{info.st_size:,} bytes; expected at most {_MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ImageError(f"cannot be read: {reason}") from error
    except ValueError as error:  # a name with a zero byte, out of a list
        raise ImageError(f"cannot be read: {error}") from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"claims {width} x {height} pixels; expected at most {MAX_PIXELS:,} in all, a cell's image"
        )


def _decode_tiff(data: bytes) -> Decoded:
    pages = tiff.tiff_pages(data)
    first, flags = tiff.main_page(pages)
    channels = are_channels(pages, first)
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
    except UnidentifiedImageError:
        raise ImageError(f"a TIFF of {pages[first].kind}, which is not read; save it as 8-bit RGB") from None
    with image:
        image.seek(first)
        if not channels:
            return _upright_rgb(image, flags)
        planes: list[Decoded] = []
        for page in range(first, first + 3):
            image.seek(page)
            planes.append(_upright_rgb(image, ("channel-pages",)))
    pixels = np.stack([plane.pixels[:, :, 0] for plane in planes], axis=-1)  # (H, W, 3)
    return Decoded(pixels, planes[0].conversions[1:])  # all but "grayscale"


def _upright_rgb(image: Image.Image, flags: tuple[str, ...] = ()) -> Decoded:
    _check_size(image.size)
    with _one_large_at_a_time if image.width * image.height > _LARGE else nullcontext():
        return _load(image, flags)


def _load(image: Image.Image, flags: tuple[str, ...]) -> Decoded:
    """Load an opened image; `flags` are conversions that were found before."""
    if isinstance(image, ImageFile.ImageFile) and image.format == "JPEG2000" and image.tile and image.fp:
        image.fp.seek(0)
        check_jpeg2000(image.fp.read())
    tiff.mend(image)
    sixteen_bit = is_sixteen_bit(image)  # known until the pixels are loaded
    several = image.format not in ("MPO", "TIFF") and getattr(image, "is_animated", False)
    before, _ = _orientation(image) if image.format == "TIFF" else (1, False)
    image.load()
    after, damaged = _orientation(image)  # 1 for a TIFF, which Pillow turns upright while loading
    color, reasons = color_of(image)
    found = {
        "16-bit": sixteen_bit,
        "16-bit-narrow": sixteen_bit and is_narrow(color),
        **dict.fromkeys(flags, True),
        "first-frame": several or "first-frame" in flags,
        "icc": "icc" in flags or not is_srgb(image.info.get("icc_profile")),
        "exif-rotated": before in _UPRIGHT or after in _UPRIGHT,
        "exif-damaged": damaged,
    }
    rgb, alpha = on_white(color)
    if after in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[after])
    pixels = np.array(rgb, dtype=np.uint8)  # (H, W, 3), our own copy
    return Decoded(pixels, (*reasons, *alpha, *(name for name, holds in found.items() if holds)))


def _orientation(image: Image.Image) -> tuple[int, bool]:
    """Return the EXIF orientation, 1 for none, and whether the EXIF block is damaged."""
    try:
        block = image.info.get("exif")
        if isinstance(block, bytes):
            Image.Exif().load(block)  # raises what opening the file has passed over
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  a damaged block says nothing about the pixels; it is counted
        return 1, True
    return (value if isinstance(value, int) else 1), False
