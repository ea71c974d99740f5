"""An opened image of any pixel format becomes 8-bit RGB; what that took is told by name."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from hemoscope.data.images.tiff import gray_range
from hemoscope.errors import ImageError

__all__ = ["color_of", "is_narrow", "is_sixteen_bit", "is_srgb", "on_white"]

_NARROW = 64  # of 256 levels; 16,383 / 257 is 63.7
_MAX_PROFILE = 1 << 20
_REASONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "RGB": (),
        "RGBA": (),
        "RGBa": (),
        "RGBX": (),
        "1": ("grayscale",),
        "L": ("grayscale",),
        "LA": ("grayscale",),
        "La": ("grayscale",),
        "P": ("palette",),
        "PA": ("palette",),
        "CMYK": ("cmyk",),
        "YCbCr": ("ycbcr",),
    }
)
_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})


def color_of(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an RGB image, or RGBA where it has an alpha channel, and what its pixel format was."""
    if image.mode.startswith("I"):
        return _sixteen_bit_gray(image), ("grayscale",)
    if image.mode not in _REASONS:
        raise ImageError(f"pixel format {image.mode!r} has no agreed meaning in 8-bit RGB; convert it first")
    has_alpha = image.mode in _ALPHA or "transparency" in image.info
    if not has_alpha and image.mode == "RGB":
        return image, ()
    if image.mode == "La":  # which Pillow converts to LA alone
        image = image.convert("LA")
    return image.convert("RGBA" if has_alpha else "RGB"), _REASONS[image.mode]


def on_white(color: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Lay an image with alpha on white; one that is transparent everywhere has no alpha, but colours."""
    if color.mode != "RGBA":
        return color, ()
    if color.getchannel("A").getextrema() == (0, 0):
        return color.convert("RGB"), ("alpha-zero",)
    white = Image.new("RGBA", color.size, "white")
    return Image.alpha_composite(white, color).convert("RGB"), ("alpha",)


def is_narrow(color: Image.Image) -> bool:
    """Whether all colours lie within a quarter of the range, as where 14 bits or fewer are kept in 16."""
    extrema: Any = color.getextrema()  # (low, high) of every band
    return max(high for _, high in extrema[:3]) - min(low for low, _ in extrema[:3]) <= _NARROW


def _sixteen_bit_gray(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("grey values beyond 0 to 65,535; expected 8 or 16 bits a pixel. Convert it first")
    black, white = gray_range(image)
    values, full = np.abs(values.astype(np.int32) - black), abs(white - black)
    levels = (values * 510 + full) // (2 * full)  # value * 255 / full, rounded
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def is_sixteen_bit(image: Image.Image) -> bool:
    """Tell sixteen bits, also of colour, which Pillow opens as 8-bit RGB, by what it gives its decoder.

    To be asked before the pixels are loaded.
    """
    if image.mode.startswith("I"):
        return True
    args = [tile[3] for tile in getattr(image, "tile", ()) if len(tile) > 3]
    first = args[0] if args else None
    raw, *more = first if isinstance(first, tuple) and first else (first,)
    if image.format == "PPM":  # raw mode and largest value
        return bool(more) and isinstance(more[0], int) and more[0] > 0xFF
    return isinstance(raw, str) and ";16" in raw


@lru_cache(maxsize=16)
def is_srgb(profile: bytes | None) -> bool:
    """Whether a profile's colours are those of sRGB, which is what is taken where there is none."""
    if not profile:
        return True
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE:
        return False
    colors = np.array(np.meshgrid(*[[0, 60, 128, 200, 255]] * 3), dtype=np.uint8).T.reshape(25, 5, 3)
    try:
        seen = ImageCms.profileToProfile(
            Image.fromarray(colors),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # damaged, or of grey or inks
        return False
    return bool(np.abs(np.asarray(seen).astype(int) - colors).max() <= 3)
