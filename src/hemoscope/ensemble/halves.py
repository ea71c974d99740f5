"""Two halves of the validation images: one to choose networks by, one for the thresholds of what was chosen.

A network that was chosen because it did well on some images looks better on them than it is, and so would every
promise that is made with the same images.
"""

from __future__ import annotations

import numpy as np

from hemoscope.records import IntArray

__all__ = ["halves"]


def halves(target: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows of either half, sorted; the same for all runs of a split, each class in equal parts.

    The first half, which chooses, has the odd image of a class.

    Args:
        target: Class of each validation image in the order of their paths, shape (N,).
    """
    order = np.random.default_rng(0).permutation(len(target))
    order = order[np.argsort(target[order], kind="stable")]  # class by class, each in random order
    starts = np.searchsorted(target[order], target[order], side="left")
    first = (np.arange(len(order)) - starts) % 2 == 0
    return np.sort(order[first]), np.sort(order[~first])
