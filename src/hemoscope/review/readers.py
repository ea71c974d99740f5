"""Two readers of one slide, and a reader beside the model."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hemoscope.review.cells import Cell

__all__ = ["SAMPLE", "sample"]

SAMPLE = 200  # cells a reader, CLSI's H20


def sample(cells: Sequence[Cell], *, n: int = SAMPLE, seed: int = 0) -> tuple[int, ...]:
    """Return the numbers of the cells that both readers read: n drawn by a seed, or all where there are fewer."""
    numbers = sorted(cell.cell for cell in cells)
    return tuple(sorted(random.Random(seed).sample(numbers, n))) if len(numbers) > n else tuple(numbers)
