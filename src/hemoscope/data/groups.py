"""Which images belong together: same content, nearly the same look, or one patient.

From a manifest's records alone; no image is opened.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np

from hemoscope.data.near import near
from hemoscope.records import CellImage

__all__ = [
    "Group",
    "content_groups",
    "merged",
    "near_duplicates",
]

Group = tuple[CellImage, ...]


def content_groups(images: Iterable[CellImage]) -> list[Group]:
    """Group images of the same bytes or the same decoded pixels, also by way of a third.

    Returns:
        Every image in exactly one group; groups and their members ordered by path.
    """
    ordered = sorted(images, key=attrgetter("path"))
    same_bytes = _repeats([image.hash for image in ordered])
    same_pixels = _repeats([image.pixel_hash or i for i, image in enumerate(ordered)])
    return _united(list(zip(ordered)), [*same_bytes, *same_pixels])


def near_duplicates(images: Iterable[CellImage]) -> list[tuple[str, ...]]:
    """Group the paths of images that look alike, as they are, flipped or turned, also by way of a third.

    Exact duplicates stand for one image, their first path.
    """
    single = [group[0] for group in content_groups(images)]
    hashes = np.array([image.phash for image in single], dtype=np.uint64)
    different, which = np.unique(hashes, return_inverse=True)
    numbers = near(different)[which]
    order = np.argsort(numbers, kind="stable")
    order = order[np.bincount(numbers)[numbers[order]] > 1]
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return [tuple(single[i].path for i in part) for part in sorted(map(np.ndarray.tolist, parts)) if part]


def merged(groups: Sequence[Group], alike: Iterable[Iterable[str]] = ()) -> list[Group]:
    """Join groups whose images name the same group (patient, slide), or lie in one of the sets of paths `alike`.

    Returns:
        The groups in their order, each at the place of its first; the very same where nothing joins.
    """
    first: dict[str, int] = {}
    pairs = [
        (i, first.setdefault(image.group, i))
        for i, group in enumerate(groups)
        for image in group
        if image.group
    ]
    place: dict[str, int] = {}
    for paths in alike:
        place = place or {image.path: i for i, group in enumerate(groups) for image in group}
        members = [place[path] for path in paths if path in place]
        pairs += [(members[0], other) for other in members[1:]]
    return _united(groups, pairs)


def _united(groups: Sequence[Group], pairs: Iterable[tuple[int, int]]) -> list[Group]:
    """Join the groups of every pair, also by way of others; each in order, at the place of its first."""
    leader: dict[int, int] = {}  # of all that are not the first of theirs

    def find(i: int) -> int:
        while (above := leader.get(i, i)) != i:
            leader[i] = leader.get(above, above)
            i = leader[i]
        return i

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        if low != high:
            leader[high] = low
    if not leader:
        return list(groups)
    parts: dict[int, list[int]] = {}
    for i in sorted(leader):
        parts.setdefault(first := find(i), [first]).append(i)
    together = {i: tuple(image for k in part for image in groups[k]) for i, part in parts.items()}
    return [together.get(i, group) for i, group in enumerate(groups) if i not in leader]


def _repeats(keys: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield the place of what was there before, and that of its first."""
    numbers = np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
    ordered = np.sort(numbers)
    often = ordered[1:][ordered[1:] == ordered[:-1]]
    first: dict[Hashable, int] = {}
    for i in np.flatnonzero(np.isin(numbers, often)).tolist():  # the same, or by chance of the same number
        if (earlier := first.setdefault(keys[i], i)) != i:
            yield i, earlier
