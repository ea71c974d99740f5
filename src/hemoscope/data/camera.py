"""How closely the camera of some images looks: the diameter of their typical nucleus in pixels. It needs no labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import log
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.decode import decode
from hemoscope.data.images.nucleus import nucleus_px, typical_px
from hemoscope.errors import ImageError
from hemoscope.files import write_json
from hemoscope.places import available_cores, cache_dir
from hemoscope.records import Manifest

__all__ = ["LOOKED_AT", "camera_of", "camera_px", "evenly", "some_of"]

T = TypeVar("T")
RULES = "1: three means of the green density, the piece nearest to the centre"
LOOKED_AT = 256  # images
AS_BEFORE = 0.1  # a difference of the logarithm that two samples of one camera may have


def camera_px(images: Iterable[Path | bytes | NDArray[np.uint8]], expected_px: float) -> float:
    """Return the diameter of the typical nucleus of the images that a model is asked of, in their pixels.

    Args:
        images: Files, their contents, or pixels of shape (H, W, 3); what cannot be read is passed over.
        expected_px: That of the images it was trained on. Few images are drawn towards it, and within a tenth of it
            it is taken instead: cells of the same camera then look to the model exactly as they did.
    """
    typical = typical_px(_diameters(images), expected_px)
    return expected_px if abs(log(typical / expected_px)) < AS_BEFORE else typical


def camera_of(manifest: Manifest, paths: Sequence[str]) -> float | None:
    """Return the median diameter of the nuclei in some images of a data set, in pixels; None if none shows one.

    It is remembered beside what scans remember, so that the next run reads no image for it.

    Args:
        manifest: The data set.
        paths: Of images of it; as many as it takes are looked at, from everywhere among them.
    """
    key = hashlib.sha256("\0".join([RULES, manifest.digest, *evenly(paths)]).encode("utf-8", "surrogatepass"))
    remembered = cache_dir() / "scan" / f"camera-{key.hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads(remembered.read_text("utf-8"))["nucleus_px"])
    found = [diameter for diameter in _diameters(some_of(manifest, paths)) if np.isfinite(diameter)]
    if not found:
        return None
    typical = float(np.median(found))
    with suppress(OSError):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_json(remembered, {"root": str(manifest.root.resolve()), "nucleus_px": typical})
    return typical


def evenly(items: Sequence[T], n: int = LOOKED_AT) -> list[T]:
    """Return at most n items from everywhere in a sequence, in its order: files of one class often stand together.

    >>> evenly("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    if len(items) <= n:
        return list(items)
    return [items[i * len(items) // n] for i in range(n)]


def some_of(manifest: Manifest, paths: Sequence[str]) -> Iterator[Path | NDArray[np.uint8]]:
    """Yield as many of a data set's images as it takes to know its camera, from everywhere among the paths."""
    wanted = dict.fromkeys(evenly(paths))
    if not manifest.is_npz:
        yield from (manifest.root / path for path in wanted)
        return
    from hemoscope.data.scan.npz import npz_images

    yield from (pixels for path, pixels in npz_images(manifest.root) if path in wanted)


def _diameters(images: Iterable[Path | bytes | NDArray[np.uint8]]) -> list[float]:
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(_diameter, images))


def _diameter(image: Path | bytes | NDArray[np.uint8]) -> float:
    try:
        return nucleus_px(image if isinstance(image, np.ndarray) else decode(image).pixels)
    except ImageError:
        return float("nan")
