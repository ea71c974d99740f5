"""What a person should know about a data set before believing a score on it.

Duplicates, labels that contradict each other, near duplicates, odd sizes, a second acquisition
that a network could tell by its background, and imbalance: all from a Manifest, without opening
an image again. An audit reports and never changes anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hemoscope.data.acquisitions import second_acquisition
from hemoscope.data.canvas import is_long
from hemoscope.data.groups import Group, content_groups, merged, near_duplicates
from hemoscope.data.split import LEAST_IMAGES, check_sizes
from hemoscope.errors import SplitError
from hemoscope.records import CellImage, Manifest, Problem, sorted_by_level

__all__ = ["Audit", "audit"]

Paths = tuple[str, ...]

_IMBALANCE = 10


@dataclass(frozen=True)
class Audit:
    """The findings about one data set.

    Attributes:
        images: Readable images.
        not_images: Files that are no images and were passed over.
        classes: Images a class.
        duplicate_groups: Paths of the same bytes or the same decoded pixels, two or more a group.
        conflicting_groups: Those of them whose members lie in different classes.
        near_duplicate_groups: Paths that look alike by perceptual hash; exact duplicates count once.
        sizes: Images by (width, height) in px, most frequent first.
        second_acquisition: Images of the rarer background tone by class; empty where there is one tone.
        imbalance: Largest class over smallest, by images; NaN where a class is empty.
        converted: Images that had to be converted to upright 8-bit RGB, by reason.
        given_sides: Images a side, where the data bring their own split.
        problems: The scan's problems and the audit's, errors first.
    """

    images: int
    not_images: int
    classes: dict[str, int]
    duplicate_groups: tuple[Paths, ...]
    conflicting_groups: tuple[Paths, ...]
    near_duplicate_groups: tuple[Paths, ...]
    sizes: dict[tuple[int, int], int]
    second_acquisition: dict[str, int]
    imbalance: float
    converted: dict[str, int]
    given_sides: dict[str, int]
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, object]:
        """Return the findings as a JSON document; the first seven keys are a promise to scripts."""
        return {
            "images": self.images,
            "not_images": self.not_images,
            "classes": dict(self.classes),
            "duplicate_groups": len(self.duplicate_groups),
            "conflicting_groups": len(self.conflicting_groups),
            "second_acquisition": sum(self.second_acquisition.values()),
            "problems": [{"level": p.level, "path": p.path, "what": p.what} for p in self.problems],
            "second_acquisition_classes": dict(self.second_acquisition),
            "duplicates": [list(group) for group in self.duplicate_groups],
            "conflicts": [list(group) for group in self.conflicting_groups],
            "near_duplicate_groups": len(self.near_duplicate_groups),
            "near_duplicates": [list(group) for group in self.near_duplicate_groups],
            "sizes": [{"width_px": w, "height_px": h, "images": n} for (w, h), n in self.sizes.items()],
            "imbalance": self.imbalance if np.isfinite(self.imbalance) else None,
            "converted": dict(self.converted),
            "given_sides": dict(self.given_sides),
        }


def audit(manifest: Manifest) -> Audit:
    """Look at everything a manifest tells about its images."""
    all_groups = content_groups(manifest.images)
    groups = [group for group in all_groups if len(group) > 1]
    conflicts = [group for group in groups if len({image.class_name for image in group}) > 1]
    near = near_duplicates(manifest.images)
    second = second_acquisition(manifest.images)
    by_class = Counter(image.class_name for image in second)
    sizes = Counter((image.width_px, image.height_px) for image in manifest.images)
    counts = list(manifest.counts.values())
    imbalance = max(counts) / min(counts) if counts and min(counts) else float("nan")
    found = [
        *(_duplicate_problem(group) for group in groups),
        *_published_leaks(groups),
        *_given_problems(manifest),
        *_too_few(manifest, merged(all_groups)),
        *_near_problems(manifest, near),
        *_second_problem(manifest, by_class),
        *_imbalance_problem(manifest, imbalance),
        *_converted_problem(manifest),
        *_long_problem(manifest),
    ]
    return Audit(
        images=len(manifest.images),
        not_images=manifest.not_images,
        classes=manifest.counts,
        duplicate_groups=tuple(_paths(group) for group in groups),
        conflicting_groups=tuple(_paths(group) for group in conflicts),
        near_duplicate_groups=tuple(near),
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        second_acquisition={name: by_class[name] for name in manifest.classes if by_class[name]},
        imbalance=imbalance,
        converted=dict(manifest.converted),
        given_sides=dict(sorted(Counter(i.given_side for i in manifest.images if i.given_side).items())),
        problems=sorted_by_level((*manifest.problems, *found)),
    )


def _paths(group: Iterable[CellImage]) -> Paths:
    return tuple(image.path for image in group)


def _listed(paths: Sequence[str]) -> str:
    shown = [path if path.isprintable() else repr(path) for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _duplicate_problem(group: Sequence[CellImage]) -> Problem:
    others = _listed(_paths(group[1:]))
    if len({image.class_name for image in group}) > 1:
        what = f"the same image lies in another class: {others}; one of the labels is wrong"
        return Problem("warning", group[0].path, what)
    return Problem("note", group[0].path, f"the same image again: {others}")


def _published_leaks(groups: Iterable[Sequence[CellImage]]) -> Iterable[Problem]:
    for group in groups:
        sides = sorted({image.given_side for image in group if image.given_side is not None})
        if len(sides) > 1:
            what = (
                f"the published split has this image on {' and '.join(sides)}: {_listed(_paths(group[1:]))}"
            )
            yield Problem("warning", group[0].path, what)


def _given_problems(manifest: Manifest) -> Iterable[Problem]:
    """Tell of a given split: classes that it does not train on, and patients on two sides."""
    sides: dict[str, set[str]] = defaultdict(set)
    of_group: dict[str, set[str]] = defaultdict(set)
    for image in manifest.images:
        if image.given_side:
            sides[image.class_name].add(image.given_side)
            if image.group:
                of_group[image.group].add(image.given_side)
    for name, found in sides.items():
        if "train" not in found:
            what = (
                f"the given split has no training image of this class, only on {' and '.join(sorted(found))}"
            )
            yield Problem("warning", name, what)
    split = sorted(group for group, found in of_group.items() if len(found) > 1)
    if split:
        what = f"the given split has images of one group on two sides: {_listed(split)}"
        yield Problem("warning", ".", what)


def _too_few(manifest: Manifest, groups: Sequence[Group]) -> Iterable[Problem]:
    """Tell which classes training would refuse where it has to draw the sides: a folder may be there for other ends."""
    given = {image.given_side for image in manifest.images}
    if given - {None, "train"} and None not in given:
        return
    try:
        check_sizes(groups, manifest.classes, LEAST_IMAGES, "one for each side")
    except SplitError as error:
        yield Problem("warning", ".", f"too few to train on: {error}")


def _near_problems(manifest: Manifest, near: Iterable[Paths]) -> Iterable[Problem]:
    given = {image.path: image.given_side for image in manifest.images}
    for group in near:
        looks = f"looks like {_listed(group[1:])}"
        sides = sorted({side for path in group if (side := given[path]) is not None})
        if len(sides) > 1:
            what = f"{looks}, and the given split has them on {' and '.join(sides)}"
            yield Problem("warning", group[0], what)
        else:
            what = f"{looks}; perhaps one cell taken twice (--policy clean keeps them on one side)"
            yield Problem("note", group[0], what)


def _second_problem(manifest: Manifest, by_class: Counter[str]) -> Iterable[Problem]:
    if by_class:
        shares = ", ".join(f"{name} {by_class[name]}" for name in manifest.classes if by_class[name])
        what = (
            f"{by_class.total()} images have another background tone, as from a second acquisition "
            f"({shares}); a network can learn the tone instead of the cell"
        )
        yield Problem("note", ".", what)


def _imbalance_problem(manifest: Manifest, imbalance: float) -> Iterable[Problem]:
    if imbalance > _IMBALANCE:
        size: Callable[[str], int] = manifest.counts.__getitem__
        large, small = max(manifest.classes, key=size), min(manifest.classes, key=size)
        what = (
            f"{large!r} has {size(large)} images and {small!r} {size(small)}, more than {_IMBALANCE} to 1; "
            "look at every class's sensitivity, not only at the accuracy"
        )
        yield Problem("note", ".", what)


def _converted_problem(manifest: Manifest) -> Iterable[Problem]:
    for reason, count in manifest.converted.items():
        if reason == "16-bit-narrow":
            what = (
                f"{count} image(s) use a quarter of their 16 bits or less, as 12 bits kept in 16, and come out "
                "dark or flat; scale them to the full range first"
            )
            yield Problem("warning", ".", what)
        elif reason == "icc":
            what = f"{count} image(s) have a colour profile that is not sRGB; it is left aside (icc)"
            yield Problem("note", ".", what)
        else:
            yield Problem("note", ".", f"{count} image(s) converted to upright 8-bit RGB: {reason}")


def _long_problem(manifest: Manifest) -> Iterable[Problem]:
    paths = [image.path for image in manifest.images if is_long(image.width_px, image.height_px)]
    if paths:
        what = (
            f"{len(paths)} image(s) are longer than 2 to 1: {_listed(paths)}; only the central square is used, "
            "and a cell may lie outside of it"
        )
        yield Problem("note", ".", what)
