"""Which images are masks: pictures of few grey values that carry the name of another image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from hemoscope.data.images.decode import decode, read_image_file
from hemoscope.errors import ImageError
from hemoscope.records import CellImage

__all__ = ["masks_among"]

_FEW = 4
"""Most different values of a mask; in practice two, or three where cytoplasm and nucleus are told apart."""


def masks_among(root: Path, images: Sequence[CellImage]) -> list[str]:
    """Return the paths of the masks, ordered.

    A mask is named after an image that is none (`001.png` beside `001.bmp`, `x_mask.png` beside
    `x.jpg`). Opened are only images whose name says so and whose brightest quarter is grey, which
    stained slides seldom are.
    """
    grey = [image for image in images if image.background[0] == image.background[1] == image.background[2]]
    if not grey:
        return []
    stems = Counter(map(_stem, images))
    often = {stem for stem, n in stems.items() if n > 1}
    few = [
        image
        for image in grey
        if (_stem(image) in often or _is_named_after(_stem(image), stems)) and _has_few(root, image)
    ]
    photos = set(stems - Counter(map(_stem, few)))
    return sorted(
        image.path for image in few if _stem(image) in photos or _is_named_after(_stem(image), photos)
    )


def _stem(image: CellImage) -> str:
    name = image.path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _is_named_after(stem: str, others: Container[str]) -> bool:
    """Whether the beginning of a stem, up to a `_`, `-`, `.` or blank, is another stem."""
    return any(stem[:i] in others for i, character in enumerate(stem) if i and character in "_-. ")


def _has_few(root: Path, image: CellImage) -> bool:
    try:
        pixels = decode(read_image_file(root / image.path)).pixels
    except ImageError:  # changed since it was read; whoever reads it next says so
        return False
    gray = pixels[..., 0]
    return (
        gray.size > 64 * _FEW
        and bool((pixels == gray[..., None]).all())
        and int(np.count_nonzero(np.bincount(gray.ravel()))) <= _FEW
    )
