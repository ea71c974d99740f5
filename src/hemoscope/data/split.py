"""Which image is for fitting, which for choosing, which for reporting once.

A split is stratified by class, drawn by a seed, and never puts one content on two sides: images
with the same bytes or the same pixels move together, and so do those of a group (patient, slide) and, by
policy `clean`, those that look alike. By policy `acquisition` the images of a second acquisition are the test side. It depends on the images' names and contents
only, not on the order in which a disk lists them. The file format is in `split_file`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, get_args

import numpy as np

from hemoscope.data.acquisitions import second_acquisition
from hemoscope.data.groups import Group, content_groups, merged, near_duplicates
from hemoscope.data.split_file import read_split, write_split
from hemoscope.errors import ConfigError, SplitError
from hemoscope.records import (
    SIDES,
    CellImage,
    IntArray,
    Manifest,
    Side,
    Split,
    SplitRow,
    collected_later,
)

__all__ = [
    "LEAST_IMAGES",
    "SIDES",
    "Policy",
    "check_sizes",
    "content_groups",
    "make_split",
    "read_split",
    "row_of",
    "side_sizes",
    "with_drawn_side",
    "write_split",
]

Policy = Literal["paper", "clean", "acquisition"]
LEAST_IMAGES = 3


@collected_later()
def make_split(manifest: Manifest, *, policy: Policy, seed: int) -> Split:
    """Draw a split of 64 / 24 / 12 %, or take the one that the data bring.

    Where the data bring training images and only one other side, the missing side is drawn from the
    training images.

    Args:
        manifest: Images without errors (`hemoscope.data.scan.scan.usable`).
        policy: `paper` keeps every image. `clean` keeps the first of each group of duplicates, and
            none of a group whose members contradict each other in their class; of what is left,
            images that look alike stay on one side. `acquisition` reports on the images of a second
            acquisition alone; nothing is trained or chosen on them.
        seed: Seed of the draw, at least 0. Not used for a whole given split.

    Returns:
        Rows ordered by path. Sizes are exactly `side_sizes` of each class, unless duplicates that
        have to stay together leave no such choice.

    Raises:
        ConfigError: If the policy is unknown or the seed negative.
        SplitError: If a class is too small, listing all of them, or there is no second acquisition.
    """
    if policy not in get_args(Policy):
        raise ConfigError(f"expected policy paper, clean or acquisition, got {policy!r}")
    if seed < 0:
        raise ConfigError(f"expected a seed of at least 0, got {seed}")
    given: set[Side | None] = {image.given_side for image in manifest.images}
    if policy == "acquisition":
        return _second_to_test(manifest, seed)
    if given - {None, "train"} and None not in given:
        return _given(manifest, given, seed)
    groups = content_groups(manifest.images)
    alike: Iterable[Iterable[str]] = ()
    if policy == "clean":
        groups = [group[:1] for group in groups if _n_classes(group) == 1]
        alike = near_duplicates(image for group in groups for image in group if image.phash)
    groups = merged(groups, alike)
    check_sizes(groups, manifest.classes, LEAST_IMAGES, "one for each side")
    rows = _drawn(groups, np.random.default_rng(seed), side_sizes)
    split = Split(rows=_ordered(rows), policy=policy, seed=seed)
    empty = [f"{side} of {name}" for side in SIDES for name, n in split.counts[side].items() if n == 0]
    if empty:
        raise SplitError(
            f"images that must stay together leave none for: {', '.join(empty)}. "
            "Add different images, or try --policy clean"
        )
    return split


def _given(manifest: Manifest, given: Set[Side | None], seed: int) -> Split:
    """Take the given sides; draw validation or test images from the training images where there are none."""
    rows = [row_of(image, image.given_side) for image in manifest.images if image.given_side is not None]
    missing: list[Side] = [side for side in SIDES if side not in given]
    if not missing or "train" in missing:
        return Split(rows=_ordered(rows), policy="given", seed=None)
    groups = merged(content_groups(image for image in manifest.images if image.given_side == "train"))
    rows = [row for row in rows if row.side != "train"]
    rows += with_drawn_side(groups, missing[0], np.random.default_rng(seed))
    return Split(rows=_ordered(rows), policy="given", seed=seed)


def with_drawn_side(groups: Sequence[Group], side: Side, rng: np.random.Generator) -> list[SplitRow]:
    """Draw one side from training images, in the proportion that it has to them in a whole split."""
    share = side_sizes(100)

    def sizes(n: int) -> dict[Side, int]:
        drawn = n * share[side] // (share["train"] + share[side])
        drawn = max(drawn, min(1, n - 1))
        return {one: {side: drawn, "train": n - drawn}.get(one, 0) for one in SIDES}

    return _drawn(groups, rng, sizes)


def _second_to_test(manifest: Manifest, seed: int) -> Split:
    """Test on the second acquisition, and on what has to stay with it; draw validation from the first."""
    second = {image.path for image in second_acquisition(manifest.images)}
    if not second:
        raise SplitError(
            "policy acquisition tests on the images of a second acquisition, told by their background; these images "
            "are of one. Use policy paper or clean"
        )
    groups = merged(content_groups(manifest.images))
    of_second = [group for group in groups if any(image.path in second for image in group)]
    first = [group for group in groups if not any(image.path in second for image in group)]
    check_sizes(first, manifest.classes, 2, "outside the second acquisition, to train and to choose by")
    rows = with_drawn_side(first, "val", np.random.default_rng(seed))
    rows += [row_of(image, "test") for group in of_second for image in group]
    return Split(rows=_ordered(rows), policy="acquisition", seed=seed)


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


def check_sizes(groups: Sequence[Group], classes: Sequence[str], least: int, what_for: str) -> None:
    """Refuse classes of fewer than `least` different images, or groups where images name some.

    Raises:
        SplitError: If a class is too small, listing all of them.
    """
    different = _groups_a_class(groups)
    small = [f"{name!r} has {different[name]}" for name in classes if different[name] < least]
    if small or not classes:
        what = "groups" if any(image.group for group in groups for image in group) else "images"
        raise SplitError(
            f"expected at least {least} different {what} of every class, {what_for}; "
            f"{', '.join(small) or 'there is no class'}. Add images or leave the class out"
        )


@dataclass(frozen=True, slots=True)
class _Room:
    """What is still to be filled in one class: images a side, and groups that are left."""

    want: Mapping[Side, int]
    left: dict[Side, int]
    groups: list[int]  # one number, counted down

    def empty_sides(self) -> set[Side]:
        return {side for side in SIDES if self.want[side] and self.left[side] == self.want[side]}


def _drawn(
    groups: Sequence[Group], rng: np.random.Generator, sizes_of: Callable[[int], dict[Side, int]]
) -> list[SplitRow]:
    """Choose a side for every group's images, `sizes_of` a class's number of images, drawing without replacement from the places of each class.

    Groups that are hard to place come first, while there is room: those that cross classes, then
    the larger ones. Single images then fill what is left, each with equal chance for every place.
    """
    sizes = Counter([image.class_name for group in groups for image in group])
    n_groups = _groups_a_class(groups)
    rooms: dict[str, _Room] = {}
    for name, n in sizes.items():
        want = sizes_of(n)
        rooms[name] = _Room(want, dict(want), [n_groups[name]])
    sides: list[Side] = ["train"] * len(groups)

    def seat(i: int) -> None:
        need = Counter(image.class_name for image in groups[i])
        sides[i] = _choose({name: rooms[name] for name in sorted(need)}, need, rng)
        for name, count in need.items():
            rooms[name].left[sides[i]] -= count
            rooms[name].groups[0] -= 1

    shuffled = rng.permutation(len(groups))
    alone = np.array([len(group) == 1 for group in groups], dtype=bool)[shuffled]
    for i in sorted(shuffled[~alone].tolist(), key=lambda i: (-_n_classes(groups[i]), -len(groups[i]))):
        seat(i)
    rest: IntArray = shuffled[alone]
    if any(free < 0 for room in rooms.values() for free in room.left.values()):
        for i in rest.tolist():
            seat(i)
    else:
        number = {name: k for k, name in enumerate(rooms)}
        classes = np.array([number[group[0].class_name] for group in groups], dtype=np.int64)
        for i, side in zip(rest.tolist(), _seats(classes[rest], list(rooms.values()), rng), strict=True):
            sides[i] = side
    return [row_of(image, side) for group, side in zip(groups, sides, strict=True) for image in group]


def _seats(classes: IntArray, rooms: Sequence[_Room], rng: np.random.Generator) -> list[Side]:
    """Return what `_choose` would for one image after the other, from numbers drawn at once.

    Every free place of a class is for one of these images, so that as many are free as images are left. No
    side can stay empty: where its last image would be needed, only that place is free.

    Args:
        classes: The class of each image, as a place in `rooms`, shape (N,).
        rooms: Of every class.
        rng: What draws one number an image, in their order.
    """
    order = np.argsort(classes, kind="stable")  # class by class
    sizes = np.bincount(classes, minlength=len(rooms))
    free = np.concatenate([np.arange(size, 0, -1) for size in sizes]) if len(rooms) else order
    most = np.empty_like(order)
    most[order] = free
    tickets: list[int] = rng.integers(most)[order].tolist()
    found = np.empty(len(order), dtype=np.int8)
    said: list[int] = []
    start = 0
    for room, size in zip(rooms, sizes.tolist(), strict=True):
        train, val, _ = (room.left[side] for side in SIDES)
        for ticket in tickets[start : start + size]:
            if ticket < train:
                train -= 1
                said.append(0)
            elif ticket < train + val:
                val -= 1
                said.append(1)
            else:
                said.append(2)
        start += size
    found[order] = said
    return [SIDES[side] for side in found.tolist()]


def _n_classes(group: Group) -> int:
    return len({image.class_name for image in group})


def _groups_a_class(groups: Sequence[Group]) -> Counter[str]:
    """Count the groups that hold an image of a class."""
    counts = Counter([group[0].class_name for group in groups if len(group) == 1])
    counts.update(
        name for group in groups if len(group) > 1 for name in {image.class_name for image in group}
    )
    return counts


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
    wanted: list[Side] = [side for side in SIDES if all(room.want[side] for room in rooms.values())]
    return max(
        [side for side in wanted if side in allowed] or wanted,
        key=lambda side: min(room.left[side] / room.want[side] for room in rooms.values()),
    )


def row_of(image: CellImage, side: Side) -> SplitRow:
    """Return an image's row of a split."""
    return SplitRow._make((*image[:3], image.hash, side))


def _ordered(rows: Iterable[SplitRow]) -> tuple[SplitRow, ...]:
    return tuple(sorted(rows, key=attrgetter("path")))
