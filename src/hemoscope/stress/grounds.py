"""Which cells are tried on which backgrounds: masks looked at once, one disc for all, donors drawn by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.audit import second_acquisition
from hemoscope.progress import Progress
from hemoscope.records import CellImage
from hemoscope.stress.background import cover, disc_for, grey_cell, put_on
from hemoscope.stress.cellmask import find_cell, reach_of, soft
from hemoscope.stress.draws import by_chance, draws
from hemoscope.stress.sample import Sample, blocks_of, load

__all__ = ["TESTS", "Grounds", "look", "tried"]

TESTS = MappingProxyType(
    {
        "hidden": "the cell hidden, only background left",
        "own-ground": "the cell cut out and put back on its own background",
        "same-class-ground": "on the background of another cell of its class",
        "other-class-ground": "on the background of another class",
        "second-acquisition": "on a background of the second acquisition",
        "grey-cell": "the cell turned grey",
    }
)
"""What is done to an image, by the name of the test."""

_DONORS = 64  # backgrounds of the second acquisition


@dataclass(frozen=True, eq=False)
class Grounds:
    """What the background tests go by.

    Attributes:
        radius: Of the disc that hides every cell, a share of the shorter side; NaN without any cell.
        donors: By test, one image for every cell whose background it is put on; None where there is none.
        usable: Cells that were found and lie within the disc, shape (N,).
        no_second: Why no cell is put on the second acquisition; empty where some are.
    """

    radius: float
    donors: dict[str, list[CellImage | None]]
    usable: NDArray[np.bool_]
    no_second: str


def look(sample: Sample, *, seed: int, progress: Progress | None = None) -> Grounds:
    """Find every cell once, and draw whose background each is put on.

    Backgrounds of its own and of another class are of the same acquisition as the cell, so that they differ by the
    class alone.
    """
    second = {image.path for image in second_acquisition(sample.manifest.images)}
    strange = [image for image in sample.pool if image.path in second]
    order = by_chance("second-acquisition", [image.hash for image in strange], seed=seed)
    strange = [strange[place] for place in order[:_DONORS]]
    every = [*sample.images, *strange]
    reaches = np.full(len(every), np.inf)
    for places in blocks_of(every):
        for place, pixels in zip(places, load(sample.manifest, [every[i] for i in places]), strict=True):
            mask = find_cell(pixels)
            reaches[place] = np.inf if mask is None else reach_of(mask)
        if progress:
            progress("finding the cells", places[-1] + 1, len(every))
    n = len(sample.images)
    own = reaches[:n][np.isfinite(reaches[:n])]
    radius = disc_for(own) if len(own) else float("nan")
    within = reaches <= radius
    usable, strange = within[:n], [image for image, fits in zip(strange, within[n:], strict=True) if fits]
    of_second = np.array([image.path in second for image in sample.images], dtype=np.bool_)
    drawn = draws("ground", [image.hash for image in sample.images], 1, seed=seed)[:, 0]
    donors: dict[str, list[CellImage | None]] = {"same-class-ground": [], "other-class-ground": []}
    for own, share in enumerate(drawn):
        may_give = usable & (of_second == of_second[own])
        may_give[own] = False
        of_class = sample.target == sample.target[own]
        for name, kind in (("same-class-ground", of_class), ("other-class-ground", ~of_class)):
            donors[name].append(_one(sample.images, np.flatnonzero(may_give & kind), share))
    all_strange = np.arange(len(strange))
    donors["second-acquisition"] = [
        None if is_second else _one(strange, all_strange, share)
        for is_second, share in zip(of_second, drawn, strict=True)
    ]
    why = "" if strange else "these images have one tone of background"
    if second and not strange:
        why = "no image of the second acquisition has a cell that the disc hides"
    return Grounds(radius, donors, usable, why)


def tried(
    sample: Sample, grounds: Grounds, places: Sequence[int], pixels: Sequence[NDArray[np.uint8]]
) -> dict[str, tuple[list[int], list[NDArray[np.uint8]]]]:
    """Return by test the places of the images that take part in it, and what becomes of each.

    Args:
        sample: Where the images are from.
        grounds: Of this sample.
        places: Of the images in it.
        pixels: Of each, shape (H, W, 3).
    """
    givers = {donor.path: donor for donors in grounds.donors.values() for i in places if (donor := donors[i])}
    loaded = load(sample.manifest, list(givers.values()))
    covered = {path: cover(found, grounds.radius) for path, found in zip(givers, loaded, strict=True)}
    tests: dict[str, tuple[list[int], list[NDArray[np.uint8]]]] = {name: ([], []) for name in TESTS}
    for place, image in zip(places, pixels, strict=True):
        mask = find_cell(image) if grounds.usable[place] else None
        if mask is None:
            continue
        alpha, own = soft(mask), cover(image, grounds.radius)
        made = {"hidden": own, "own-ground": put_on(image, alpha, own), "grey-cell": grey_cell(image, alpha)}
        for name, donors in grounds.donors.items():
            if donor := donors[place]:
                made[name] = put_on(image, alpha, covered[donor.path])
        for name, changed in made.items():
            tests[name][0].append(place)
            tests[name][1].append(changed)
    return tests


def _one(images: Sequence[CellImage], places: NDArray[np.intp], share: float) -> CellImage | None:
    return images[places[int(share * len(places))]] if len(places) else None
