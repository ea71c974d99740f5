"""One image file becomes upright 8-bit RGB, or an `ImageError`; never a part of an image.

What had to be converted on the way is told by name, so that a scan can count it. This module
never resizes, never guesses at a format Pillow does not know, and never runs another program
(which Pillow would do for PostScript).
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hemoscope.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "Decoded", "decode", "decode_opened"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = 64_000_000
_MAX_BYTES = 512 * 1024 * 1024
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
_REASONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "RGB": (),
        "1": ("grayscale",),
        "L": ("grayscale",),
        "LA": ("grayscale", "alpha"),
        "La": ("grayscale", "alpha"),
        "RGBA": ("alpha",),
        "RGBa": ("alpha",),
        "RGBX": (),
        "P": ("palette",),
        "PA": ("palette", "alpha"),
        "CMYK": ("cmyk",),
        "YCbCr": ("ycbcr",),
    }
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright 8-bit RGB image.

    Attributes:
        pixels: Shape (H, W, 3), uint8.
        conversions: What had to be done to get there, in this order where it applies: `grayscale`,
            `palette`, `cmyk`, `ycbcr`, `alpha` (laid on white), `16-bit`, `first-frame` (of an
            animation or a stack), `exif-rotated`, `exif-damaged` (taken as upright).
    """

    pixels: NDArray[np.uint8]
    conversions: tuple[str, ...] = ()


def decode(source: bytes | Path) -> Decoded:
    """Decode one image file.

    Sixteen-bit grey is scaled by value / 257, rounded, so that 65,535 becomes 255; Pillow itself
    keeps the upper byte of sixteen-bit colour.

    Args:
        source: The file's bytes, or its path.

    Raises:
        ImageError: If it cannot be read, is empty, truncated, no image, of a pixel format without
            an agreed meaning in 8-bit RGB, or larger than `MAX_PIXELS`.
    """
    data = source if isinstance(source, bytes) else read_image_file(source)
    if not data:
        raise ImageError("the file is empty; expected an image")
    with _reasons_named(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        _check_size(image.size)
        return _upright_rgb(image)


def decode_opened(image: Image.Image) -> Decoded:
    """Decode an image that Pillow has opened or made, as `decode` does.

    Raises:
        ImageError: For the reasons of `decode`.
    """
    with _reasons_named():
        _check_size(image.size)
        return _upright_rgb(image)


@contextmanager
def _reasons_named() -> Iterator[None]:
    """Turn the many kinds of errors that Pillow's decoders raise into one."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image; expected one of {', '.join(_FORMATS)}") from None
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


def _upright_rgb(image: Image.Image) -> Decoded:
    sixteen_bit = _is_sixteen_bit(image)  # known until the pixels are loaded
    first_frame = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    before, _ = _orientation(image) if image.format == "TIFF" else (1, False)
    image.load()
    after, damaged = _orientation(image)  # 1 for a TIFF, which Pillow turns upright while loading
    rgb, reasons = _as_rgb(image)
    if after in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[after])
    flags = {
        "16-bit": sixteen_bit and "16-bit" not in reasons,
        "first-frame": first_frame,
        "exif-rotated": before in _UPRIGHT or after in _UPRIGHT,
        "exif-damaged": damaged,
    }
    pixels = np.array(rgb, dtype=np.uint8)  # (H, W, 3), our own copy
    return Decoded(pixels, (*reasons, *(name for name, holds in flags.items() if holds)))


def _as_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an RGB image and the reasons of the conversion."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, ()
    if image.mode.startswith("I"):
        return _sixteen_bit_gray(image), ("grayscale", "16-bit")
    if image.mode not in _REASONS:
        raise ImageError(f"pixel format {image.mode!r} has no agreed meaning in 8-bit RGB; convert it first")
    reasons = _REASONS[image.mode]
    if "transparency" in image.info and "alpha" not in reasons:
        reasons = (*reasons, "alpha")
    if "alpha" not in reasons:
        return image.convert("RGB"), reasons
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB"), reasons


def _sixteen_bit_gray(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(
            f"grey values {values.min()} to {values.max()}; expected 8 or 16 bits a pixel. Convert it first"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Tell sixteen-bit colour, which Pillow opens as 8-bit RGB, by the decoder's raw mode."""
    args = [tile[3] for tile in getattr(image, "tile", ()) if len(tile) > 3]
    first = args[0] if args else None
    raw = first[0] if isinstance(first, tuple) and first else first
    return isinstance(raw, str) and ";16" in raw


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
