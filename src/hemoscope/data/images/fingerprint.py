"""What is told apart about one image: its content hashes, its look, and its background colour.

Pure functions of pixels and bytes. Nothing here reads a file.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.decode import Decoded
from hemoscope.records import CellImage, Side

__all__ = ["Fingerprint", "background_of", "fingerprint", "perceptual_hash", "pixel_hash"]

_SMALL_PX, _LOW = 32, 8
_STEP = 4  # background is read from every fourth pixel each way: 8,000 of a PBC image's 130,000


class Fingerprint(NamedTuple):
    """Everything a manifest says about one image, but for its name and class."""

    width_px: int
    height_px: int
    hash: str
    pixel_hash: str
    phash: int
    background: tuple[int, int, int]
    conversions: tuple[str, ...] = ()

    def image(
        self, path: str, class_name: str, subtype: str, given_side: Side | None = None, group: str = ""
    ) -> CellImage:
        """Return the manifest's record of this image."""
        return CellImage._make((path, class_name, subtype, *self[:6], given_side, group))


def fingerprint(decoded: Decoded, data: bytes | None = None) -> Fingerprint:
    """Return the fingerprint of an image; its content hash is of `data`, or of the pixels without it."""
    pixels = decoded.pixels
    height, width = pixels.shape[:2]
    of_pixels = pixel_hash(pixels)
    return Fingerprint(
        width_px=width,
        height_px=height,
        hash=of_pixels if data is None else hashlib.sha256(data).hexdigest(),
        pixel_hash=of_pixels,
        phash=perceptual_hash(pixels),
        background=background_of(pixels),
        conversions=decoded.conversions,
    )


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """Return SHA-256 over the shape and the values of (H, W, 3) pixels, 64 hex digits."""
    sha = hashlib.sha256(repr(tuple(int(n) for n in pixels.shape)).encode())
    sha.update(np.ascontiguousarray(pixels).data)
    return sha.hexdigest()


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """Return 64 bits that change little when an image is scaled, compressed or brightened.

    The image is reduced to 32 x 32 grey; bit k says whether the k-th of the 8 x 8 lowest cosine
    frequencies is positive, row by row, the highest bit first; that of the mean is 0. A flip changes the
    signs of the odd columns or rows and a transposition swaps the two, so that the hashes of an image's
    eight orientations follow from one: `near.orientations`.

    Source:
        After C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, DCT hash,
        which compares with the median instead.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )  # rounded once more, a flip would not be exact
    low = cv2.dct(cv2.resize(gray, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA))[:_LOW, :_LOW] > 0
    low[0, 0] = False
    return int.from_bytes(np.packbits(low).tobytes(), "big")


def background_of(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return the median RGB of the brightest quarter of (H, W, 3) pixels: the empty slide."""
    sample = pixels[::_STEP, ::_STEP].reshape(-1, 3)  # (n, 3)
    brightness = sample.sum(axis=1, dtype=np.int32)
    rank = (3 * (len(sample) - 1)) // 4
    threshold = np.partition(brightness, rank)[rank]
    red, green, blue = np.median(sample[brightness >= threshold], axis=0)
    return int(red), int(green), int(blue)
