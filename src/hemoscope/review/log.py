"""The log of a slide, which only grows: undo is an entry like any other.

Undo gives back what the reader's own last command took, and leaves what somebody else has changed since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hemoscope.errors import DataError
from hemoscope.review.cells import NOT_CLASSED, UNIDENTIFIED
from hemoscope.review.commands import (
    Change,
    Command,
    Confirm,
    Entry,
    Note,
    Place,
    Redo,
    Undo,
    WhiteCount,
)
from hemoscope.review.state import State, Step

__all__ = ["apply", "conflicts", "digest", "fold", "perform"]


def fold(state: State, entries: Iterable[Entry]) -> State:
    """Return the state of a reading after more entries of its log.

    Raises:
        DataError: If the log does not replay.
    """
    for entry in entries:
        state = apply(state, entry)
    return state


def perform(
    state: State, command: Command, *, at: str, reader: str, seq: int | None = None, client: str = ""
) -> Entry:
    """Return the entry that a command becomes in this state.

    Args:
        state: Of the reading it is given in.
        command: What is asked.
        at: When, UTC, ISO 8601.
        reader: Who.
        seq: The entry's number; by default the next one.
        client: Which of the reader's windows.

    Raises:
        DataError: If it cannot be done here: an unknown cell or place, nothing to take back, and so on.
    """
    number = state.seq + 1 if seq is None else seq
    step = _step(state, command, reader, number)
    return Entry(
        seq=number,
        at=at,
        reader=reader,
        reading=state.reading,
        command=command,
        changes=_changes(state, command, step),
        client=client,
    )


def apply(state: State, entry: Entry) -> State:
    """Return the state after one more entry; entries of other readings only move `seq` and the white count.

    Raises:
        DataError: If the entry is not the next, or it did not do here what it says.
    """
    if entry.seq <= state.seq:
        raise DataError(f"entry {entry.seq} of the log comes after entry {state.seq}; expected a later one")
    if isinstance(entry.command, WhiteCount):
        return replace(state, white_count=entry.command.value, seq=entry.seq)
    if entry.reading != state.reading:
        return replace(state, seq=entry.seq)
    step = _step(state, entry.command, entry.reader, entry.seq)
    changes = _changes(state, entry.command, step)
    if changes != entry.changes:
        raise DataError(
            f"entry {entry.seq} of the log says it changed {_told(entry.changes)}; here it changes {_told(changes)}. The "
            "log is damaged, or it belongs to other cells."
        )
    done, undone = dict(state.done), dict(state.undone)
    mine, back = done.get(entry.reader, ()), undone.get(entry.reader, ())
    if isinstance(entry.command, Undo):
        done[entry.reader], undone[entry.reader] = mine[:-1], (*back, mine[-1])
    elif isinstance(entry.command, Redo):
        done[entry.reader], undone[entry.reader] = (*mine, back[-1]), back[:-1]
    else:
        done[entry.reader], undone[entry.reader] = (*mine, step), ()
    return replace(state, held={**state.held, **step.after}, seq=entry.seq, done=done, undone=undone)


def conflicts(
    entries: Iterable[Entry], base: int, state: State, command: Command, *, reader: str, client: str = ""
) -> list[Entry]:
    """Return the entries after `base` by which somebody else touched what the command would touch.

    Args:
        entries: Of the log, at least those after `base`.
        base: The last entry that the reader had seen.
        state: Of the reading now.
        command: What is asked.
        reader: Who asks; another window of the same reader counts as somebody else.
        client: Which of the reader's windows.
    """
    touched = set(_touched(state, command, reader))
    same = isinstance(command, WhiteCount)
    found = []
    for entry in entries:
        if entry.seq <= base or (entry.reader, entry.client) == (reader, client):
            continue
        if isinstance(entry.command, WhiteCount):
            if same:
                found.append(entry)
        elif entry.reading == state.reading:
            theirs = {cell for cell, _, _ in entry.changes}
            if isinstance(entry.command, Note):
                theirs.add(entry.command.cell)
            if theirs & touched:
                found.append(entry)
    return found


def digest(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 of a log, over its entries as JSON lines."""
    sha = hashlib.sha256()
    for entry in entries:
        sha.update(entry.model_dump_json().encode() + b"\n")
    return sha.hexdigest()


