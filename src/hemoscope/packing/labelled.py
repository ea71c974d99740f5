"""Images for an exported model: any few to compare on, and those of a bundle's runs by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from hemoscope.bundle.card import BundleCard
from hemoscope.data.images.decode import decode
from hemoscope.data.scan.scan import usable
from hemoscope.data.split import Policy, make_split, read_split
from hemoscope.errors import DataError
from hemoscope.predict.evaluate import pixels_of
from hemoscope.records import Manifest
from hemoscope.training.scanned import scan_cached

__all__ = ["Labelled", "decoded", "in_order", "sides_of", "some_images"]

Labelled = list[tuple[Path | NDArray[np.uint8], int]]
"""Images, files or their pixels, and their class numbers, ordered by path."""


def some_images(root: Path, n: int) -> list[NDArray[np.uint8]]:
    """Return at most `n` decoded images of a data set, one class of which is enough, drawn by a fixed seed.

    Raises:
        DataError: If the data hold errors.
    """
    manifest = usable(scan_cached(root), skip_bad=None, at_least=1)
    order = np.random.default_rng(0).permutation(len(manifest.images))[:n]
    return [decoded(image) for image in in_order(manifest, [manifest.images[i].path for i in order])]


def sides_of(card: BundleCard, root: Path, split_file: Path | None = None) -> Mapping[str, Labelled]:
    """Return the validation and test images that a bundle's runs had, by side.

    Args:
        card: The bundle's card; it says which data and which split.
        root: The images of the runs.
        split_file: Their split, if it was not drawn by hemoscope.

    Raises:
        DataError: If these are not the images of the runs, or not their split, or the bundle was adapted.
    """
    if card.adapted:
        raise DataError(
            "this bundle was adapted to cells without validation and test sides, which INT8 needs to set its scales and "
            "thresholds and to be counted; export it without --int8, or the bundle before"
        )
    manifest = scan_cached(root)
    if manifest.digest != card.data.get("digest"):
        raise DataError(
            f"{root} does not hold the images of this bundle's runs, all of them. Their validation side sets scales "
            "and thresholds and their test side is counted; with other images nobody could tell them apart"
        )
    manifest = usable(manifest, skip_bad=True)
    policy, seed = card.split.get("policy"), card.split.get("seed")
    if split_file:
        split = read_split(split_file, manifest)
    else:
        drawn: Policy = next((known for known in get_args(Policy) if known == policy), "paper")
        split = make_split(manifest, policy=drawn, seed=seed or 0)
    if split.digest != card.split.get("digest"):
        raise DataError(
            f"{split_file or root} gives another split than this bundle's runs had ({policy}, "
            f"{str(card.split.get('digest'))[:16]}); name theirs: --split runs/splits/FILE.csv"
        )
    found: dict[str, Labelled] = {}
    for side in ("val", "test"):
        rows = split.side(side)
        images = in_order(manifest, [row.path for row in rows])
        found[side] = [
            (image, card.classes.index(row.class_name)) for image, row in zip(images, rows, strict=True)
        ]
    return found


def in_order(manifest: Manifest, paths: Sequence[str]) -> list[Path | NDArray[np.uint8]]:
    """Return images, files or their pixels, in the order of `paths`."""
    asked: list[str] = []
    images = list(pixels_of(manifest, dict.fromkeys(paths), asked))
    by_path = dict(zip(asked, images, strict=True))
    return [by_path[path] for path in paths]


def decoded(image: Path | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image's pixels, shape (H, W, 3)."""
    return decode(image).pixels if isinstance(image, Path) else image
