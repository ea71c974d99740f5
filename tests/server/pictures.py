"""Small images, all different."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image


def noise(seed: int, size_px: int = 24) -> bytes:
    """A PNG of coloured noise of a brightness of its own."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 150, 3)
    pixels = rng.integers(low, low + 100, (size_px, size_px, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def smear(n: int, *, seed: int = 0) -> bytes:
    """A zip of n different images."""
    return zipped({f"cell_{i:03d}.png": noise(1000 * seed + i) for i in range(n)})
