"""Automation bias: how often a reader follows the model where it is wrong.

What is wrong is known from cells that were read again without the model's answer: a random share of the accepted ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hemoscope.evaluation.intervals import wilson
from hemoscope.review.cells import NOT_CLASSED, Cell
from hemoscope.review.commands import Confirm, Entry, Place
from hemoscope.review.state import State

__all__ = ["Followed", "audit_sample", "automation_bias", "first_words"]

AUDIT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Followed:
    """What a reader did with the model's answers, on cells that were read again blindly.

    Attributes:
        audited: Cells that the reader had confirmed or moved, and that were read again and put into a class.
        wrong: Those of them that the blind reading put into another class than the model.
        followed: Those of these that the reader had left where the model put them.
        rate: followed / wrong; NaN where nothing was wrong.
        interval: Its 95 % interval (Wilson); NaN where nothing was wrong.
        right: Those of the audited on which the blind reading agrees with the model.
        overturned: Those of these that the reader had moved away all the same.
    """

    audited: int
    wrong: int
    followed: int
    rate: float
    interval: tuple[float, float]
    right: int
    overturned: int


def audit_sample(cells: Sequence[Cell], *, share: float = AUDIT_SHARE, seed: int = 0) -> tuple[int, ...]:
    """Return the numbers of accepted cells to be read again blindly: each falls in with this chance, by a seed.

    What becomes of one cell hangs on its number and the seed alone, so that later cells change nothing.
    """
    return tuple(
        cell.cell
        for cell in cells
        if cell.status == "accepted" and random.Random(f"{seed}/{cell.cell}").random() < share
    )


def first_words(entries: Iterable[Entry]) -> dict[int, tuple[str, str]]:
    """Return who first confirmed or moved each cell in reading 1, and to where: (reader, place) by cell."""
    said: dict[int, tuple[str, str]] = {}
    for entry in entries:
        if entry.reading == 1 and isinstance(entry.command, (Place, Confirm)):
            for cell, _, place in entry.changes:
                said.setdefault(cell, (entry.reader, place))
    return said


def automation_bias(cells: Sequence[Cell], entries: Iterable[Entry], audit: State) -> Mapping[str, Followed]:
    """Return what each reader did with the model's answers, by reader.

    Args:
        cells: Of the slide.
        entries: Its log; what counts is each reader's first word on a cell, before anybody read it blindly.
        audit: The state of the blind reading.
    """
    preds = {cell.cell: cell.pred for cell in cells}
    # Not classed says that nobody can tell, and not that the model was wrong.
    blind = {
        cell: held.place for cell, held in audit.held.items() if held.reviewed and held.place != NOT_CLASSED
    }
    found: dict[str, list[tuple[bool, bool]]] = {}
    for cell, (reader, place) in first_words(entries).items():
        if cell in blind:
            found.setdefault(reader, []).append((blind[cell] == preds[cell], place == preds[cell]))
    return {reader: _followed(pairs) for reader, pairs in sorted(found.items())}


def _followed(pairs: Sequence[tuple[bool, bool]]) -> Followed:
    """From pairs of whether the model was right and whether the reader stayed with it."""
    wrong = [stayed for right, stayed in pairs if not right]
    right = [stayed for right, stayed in pairs if right]
    low, high = wilson(sum(wrong), len(wrong))
    return Followed(
        audited=len(pairs),
        wrong=len(wrong),
        followed=sum(wrong),
        rate=sum(wrong) / len(wrong) if wrong else float("nan"),
        interval=(float(low), float(high)),
        right=len(right),
        overturned=len(right) - sum(right),
    )
