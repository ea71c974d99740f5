"""In which order a wall shows its cells: the most doubtful first, or those that could still change a flag first."""

from __future__ import annotations

from collections.abc import Sequence

from hemoscope.review.cells import Cell
from hemoscope.review.state import State

__all__ = ["by_doubt"]


def by_doubt(cells: Sequence[Cell], state: State) -> list[int]:
    """Return the numbers of all cells: unidentified, then for review, then the others, each by smallest margin; reviewed ones last."""
    rank = {"unidentified": 0, "review": 1}

    def key(cell: Cell) -> tuple[bool, int, float, int]:
        held = state.held[cell.cell]
        return held.reviewed, rank.get(held.place, 2), cell.margin, cell.cell

    return [cell.cell for cell in sorted(cells, key=key)]
