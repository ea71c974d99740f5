"""The state of a reading: where each cell lies, and which entry of the log put it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hemoscope.review.cells import OPEN, REVIEW, Cell, check_classes, first_place
from hemoscope.review.commands import Reading

__all__ = ["Held", "State", "Step", "arrive", "revised", "start"]


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of a cell.

    Attributes:
        place: Where it lies.
        reviewed: A person has confirmed or moved it.
        by: The entry that put it there; 0 at the start.
        note: What a reader wrote on it.
        noted: The entry that wrote it; 0 without one.
    """

    place: str
    reviewed: bool = False
    by: int = 0
    note: str = ""
    noted: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What one command did to cells, so that it can be taken back and done again."""

    before: Mapping[int, Held]
    after: Mapping[int, Held]


@dataclass(frozen=True, slots=True)
class State:
    """A reading of a slide after some of its log.

    Attributes:
        classes: Class names, in the model's order.
        reading: Whose entries count here.
        blind: The model's answers are hidden: every cell starts in `review`.
        preds: Predicted class a cell.
        held: What is held of each cell.
        white_count: 10^9/L, or None.
        seq: The last entry.
        done: What each reader can take back, the last at the end.
        undone: What each reader can do again, the next at the end.
    """

    classes: tuple[str, ...]
    reading: Reading = 1
    blind: bool = False
    preds: Mapping[int, str] = field(default_factory=dict)
    held: Mapping[int, Held] = field(default_factory=dict)
    white_count: float | None = None
    seq: int = 0
    done: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    undone: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    @property
    def places(self) -> dict[int, str]:
        """Where every cell lies."""
        return {cell: held.place for cell, held in self.held.items()}

    @property
    def reviewed(self) -> frozenset[int]:
        """Cells that a person has confirmed or moved."""
        return frozenset(cell for cell, held in self.held.items() if held.reviewed)

    @property
    def notes(self) -> dict[int, str]:
        """The notes, by cell."""
        return {cell: held.note for cell, held in self.held.items() if held.note}

    @property
    def open(self) -> tuple[int, ...]:
        """Cells that are still for review or unidentified."""
        return tuple(cell for cell, held in self.held.items() if held.place in OPEN)

    def can_undo(self, reader: str) -> bool:
        """Whether the reader has something to take back."""
        return bool(self.done.get(reader))

    def can_redo(self, reader: str) -> bool:
        """Whether the reader has something to do again."""
        return bool(self.undone.get(reader))


def start(
    classes: Sequence[str],
    cells: Iterable[Cell],
    *,
    reading: Reading = 1,
    blind: bool = False,
    white_count: float | None = None,
) -> State:
    """Return the state before the first entry.

    Raises:
        ConfigError: If a class has the name of a place that is no class.
    """
    check_classes(classes)
    return arrive(State(tuple(classes), reading, blind, white_count=white_count), cells)


def arrive(state: State, cells: Iterable[Cell]) -> State:
    """Return the state with cells that have come in since."""
    preds, held = dict(state.preds), dict(state.held)
    for cell in cells:
        preds[cell.cell] = cell.pred
        held[cell.cell] = Held(REVIEW if state.blind else first_place(cell))
    return replace(state, preds=preds, held=held)


def revised(state: State) -> State:
    """Return the start of the next revision: the same places and notes, nothing to take back."""
    held = {cell: replace(each, by=0, noted=0) for cell, each in state.held.items()}
    return replace(state, held=held, seq=0, done={}, undone={})
