"""The chance in a corruption: numbers that follow from a seed, a name and an image's content, and from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from hemoscope.records import FloatArray

__all__ = ["by_chance", "draws"]


def draws(name: str, contents: Sequence[str], n: int, *, seed: int) -> FloatArray:
    """Return n uniform numbers in [0, 1) for every image, shape (N, n).

    They do not depend on the other images nor on their order, and are the same at all severities, so that a higher one
    goes on with what a lower one began.

    Args:
        name: What is drawn.
        contents: What tells the images apart, such as the SHA-256 of their bytes.
        n: Numbers an image.
        seed: Another seed, other numbers.
    """
    found = np.empty((len(contents), n))
    for row, content in enumerate(contents):
        key = hashlib.sha256(f"{seed}\0{name}\0{content}".encode()).digest()
        found[row] = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16]))).random(n)
    return found


def by_chance(name: str, contents: Sequence[str], *, seed: int) -> list[int]:
    """Return the places of the images in an order that is theirs alone: leaving one out moves no other.

    >>> order = by_chance("sample", ["a", "b", "c"], seed=0)
    >>> [["a", "b", "c"][i] for i in order if i != 1] == [["a", "c"][i] for i in by_chance("sample", ["a", "c"], seed=0)]
    True
    """
    (drawn,) = draws(name, contents, 1, seed=seed).T
    return np.lexsort((np.array(contents), drawn)).tolist() if contents else []
