"""Two readers of one slide: what both read, what they counted together, how far they agree, and what they differ on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hemoscope.errors import ShapeError
from hemoscope.evaluation.intervals import wilson
from hemoscope.records import IntArray
from hemoscope.review.cells import NOT_CLASSED, Cell
from hemoscope.review.state import State

__all__ = ["SAMPLE", "Agreement", "Kappa", "agreement", "cohen_kappa", "merged", "sample"]

SAMPLE = 200  # cells a reader, CLSI's H20


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two readers; NaN where both put every cell into one class.

    Attributes:
        value: Agreement beyond chance, at most 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two readers of the same cells agree.

    Attributes:
        both: Cells that both have read.
        agreed: Those of them that both put into one place.
        kappa: Cohen's kappa over places; None where no cell was read by both.
        differ: Cells they differ on, as (cell, first reader's place, second reader's place).
        settled: Where those were put that have been settled, by cell.
        merged: Cells a class of both readings together: each reader's count, settled cells as they were settled.
        first: Cells a class that the first reader counted.
        second: Cells a class that the second reader counted.
    """

    both: int
    agreed: int
    kappa: Kappa | None
    differ: tuple[tuple[int, str, str], ...]
    settled: Mapping[int, str]
    merged: Mapping[str, int]
    first: Mapping[str, int]
    second: Mapping[str, int]


def sample(cells: Sequence[Cell], *, seed: int = 0) -> tuple[int, ...]:
    """Return the numbers of the cells that both readers read: `SAMPLE` drawn by a seed, or all where there are fewer."""
    numbers = sorted(cell.cell for cell in cells)
    return (
        tuple(sorted(random.Random(seed).sample(numbers, SAMPLE)))
        if len(numbers) > SAMPLE
        else tuple(numbers)
    )


def agreement(first: State, second: State, settled: State | None = None) -> Agreement:
    """Return how far two readings agree.

    Args:
        first: Of reading 1.
        second: Of reading 2, of the same cells.
        settled: Of the reading that settles what they differ on; None where nobody has begun.
    """
    one, two, last = _read(first), _read(second), _read(settled)
    both = sorted(one.keys() & two.keys())
    differ = tuple((cell, one[cell], two[cell]) for cell in both if one[cell] != two[cell])
    names = (*first.classes, NOT_CLASSED)
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    for cell in both:
        table[names.index(one[cell]), names.index(two[cell])] += 1
    decided = {cell: last[cell] for cell, _, _ in differ if cell in last}

    def counts(*readings: Mapping[int, str]) -> dict[str, int]:
        tally = Counter(place for reading in readings for place in reading.values())
        return {name: tally[name] for name in first.classes}

    return Agreement(
        both=len(both),
        agreed=len(both) - len(differ),
        kappa=cohen_kappa(table) if both else None,
        differ=differ,
        settled=decided,
        merged=counts({**one, **decided}, {**two, **decided}),
        first=counts(one),
        second=counts(two),
    )


def merged(first: State, second: State, settled: State | None = None) -> dict[int, str]:
    """Return where each cell lies after both readings: where they agree, or where it was settled; others are left out."""
    one, two, last = _read(first), _read(second), _read(settled)
    agreed = {cell: place for cell, place in one.items() if two.get(cell) == place}
    return {**agreed, **{cell: place for cell, place in last.items() if cell in one and cell in two}}


def cohen_kappa(table: IntArray) -> Kappa:
    """Return Cohen's kappa of a table of counts[first, second], shape (K, K), with its 95 % interval.

    Raises:
        ShapeError: If the table is not square, or there is nothing in it.

    Source:
        J. Cohen, Educ. Psychol. Meas. 20 (1960) 37-46; the standard error of Fleiss, Cohen and Everitt, Psychol. Bull.
        72 (1969) 323-327. Where nearly all agree it is too small, so the lower end is at most that which Wilson's interval of the
        agreement gives.

    >>> kappa = cohen_kappa(np.array([[20, 5], [10, 15]]))
    >>> f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
    '0.40 (0.12 to 0.65)'
    """
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.sum():
        raise ShapeError(f"kappa needs a square table that holds counts; got shape {table.shape}")
    n = table.sum()
    shares = table / n
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    agreed, chance = float(np.trace(shares)), float(rows @ columns)
    if np.isclose(chance, 1):
        return Kappa(float("nan"), float("nan"), float("nan"))
    kappa = (agreed - chance) / (1 - chance)
    least = (float(wilson(np.trace(table), n)[0]) - chance) / (1 - chance)
    if np.trace(table) == n:
        return Kappa(1.0, least, 1.0)
    diagonal = np.diagonal(shares) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    pairs = (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(pairs, 0)
    others = (1 - kappa) ** 2 * float((shares * pairs).sum())
    spread = diagonal + others - (kappa - chance * (1 - kappa)) ** 2
    half = 1.959963984540054 * float(np.sqrt(max(spread, 0) / n)) / (1 - chance)
    return Kappa(kappa, max(-1.0, min(kappa - half, least)), min(1.0, kappa + half))


def _read(state: State | None) -> dict[int, str]:
    """Where a person has put cells."""
    return {cell: held.place for cell, held in state.held.items() if held.reviewed} if state else {}
