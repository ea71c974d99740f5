"""Which perceptual hashes are near each other, among millions. What a search has found is remembered: it takes half a minute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hemoscope.files import atomic_path
from hemoscope.places import cache_dir
from hemoscope.records import IntArray

__all__ = ["NEAR_BITS", "REMEMBERED_FROM", "TURNED_BITS", "near", "orientations"]

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
REMEMBERED_FROM = 50_000  # hashes; fewer take a second or two
_RULES = "1: parts that agree"


def near(hashes: NDArray[np.uint64]) -> IntArray:
    """Return for each of N different hashes a number that those share which are near, also by way of others.

    Many are searched once, and remembered beside what scans remember.

    Args:
        hashes: Different, ascending; shape (N,).

    Returns:
        The place of the first of those that are near each other, shape (N,).
    """
    if len(hashes) < REMEMBERED_FROM:
        return _searched(hashes)
    said = f"{_RULES}, {NEAR_BITS}, {TURNED_BITS}".encode()
    key = hashlib.sha256(said + np.ascontiguousarray(hashes, dtype="<u8").tobytes()).hexdigest()[:16]
    remembered = cache_dir() / "scan" / f"near-{key}.npy"
    numbers = np.arange(len(hashes))
    with suppress(OSError, ValueError, EOFError, IndexError):  # damaged: searched again
        joined, first = np.load(remembered)
        numbers[joined] = first
        return numbers
    found = _searched(hashes)
    joined = np.flatnonzero(found != numbers)
    with suppress(OSError), atomic_path(remembered) as part, part.open("wb") as file:
        np.save(file, np.stack([joined, found[joined]]))
    return found


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


def _searched(hashes: NDArray[np.uint64]) -> IntArray:
    """Return what `near` does.

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
