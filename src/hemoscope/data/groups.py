"""Which images belong together: same content, nearly the same look, or one patient.

From a manifest's records alone; no image is opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hemoscope.records import CellImage

__all__ = ["NEAR_BITS", "Group", "content_groups", "merged", "near_duplicates"]

Group = tuple[CellImage, ...]

NEAR_BITS = 2
"""Largest Hamming distance of near duplicates.

Measured on all pairs of the 17,075 different contents of the complete PBC set: two pairs lie at
distance 2, and both show one cell photographed twice. From distance 4 on (one pair at 4, eight at
6, 172 at 8) nearly all pairs are different cells that happen to lie alike.
"""


def content_groups(images: Iterable[CellImage]) -> list[Group]:
    """Group images of the same bytes or the same decoded pixels, also by way of a third.

    Returns:
        Every image in exactly one group; groups and their members ordered by path.
    """
    ordered = sorted(images, key=lambda image: image.path)
    first: dict[str, int] = {}
    pairs = [
        (i, first.setdefault(content, i))
        for i, image in enumerate(ordered)
        for content in (f"bytes {image.hash}", f"pixels {image.pixel_hash}" if image.pixel_hash else "")
        if content
    ]
    return [tuple(ordered[i] for i in part) for part in _components(len(ordered), pairs)]


def near_duplicates(images: Iterable[CellImage], max_bits: int = NEAR_BITS) -> list[tuple[str, ...]]:
    """Group the paths of images whose perceptual hashes differ in at most `max_bits` of 64, also by way of a third.

    Exact duplicates stand for one image, their first path. Compares all pairs, in blocks: about
    1.5 s for 17,000 images.
    """
    single = [group[0] for group in content_groups(images)]
    hashes = np.array([image.phash for image in single], dtype=np.uint64)
    parts = _components(len(single), _close_pairs(hashes, max_bits))
    return [tuple(single[i].path for i in part) for part in parts if len(part) > 1]


def merged(groups: Sequence[Group], alike: Iterable[Iterable[str]] = ()) -> list[Group]:
    """Join groups whose images name the same group (patient, slide), or lie in one of the sets of paths `alike`.

    Returns:
        The groups in their order, each at the place of its first; the very same where nothing joins.
    """
    place = {image.path: i for i, group in enumerate(groups) for image in group}
    first: dict[str, int] = {}
    pairs = [
        (i, first.setdefault(image.group, i))
        for i, group in enumerate(groups)
        for image in group
        if image.group
    ]
    for paths in alike:
        members = [place[path] for path in paths if path in place]
        pairs += [(members[0], other) for other in members[1:]]
    return [tuple(image for i in part for image in groups[i]) for part in _components(len(groups), pairs)]


def _components(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected components of `n` things, each in order, ordered by their first."""
    leader = list(range(n))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        leader[high] = low
    parts: dict[int, list[int]] = defaultdict(list)
    for i in range(n):
        parts[find(i)].append(i)
    return list(parts.values())


def _close_pairs(hashes: NDArray[np.uint64], max_bits: int) -> Iterable[tuple[int, int]]:
    block = 1024  # 1024 x 17,000 distances are 17 MB
    for start in range(0, len(hashes), block):
        distance = np.bitwise_count(hashes[start : start + block, None] ^ hashes[None, start:])
        for a, b in zip(*np.nonzero(distance <= max_bits), strict=True):
            if a < b:
                yield start + int(a), start + int(b)
