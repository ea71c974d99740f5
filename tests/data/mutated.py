"""Small image files of every kind that is read, and damage to them; the same for the same seed."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Y, X = np.mgrid[:48, :52]
PIXELS = np.stack([X * 4, Y * 5, (X * Y) % 251], -1).astype(np.uint8)


def encoded(pixels: NDArray | Image.Image, kind: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def whole_files() -> dict[str, bytes]:
    """Return the files by a name that begins with the format."""
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = PIXELS[:, :, 2].astype(np.uint16) * 257
    return {
        "JPEG": encoded(image, "JPEG"),
        "JPEG progressive, turned": encoded(image, "JPEG", progressive=True, exif=exif),
        "PNG": encoded(image, "PNG"),
        "PNG stored": encoded(image, "PNG", compress_level=0),
        "PNG palette": encoded(image.convert("P"), "PNG", transparency=3),
        "PNG deep": encoded(deep, "PNG"),
        "TIFF": encoded(image, "TIFF"),
        "TIFF LZW": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": encoded(image, "TIFF", compression="jpeg"),
        "TIFF pages": encoded(image, "TIFF", save_all=True, append_images=[image.convert("L")] * 2),
        "TIFF palette": encoded(image.convert("P"), "TIFF"),
        "TIFF deep": encoded(deep, "TIFF"),
        "WEBP": encoded(image, "WEBP"),
        "WEBP lossless": encoded(image, "WEBP", lossless=True),
        "WEBP frames": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        "BMP": encoded(image, "BMP"),
        "BMP palette": encoded(image.convert("P"), "BMP"),
        "GIF": encoded(image, "GIF"),
        "GIF frames": encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        "JPEG2000": encoded(image, "JPEG2000"),
        "JPEG2000 deep": encoded(deep, "JPEG2000"),
        "PPM": encoded(image, "PPM"),
    }


def mutants(files: dict[str, bytes], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names of files and the files with one to five damages: flips, zeros, cuts, insertions, numbers."""
    rng = np.random.default_rng(seed)
    names = list(files)
    for k in range(count):
        name = names[k % len(names)]
        data = bytearray(files[name])
        reach = len(data) if rng.integers(2) else min(len(data), 400)  # headers are where the decisions are
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(min(reach, len(data))))
            _damage(data, at, rng)
            data = data or bytearray(1)
        if bytes(data) != files[name]:
            yield name, bytes(data)


def _damage(data: bytearray, at: int, rng: np.random.Generator) -> None:
    how = rng.integers(7)
    if how == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif how == 1:
        data[at] = int(rng.choice([0, 1, 127, 128, 254, 255]))
    elif how == 2:
        del data[at : at + int(rng.integers(1, 40))]
    elif how == 3:
        data[at:at] = rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8).tobytes()
    elif how == 4:
        size = min(int(rng.integers(1, 40)), len(data) - at)
        data[at : at + size] = bytes(size)
    elif how == 5:
        del data[at:]
    else:
        order = "little" if rng.integers(2) else "big"
        data[at : at + 4] = int(rng.choice([0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(
            4, order
        )