def _step(state: State, command: Command, reader: str, seq: int) -> Step:
    """What a command does here; of undo and redo only what nobody else has changed since."""
    match command:
        case WhiteCount():
            return Step({}, {})
        case Undo() | Redo():
            stacks = state.done if isinstance(command, Undo) else state.undone
            stack = stacks.get(reader, ())
            if not stack:
                word = "take back" if isinstance(command, Undo) else "do again"
                raise DataError(
                    f"there is nothing to {word}: {reader} has given no such command in this reading"
                )
            step = stack[-1] if isinstance(command, Undo) else Step(stack[-1].after, stack[-1].before)
            return _restored(state, step)
        case Note():
            _known(state, (command.cell,))
            old = state.held[command.cell]
            return Step({command.cell: old}, {command.cell: replace(old, note=command.text, noted=seq)})
        case Place():
            if command.to not in (*state.classes, NOT_CLASSED):
                raise DataError(
                    f"cells cannot be put into {command.to!r}; expected one of {', '.join(state.classes)} or {NOT_CLASSED}"
                )
            cells = _known(state, command.cells)
            targets = dict.fromkeys(cells, command.to)
        case Confirm():
            cells = _known(state, command.cells)
            targets = _confirmed(state, cells)
    before = {cell: state.held[cell] for cell in cells}
    after = {cell: replace(before[cell], place=targets[cell], reviewed=True, by=seq) for cell in cells}
    return Step(before, after)


def _restored(state: State, step: Step) -> Step:
    """From `step.after` back to `step.before`, place and note each on its own."""
    before, after = {}, {}
    for cell, was in step.after.items():
        now, old = state.held[cell], step.before[cell]
        back = now
        if was.by != old.by and now.by == was.by:
            back = replace(back, place=old.place, reviewed=old.reviewed, by=old.by)
        if was.noted != old.noted and now.noted == was.noted:
            back = replace(back, note=old.note, noted=old.noted)
        if back is not now:
            before[cell], after[cell] = now, back
    return Step(before, after)


def _confirmed(state: State, cells: Sequence[int]) -> dict[int, str]:
    if state.blind:
        raise DataError("in a blind reading there is nothing to confirm; expected a class for the cell")
    targets = {}
    for cell in cells:
        held = state.held[cell]
        if held.place == UNIDENTIFIED:
            raise DataError(
                f"cell {cell} is unidentified, so that there is nothing to confirm; put it into a class or among those "
                "not classed"
            )
        targets[cell] = held.place if held.reviewed else state.preds[cell]
    return targets


def _known(state: State, cells: Sequence[int]) -> tuple[int, ...]:
    missing = [cell for cell in cells if cell not in state.held]
    if missing:
        raise DataError(
            f"the slide has no cell {', '.join(map(str, missing[:5]))}; it has {len(state.held)} cells, from 0 on"
        )
    return tuple(dict.fromkeys(cells))


def _changes(state: State, command: Command, step: Step) -> tuple[Change, ...]:
    if isinstance(command, Note):
        return ()
    return tuple((cell, state.held[cell].place, held.place) for cell, held in step.after.items())


def _touched(state: State, command: Command, reader: str) -> tuple[int, ...]:
    match command:
        case Place() | Confirm():
            return command.cells
        case Note():
            return (command.cell,)
        case Undo() | Redo():
            stacks = state.done if isinstance(command, Undo) else state.undone
            stack = stacks.get(reader, ())
            return tuple(stack[-1].after) if stack else ()
        case WhiteCount():
            return ()


def _told(changes: Sequence[Change]) -> str:
    shown = ", ".join(f"cell {cell} from {before} to {after}" for cell, before, after in changes[:3])
    return shown or "nothing"
