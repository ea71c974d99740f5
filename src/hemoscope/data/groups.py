"""Which images belong together: same content, nearly the same look, or one patient.

From a manifest's records alone; no image is opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hemoscope.records import CellImage

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


def near_duplicates(images: Iterable[CellImage]) -> list[tuple[str, ...]]:
    """Group the paths of images that look alike, as they are, flipped or turned, also by way of a third.

    Exact duplicates stand for one image, their first path. Compares all pairs in eight orientations, in blocks:
    a few seconds for 17,000 images.
    """
    single = [group[0] for group in content_groups(images)]
    hashes = np.array([image.phash for image in single], dtype=np.uint64)
    parts = _components(len(single), _close_pairs(hashes))
    return [tuple(single[i].path for i in part) for part in parts if len(part) > 1]


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


def _close_pairs(hashes: NDArray[np.uint64]) -> Iterable[tuple[int, int]]:
    different, first, number = np.unique(hashes, return_index=True, return_inverse=True)
    yield from enumerate(first[number].tolist())  # the same ones to their first
    block = 1024  # 1024 x 17,000 distances are 17 MB
    for orientation, turned in enumerate(orientations(different)):
        most = TURNED_BITS if orientation else NEAR_BITS
        for start in range(0, len(different), block):
            distance = np.bitwise_count(turned[start : start + block, None] ^ different[None, start:])
            for a, b in zip(*np.nonzero(distance <= most), strict=True):
                if a < b:
                    yield int(first[start + a]), int(first[start + b])
