"""Which images belong together: same content, nearly the same look, or one patient.

From a manifest's records alone; no image is opened.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from hemoscope.records import CellImage, IntArray

__all__ = [
    "NEAR_BITS",
    "TURNED_BITS",
    "Group",
    "content_groups",
    "merged",
    "near_duplicates",
    "orientations",
]

Group = tuple[CellImage, ...]

NEAR_BITS, TURNED_BITS = 4, 3
"""Largest Hamming distances of near duplicates, the second of one that was flipped or turned.

Measured on all pairs of the 17,075 different contents of the complete PBC set: two pairs lie at distances 3
and 4, and both show one cell photographed twice; from 5 on (two pairs, six at 6, 20 at 7) they are cells that
happen to lie alike. Flipped or turned the nearest pairs, two, lie at 4 and are different cells. Of 1,900
images, every ninth, turned or flipped, compressed again as JPEG of quality 85 and reduced to 0.7 of their size,
all lie at 2 or less.
"""

_AT_ONCE = 2**21  # pairs in hand, which take 100 MB
_APART = tuple(2**k for k in range(10))  # places between the neighbours that are compared first


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
    numbers = _near(different)[which]
    order = np.argsort(numbers, kind="stable")
    order = order[np.bincount(numbers)[numbers[order]] > 1]
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return [tuple(single[i].path for i in part) for part in sorted(map(np.ndarray.tolist, parts)) if part]


def orientations(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the perceptual hashes of the same images in their eight orientations, shape (8, N).

    Args:
        hashes: Of the images as they are, which is the first row; shape (N,).
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)  # (N, down, across)
    odd = np.arange(8) % 2 == 1
    across, down = np.broadcast_to(odd, (8, 8)), np.broadcast_to(odd[:, None], (8, 8))
    turned = [
        one ^ signs
        for one in (bits, bits.transpose(0, 2, 1))
        for signs in (np.zeros((8, 8), dtype=bool), across, down, across ^ down)
    ]
    packed = np.packbits(np.stack(turned), axis=3)  # (8, N, 8, 1)
    return packed.reshape(8, -1, 8).view(">u8")[..., 0].astype(np.uint64)


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


def _near(hashes: NDArray[np.uint64]) -> IntArray:
    """Return for each of N different hashes a number that those share which are near, also by way of others.

    Two hashes that differ in at most k bits agree in two of any k + 2 parts of them. Compared are only those that do,
    and no more where all that agree are known to belong together: the time grows with N, but for hashes by the
    thousand that agree in a third of their bits and are not near; the memory never does.
    """
    numbers = np.arange(len(hashes))
    if len(hashes) < 2:
        return numbers
    turned = orientations(hashes)
    for mask in _masks(NEAR_BITS):  # neighbours first: where thousands are near, the rest is then known
        order = np.argsort(hashes & mask, kind="stable")
        for apart in _APART:
            numbers = _joined(numbers, hashes, hashes, NEAR_BITS, (order[:-apart], order[apart:]))
    for most, looks in ((NEAR_BITS, turned[:1]), (TURNED_BITS, turned[1:])):
        for mask in _masks(most):
            order = np.argsort(hashes & mask, kind="stable")
            for look in looks:
                for pairs in _agreeing(look & mask, hashes & mask, order, numbers):
                    numbers = _joined(numbers, look, hashes, most, pairs)
    return numbers


def _masks(most: int) -> list[np.uint64]:
    """Return what two of `most` + 2 parts of 64 bits are; each part has low frequencies and high ones."""
    parts = [sum(1 << bit for bit in range(first, 64, most + 2)) for first in range(most + 2)]
    return [np.uint64(one | other) for one, other in combinations(parts, 2)]


def _agreeing(
    looks: NDArray[np.uint64], keys: NDArray[np.uint64], order: IntArray, numbers: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield all (a, b) where `looks[a] == keys[b]`, a few million at once.

    Left out is an `a` that belongs to the same as all of its `b`.

    Args:
        looks: Shape (N,).
        keys: Shape (N,).
        order: That of the keys, ascending.
        numbers: What each belongs to, shape (N,).
    """
    found = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1]]))
    sizes = np.diff(starts, append=len(found))
    at = np.minimum(np.searchsorted(found[starts], looks), len(starts) - 1)
    low, high = (f.reduceat(numbers[order], starts)[at] for f in (np.minimum, np.maximum))
    chosen = np.flatnonzero((found[starts][at] == looks) & ((low != numbers) | (high != numbers)))
    ends = np.cumsum(sizes[at[chosen]])
    cuts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1] if len(ends) else 0, _AT_ONCE))
    for part in np.split(chosen, np.unique(cuts)):
        n = sizes[at[part]]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        yield np.repeat(part, n), order[np.repeat(starts[at[part]], n) + within]


def _joined(
    numbers: IntArray,
    looks: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    most: int,
    pairs: tuple[IntArray, IntArray],
) -> IntArray:
    """Return the numbers after joining those pairs whose look and hash differ in at most `most` bits."""
    a, b = pairs
    near = np.bitwise_count(looks[a] ^ hashes[b]) <= most
    a, b = a[near], b[near]
    while (apart := numbers[a] != numbers[b]).any():
        a, b = a[apart], b[apart]
        numbers = numbers.copy()
        one, other = numbers[a], numbers[b]
        np.minimum.at(numbers, np.maximum(one, other), np.minimum(one, other))
        while (numbers[numbers] != numbers).any():
            numbers = numbers[numbers]
    return numbers
