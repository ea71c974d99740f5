"""Decoded images of a labelled folder with a model's class numbers, in a seeded order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.decode import decode
from hemoscope.data.scan import usable
from hemoscope.errors import DataError
from hemoscope.training.run import scan_cached

__all__ = ["labelled_images"]

MAX_IMAGES = 2000


def labelled_images(root: Path, classes: Sequence[str]) -> list[tuple[NDArray[np.uint8], int]]:
    """Return at most `MAX_IMAGES` decoded images and their classes, shuffled by a fixed seed.

    Args:
        root: A folder of class folders.
        classes: Class names in the model's order.

    Raises:
        DataError: If the data hold errors, or a class that the model does not know.
    """
    manifest = usable(scan_cached(root), skip_bad=False)
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise DataError(f"{root} holds classes that the model does not know: {', '.join(unknown)}")
    order = np.random.default_rng(0).permutation(len(manifest.images))[:MAX_IMAGES]
    chosen = [manifest.images[i] for i in order]
    index = {name: i for i, name in enumerate(classes)}
    return [(decode(root / image.path).pixels, index[image.class_name]) for image in chosen]
