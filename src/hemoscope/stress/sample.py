"""Which labelled images a model is tried on: some of each class, always the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.class_map import ClassMap, match_classes
from hemoscope.data.images.decode import decode
from hemoscope.errors import ConfigError, DataError, ImageError
from hemoscope.predict.evaluate import seen_before
from hemoscope.predict.scorable import Scorable
from hemoscope.records import CellImage, IntArray, Manifest, Side
from hemoscope.report.montage import pictures
from hemoscope.stress.draws import by_chance

__all__ = ["Sample", "blocks_of", "choose", "load"]

_AT_ONCE = 64
_AT_ONCE_PX = 6_000_000  # of a block: a corruption holds some times 12 bytes for each


@dataclass(frozen=True, eq=False)
class Sample:
    """Images to try a model on.

    Attributes:
        manifest: The data they are of.
        class_map: Which of the model's classes each of the data's is.
        images: The images, ordered by path.
        target: Their class among the model's, shape (N,).
        pool: All images that could have been chosen.
        seen: How many were on each side of the model's split; None where that is not known.
    """

    manifest: Manifest
    class_map: ClassMap
    images: tuple[CellImage, ...]
    target: IntArray
    pool: tuple[CellImage, ...]
    seen: Mapping[str, int] | None


def choose(
    what: Scorable,
    manifest: Manifest,
    *,
    given: ClassMap | None = None,
    side: Side | None = None,
    limit: int = 25,
    seed: int = 0,
) -> Sample:
    """Return at most `limit` images of each of the model's classes.

    Which ones follows from the seed and the images' bytes: another image in the folder changes no other's place.

    Args:
        what: Who is asked; it knows its classes and, a run, its split.
        manifest: Labelled images.
        given: What a person has decided of the data's classes.
        side: Only images of this side of the model's own split, by their bytes.
        limit: Images a class; 0 for all.
        seed: Of the choice.

    Raises:
        ConfigError: If `side` is asked for and the split is not known, or `limit` is negative.
        DataError: If a class is undecided, or no image remains.
    """
    if limit < 0:
        raise ConfigError(f"expected at least 1 image a class, or 0 for all; got {limit}")
    class_map = match_classes(manifest.classes, what.classes, given)
    pool = [image for image in manifest.images if class_map[image.class_name] is not None]
    if side:
        side_of = what.sides()
        if side_of is None:
            raise ConfigError(
                f"{what.name} does not say which images were on which side of its split; leave --side out"
            )
        pool = [image for image in pool if side_of.get(image.hash) == side]
    if not pool:
        raise DataError(
            f"{manifest.root} holds no image of the {side} side of {what.name}; name the data that it was trained on, "
            "or leave --side out"
            if side
            else f"{manifest.root} holds no image of a class that {what.name} knows"
        )
    by_class: defaultdict[str | None, list[CellImage]] = defaultdict(list)
    for place in by_chance("sample", [image.hash for image in pool], seed=seed):
        by_class[class_map[pool[place].class_name]].append(pool[place])
    chosen = sorted(image for images in by_class.values() for image in images[: limit or None])
    names = [class_map[image.class_name] for image in chosen]
    target = np.array([what.classes.index(name) for name in names if name is not None], dtype=np.int64)
    return Sample(manifest, class_map, tuple(chosen), target, tuple(pool), seen_before(what, chosen))


def blocks_of(images: Sequence[CellImage]) -> Iterator[list[int]]:
    """Yield the places of images that are held at once: 64, fewer where they are large, at least one."""
    block: list[int] = []
    size_px = 0
    for place, image in enumerate(images):
        area_px = image.width_px * image.height_px
        if block and (len(block) == _AT_ONCE or size_px + area_px > _AT_ONCE_PX):
            yield block
            block, size_px = [], 0
        block.append(place)
        size_px += area_px
    if block:
        yield block


def load(manifest: Manifest, images: Sequence[CellImage]) -> list[NDArray[np.uint8]]:
    """Return the decoded pixels of images, each of shape (H, W, 3).

    Raises:
        DataError: If one cannot be read any more.
    """
    if manifest.is_npz:
        found = pictures(manifest.root, [image.path for image in images])
    else:
        found = {}
        for image in images:
            try:
                found[image.path] = decode(manifest.root / image.path).pixels
            except ImageError as error:
                raise DataError(f"{image.path} changed while it was read: {error}; run again") from error
    if missing := [image.path for image in images if image.path not in found]:
        raise DataError(f"{missing[0]} cannot be read from {manifest.root} any more; run again")
    return [found[image.path] for image in images]
