"""The cells that a bundle is adapted to: different images, ordered by what is in them, with labels where there are any.

Everything that is wrong with them is told at once. Nothing is kept of an image but where it is and what it contains.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.camera import evenly
from hemoscope.data.class_map import ClassMap, match_classes
from hemoscope.data.images.decode import decode
from hemoscope.data.images.fingerprint import pixel_hash
from hemoscope.data.images.nucleus import nucleus_px
from hemoscope.errors import DataError, ImageError
from hemoscope.packing.labelled import in_order
from hemoscope.places import available_cores
from hemoscope.predict.inputs import Named, Passed, find_images
from hemoscope.predict.verdict import odd_size
from hemoscope.progress import Progress
from hemoscope.records import IntArray, Manifest

__all__ = ["Cells", "Source", "gather"]

Source = Path | bytes | NDArray[np.uint8]
NONE_OF_THEM = -2
_SHOWN = 20
_AT_ONCE = 256  # images that wait for their turn


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Different cells, those without a label first, each part ordered by content.

    Attributes:
        sources: Files, their contents, or pixels, length N.
        hashes: SHA-256 of the decoded pixels and their shape, length N.
        target: Class numbers, shape (N,); -1 for a cell without a label.
        sides_px: Shorter sides, smallest and largest, of those that are not odd.
        odd_sizes: How many are so much smaller or larger than the others that they may be no single cell's.
        converted: How many had to be converted to upright 8-bit RGB, by reason.
        nuclei: Share of the cells looked at in which a nucleus is found.
        alike: Cells that were there before with the same content.
        left_out: Cells that a person has said to be of none of the classes; they are not among the others either.
        more: Cells without a label that were not drawn, where there were too many.
        class_map: Which class of the model each class of the labelled cells is.
        passed: What is no image among what was given, in words; empty where there is nothing.
    """

    sources: tuple[Source, ...]
    hashes: tuple[str, ...]
    target: IntArray
    sides_px: tuple[int, int]
    converted: Mapping[str, int]
    nuclei: float
    odd_sizes: int = 0
    alike: int = 0
    left_out: int = 0
    more: int = 0
    class_map: ClassMap = field(default_factory=dict)
    passed: str = ""

    @property
    def unlabelled(self) -> IntArray:
        """Rows of the cells without a label."""
        return np.flatnonzero(self.target < 0)

    @property
    def labelled(self) -> IntArray:
        """Rows of the others."""
        return np.flatnonzero(self.target >= 0)

    @property
    def digest(self) -> str:
        """SHA-256 over content and class of every cell, whatever the order they came in."""
        rows = zip(self.hashes, self.target.tolist(), strict=True)
        return hashlib.sha256("\n".join(f"{sha}\0{c}" for sha, c in rows).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Seen:
    source: Source
    hash: str
    side_px: int
    conversions: tuple[str, ...]
    nucleus: bool


def gather(
    data: str,
    classes: Sequence[str],
    *,
    labelled: Manifest | None = None,
    given: ClassMap | None = None,
    most: int,
    progress: Progress | None = None,
) -> Cells:
    """Return the cells to adapt to.

    Args:
        data: What `find_images` takes: a folder, an archive, a pattern. Its folders' names are not looked at.
        classes: The model's.
        labelled: Cells with their classes. One that is among the others too counts here only.
        given: What a person has decided of these classes.
        most: Of more cells without a label so many are drawn, by their content.
        progress: Called after each image.

    Raises:
        DataError: If there is no image, images cannot be read (all of them are named), a labelled class is none that the
            model knows, or one cell has two labels.
    """
    passed = Passed()
    found = list(find_images([data], passed=passed))
    if not found:
        said = passed.in_words()
        raise DataError(
            f"there is no image in {data}; expected the cells of one laboratory{f' ({said})' if said else ''}"
        )
    class_map = match_classes(labelled.classes, classes, given) if labelled else {}
    named = _labelled(labelled, class_map) if labelled else []
    seen = _seen([*found, *((name, source) for name, source, _ in named)], progress)
    target: dict[str, int] = {}
    names: dict[str, str] = {}
    for (name, _, class_name), one in zip(named, seen[len(found) :], strict=True):
        c = NONE_OF_THEM if class_name is None else classes.index(class_name)
        if target.setdefault(one.hash, c) != c:
            raise DataError(
                f"{name} and {names[one.hash]} show the same cell under two classes; leave it in one of them"
            )
        names.setdefault(one.hash, name)
    # Of equal ones that with the fewest conversions, in whatever order they came.
    by_hash = {
        one.hash: one
        for one in sorted(seen, key=lambda one: (len(one.conversions), one.conversions), reverse=True)
    }
    open_ones = sorted(set(by_hash) - set(target))
    drawn = evenly(open_ones, most)
    known = sorted(sha for sha, c in target.items() if c != NONE_OF_THEM)
    rows = [by_hash[sha] for sha in (*drawn, *known)]
    sides = [one.side_px for one in rows]
    middle = int(np.median(sides))
    usual = [side for side in sides if not odd_size(side, (middle, middle))] or sides
    return Cells(
        sources=tuple(one.source for one in rows),
        hashes=tuple(one.hash for one in rows),
        target=np.array([target.get(one.hash, -1) for one in rows], dtype=np.int64),
        sides_px=(min(usual), max(usual)),
        converted=dict(sorted(Counter(why for one in rows for why in one.conversions).items())),
        nuclei=float(np.mean([one.nucleus for one in rows])),
        odd_sizes=len(sides) - len(usual),
        alike=len(seen) - len(by_hash),
        left_out=len(target) - len(known),
        more=len(open_ones) - len(drawn),
        class_map=class_map,
        passed=passed.in_words(),
    )


def _labelled(manifest: Manifest, class_map: ClassMap) -> list[tuple[str, Source, str | None]]:
    images = in_order(manifest, [image.path for image in manifest.images])
    return [
        (image.path, source, class_map[image.class_name])
        for image, source in zip(manifest.images, images, strict=True)
    ]


def _seen(named: Sequence[Named | tuple[str, Source]], progress: Progress | None) -> list[_Seen]:
    seen: list[_Seen] = []
    problems: list[str] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(named), _AT_ONCE):
            chunk = named[start : start + _AT_ONCE]
            looked: Iterable[_Seen | str] = pool.map(lambda item: _look(item[1]), chunk)
            for (name, _), one in zip(chunk, looked, strict=True):
                if isinstance(one, str):
                    problems.append(f"{name}: {one}")
                else:
                    seen.append(one)
                if progress:
                    progress("reading cells", len(seen) + len(problems), len(named))
    if problems:
        lines = [
            *problems[:_SHOWN],
            *([f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []),
        ]
        listing = "\n  ".join(lines)
        raise DataError(
            f"{len(problems)} of {len(named)} images cannot be read; leave them out of what you give:\n  {listing}"
        )
    return seen


def _look(source: Source | ImageError) -> _Seen | str:
    if isinstance(source, ImageError):
        return str(source)
    try:
        pixels, conversions = (source, ()) if isinstance(source, np.ndarray) else _decoded(source)
    except ImageError as error:
        return str(error)
    return _Seen(
        source=source,
        hash=pixel_hash(pixels),
        side_px=min(pixels.shape[:2]),
        conversions=conversions,
        nucleus=bool(np.isfinite(nucleus_px(pixels))),
    )


def _decoded(source: Path | bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    found = decode(source)
    return found.pixels, found.conversions
