"""Which image is for fitting, which for choosing, which for reporting once.

A split is stratified by class, drawn by a seed, and never puts one content on two sides: images
with the same bytes or the same pixels move together. It depends on the images' names and contents
only, not on the order in which a disk lists them. The file format is in `split_file`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from hemoscope.data.split_file import read_split, write_split
from hemoscope.errors import ConfigError, SplitError
from hemoscope.records import CellImage, Manifest, Side, Split, SplitRow

__all__ = ["SIDES", "Policy", "content_groups", "make_split", "read_split", "side_sizes", "write_split"]

Policy = Literal["paper", "clean"]
SIDES: tuple[Side, ...] = ("train", "val", "test")
_MIN_IMAGES = 3


def make_split(manifest: Manifest, *, policy: Policy, seed: int) -> Split:
    """Draw a split of 64 / 24 / 12 %, or take the published one of an `.npz`.

    Args:
        manifest: Images without errors (`hemoscope.data.scan.usable`).
        policy: `paper` keeps every image. `clean` keeps the first of each group of duplicates, and
            none of a group whose members contradict each other in their class.
        seed: Seed of the draw, at least 0. Not used for a published split.

    Returns:
        Rows ordered by path. Sizes are exactly `side_sizes` of each class, unless duplicates that
        have to stay together leave no such choice.

    Raises:
        ConfigError: If the policy is unknown or the seed negative.
        SplitError: If a class is too small, listing all of them.
    """
    if policy not in get_args(Policy):
        raise ConfigError(f"expected policy {' or '.join(get_args(Policy))}, got {policy!r}")
    if seed < 0:
        raise ConfigError(f"expected a seed of at least 0, got {seed}")
    given = [_row(image, image.given_side) for image in manifest.images if image.given_side is not None]
    if manifest.images and len(given) == len(manifest.images):
        return Split(rows=_ordered(given), policy="given", seed=None)
    groups = content_groups(manifest.images)
    if policy == "clean":
        groups = [group[:1] for group in groups if len({image.class_name for image in group}) == 1]
    _check_sizes(groups, manifest.classes)
    sides = _draw(groups, np.random.default_rng(seed))
    rows = [_row(image, side) for group, side in zip(groups, sides, strict=True) for image in group]
    split = Split(rows=_ordered(rows), policy=policy, seed=seed)
    empty = [f"{side} of {name}" for side in SIDES for name, n in split.counts[side].items() if n == 0]
    if empty:
        raise SplitError(
            f"duplicates that must stay together leave no image for: {', '.join(empty)}. "
            "Add different images, or try --policy clean"
        )
    return split


def side_sizes(n: int) -> dict[Side, int]:
    """Return how many of a class's `n` images go to each side: 64 / 24 / 12 %.

    >>> side_sizes(1218)
    {'train': 779, 'val': 292, 'test': 147}

    Source:
        Gavas & Olpadkar, Section 4.1; with test = ceil(0.12 n) every figure of Table 2 is a whole count.
    """
    test = (12 * n + 99) // 100
    val = (24 * n + 50) // 100
    return {"train": n - val - test, "val": val, "test": test}


def content_groups(images: Iterable[CellImage]) -> list[tuple[CellImage, ...]]:
    """Group images of the same bytes or the same decoded pixels, also by way of a third.

    Returns:
        Every image in exactly one group; groups and their members ordered by path.
    """
    ordered = sorted(images, key=lambda image: image.path)
    leader = list(range(len(ordered)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    first: dict[str, int] = {}
    for i, image in enumerate(ordered):
        for content in (f"bytes {image.hash}", f"pixels {image.pixel_hash}" if image.pixel_hash else ""):
            if content:
                a, b = sorted((find(i), find(first.setdefault(content, i))))
                leader[b] = a
    groups: dict[int, list[CellImage]] = defaultdict(list)
    for i, image in enumerate(ordered):
        groups[find(i)].append(image)
    return [tuple(group) for group in groups.values()]


def _check_sizes(groups: Sequence[Sequence[CellImage]], classes: Sequence[str]) -> None:
    different = Counter(name for group in groups for name in {image.class_name for image in group})
    small = [f"{name!r} has {different[name]}" for name in classes if different[name] < _MIN_IMAGES]
    if small or not classes:
        raise SplitError(
            f"expected at least {_MIN_IMAGES} different images of every class, one for each side; "
            f"{', '.join(small) or 'there is no class'}. Add images or leave the class out"
        )


@dataclass(frozen=True, slots=True)
class _Room:
    """What is still to be filled in one class: images a side, and groups that are left."""

    want: Mapping[Side, int]
    left: dict[Side, int]
    groups: list[int]  # one number, counted down

    def empty_sides(self) -> set[Side]:
        return {side for side in SIDES if self.left[side] == self.want[side]}


def _draw(groups: Sequence[Sequence[CellImage]], rng: np.random.Generator) -> list[Side]:
    """Choose a side for every group, drawing without replacement from the places of each class.

    Groups that are hard to place come first, while there is room: those that cross classes, then
    the larger ones. Single images then fill what is left, each with equal chance for every place.
    """
    needs = [Counter(image.class_name for image in group) for group in groups]
    sizes = Counter(image.class_name for group in groups for image in group)
    rooms: dict[str, _Room] = {}
    for name, n in sizes.items():
        want = side_sizes(n)
        rooms[name] = _Room(want, dict(want), [sum(name in need for need in needs)])
    shuffled = rng.permutation(len(groups))
    order = sorted(shuffled, key=lambda i: (-len(needs[i]), -len(groups[i])))
    sides: list[Side] = ["train"] * len(groups)
    for i in order:
        side = _choose({name: rooms[name] for name in sorted(needs[i])}, needs[i], rng)
        sides[i] = side
        for name, count in needs[i].items():
            rooms[name].left[side] -= count
            rooms[name].groups[0] -= 1
    return sides


def _choose(rooms: Mapping[str, _Room], need: Mapping[str, int], rng: np.random.Generator) -> Side:
    """Return a side at random in proportion to its free places, or the least full where none fits."""
    allowed = set(SIDES)
    for room in rooms.values():
        empty = room.empty_sides()
        if room.groups[0] <= len(empty):  # the last chance to leave no side empty
            allowed &= empty
    free = [
        min(room.left[side] for room in rooms.values())
        if side in allowed and all(rooms[name].left[side] >= count for name, count in need.items())
        else 0
        for side in SIDES
    ]
    if sum(free) > 0:
        ticket = int(rng.integers(sum(free)))
        return SIDES[int(np.searchsorted(np.cumsum(free), ticket, side="right"))]
    return max(
        (side for side in SIDES if side in allowed or not allowed),
        key=lambda side: min(room.left[side] / room.want[side] for room in rooms.values()),
    )


def _row(image: CellImage, side: Side) -> SplitRow:
    return SplitRow(image.path, image.class_name, image.subtype, image.hash, side)


def _ordered(rows: Iterable[SplitRow]) -> tuple[SplitRow, ...]:
    return tuple(sorted(rows, key=lambda row: row.path))
