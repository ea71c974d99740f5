"""Commands performed on readings of slides, and who may look at which reading.

A command is performed inside the transaction that saves its entry, on the state that the store has then; so two
browsers never overwrite each other, and what is answered is on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from hemoscope.review import log
from hemoscope.review.commands import Command, Confirm, Entry, Note, Place, Reading, WhiteCount
from hemoscope.review.readers import agreement
from hemoscope.review.state import State
from hemoscope.server.clock import now
from hemoscope.server.counts import Counts, count_json
from hemoscope.server.events import Events
from hemoscope.server.folds import Folds, Read, entries_of
from hemoscope.server.guard import LOCAL, Reader
from hemoscope.server.problems import ApiError
from hemoscope.server.store.slides import (
    coming_of,
    drop_open,
    held_slide,
    refuse_other_revision,
    refuse_signed,
)
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import EntryRow, SlideRow
from hemoscope.server.uploads import Uploads

__all__ = ["Asked", "Done", "Readings"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A command and who gives it.

    Attributes:
        command: What is asked.
        revision: The revision that the reader has seen.
        base: The last entry of its log that the reader has seen.
        reading: In which reading.
        reader: Who asks.
        client: Which of the reader's windows.
        answered: The last entry of that window whose answer came, where windows wait for each answer. A later one of it is
            then this very command, sent again since its answer was lost.
    """

    command: Command
    revision: int
    base: int
    reading: Reading
    reader: Reader
    client: str = ""
    answered: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    entry: Entry
    differential: dict[str, Any]


class Readings:
    """All readings of a store.

    Args:
        store: Rows.
        events: Told of entries.
        counts: What they come to.
        uploads: Files on their way, of which two readers wait for none.
    """

    def __init__(self, store: Store, events: Events, counts: Counts, uploads: Uploads) -> None:
        self._store, self._events, self._uploads = store, events, uploads
        self.counts, self.folds = counts, Folds()

    def perform(self, slide: int, asked: Asked) -> Done:
        """Perform a command and save its entry, or find the entry of one that is sent again.

        Raises:
            ApiError: If somebody else touched the same cells since `base`, with their entries; if the slide is signed or
                has another revision; or if the reading is somebody else's, or not to be changed now.
            DataError: If it cannot be done.
        """
        with self._store.write() as session:
            row = held_slide(session, slide)
            if (done := _done_before(session, row, asked)) is not None:
                return Done(
                    done, count_json(self.counts.of(session, self.folds.read(session, row, asked.reading)))
                )
            refuse_signed(row)
            refuse_other_revision(row, asked.revision)
            before = self.folds.read(session, row, asked.reading)
            two = row.readings == 2
            if two:
                self._refuse_of_two(session, row, asked)
            # They read a sample of the cells there are; a file that came later would draw another one.
            dropped = drop_open(session, slide) if two and row.seq == 0 else []
            _refuse_conflict(session, row, before, asked)
            entry = log.perform(
                before.state,
                asked.command,
                at=now(),
                reader=asked.reader.name,
                seq=row.seq + 1,
                client=asked.client,
            )
            after = replace(before, state=log.apply(before.state, entry))
            if asked.reading == 1 or two:
                # Before the entry is a row: what the folds read they keep, and a commit can fail.
                final = self.folds.final(session, row, instead={asked.reading: after}).state
                row.reviewed, row.open = len(final.reviewed), len(final.open)
            session.add(
                EntryRow(
                    slide=slide, revision=row.revision, seq=entry.seq, entry=entry.model_dump(mode="json")
                )
            )
            row.seq = entry.seq
        self.folds.keep(asked.reading, after)
        for upload in dropped:
            self._uploads.path(upload.id, upload.name).unlink(missing_ok=True)
        shown = entry.model_dump(mode="json")
        self._events.tell(
            slide, "entry", {k: shown[k] for k in ("seq", "reader", "reading")} if two else shown
        )
        with self._store.read() as session:
            return Done(entry, count_json(self.counts.of(session, after)))

    def _refuse_of_two(self, session: Session, row: SlideRow, asked: Asked) -> None:
        """Hold each of two readers to a reading of their own, and both to the same cells."""
        if coming_of(session, row.id):
            raise ApiError(
                409,
                "still_coming",
                "files are still on their way to the model; two readers begin when all cells are there",
            )
        if isinstance(
            asked.command, WhiteCount
        ):  # it is the slide's; the answer has the count of the reading
            self.may_look(session, row, asked.reading, asked.reader)
        elif asked.reading == "settle":
            self._refuse_agreed(session, row, asked.command)
        elif asked.reading in (1, 2):
            if self.folds.read(session, row, "settle").state.reviewed:
                raise ApiError(
                    409,
                    "settled",
                    "what the readers differ on is being settled; their readings stay as they are",
                )
            self._refuse_finished(session, row, asked.command)
            claim(row, asked.reading, asked.reader)

    def _refuse_finished(self, session: Session, row: SlideRow, command: Command) -> None:
        """Keep what both readers said blindly; a later revision is made by people who have seen it all."""
        if row.revision > 1 or isinstance(command, Note):
            return
        if self.uncovered(session, row):
            raise ApiError(
                409,
                "both_read",
                "both readers have finished and see each other's answers, so that their readings stay as they are; settle what "
                "they differ on, or sign and begin a new revision",
            )

    def _refuse_agreed(self, session: Session, row: SlideRow, command: Command) -> None:
        first, second = (self.folds.read(session, row, reading).state for reading in (1, 2))
        if not complete(first, second):
            raise ApiError(409, "not_read", "both readers have to finish before anything is settled")
        differ = {cell for cell, _, _ in agreement(first, second).differ}
        cells = command.cells if isinstance(command, (Place, Confirm)) else ()
        agreed = [cell for cell in cells if cell not in differ]
        if agreed:
            raise ApiError(
                422, "agreed", f"both readers agree on cell {agreed[0]}; there is nothing to settle"
            )

    def may_look(self, session: Session, row: SlideRow, reading: Reading, reader: Reader) -> None:
        """Refuse a look into the other one's reading before both have finished.

        Raises:
            ApiError: If so.
        """
        if reader.name == LOCAL or row.readings == 1 or reading not in (1, 2) or self.uncovered(session, row):
            return
        if row.readers.get(str(reading), reader.name) != reader.name:
            raise ApiError(403, "blind", "the other reading is shown when both have finished")

    def refuse_blind(self, session: Session, row: SlideRow) -> None:
        """Refuse what tells the model's answers while the readers are not to see them.

        Raises:
            ApiError: If so.
        """
        if row.blind and not self.uncovered(session, row):
            raise ApiError(403, "blind", "what the model says is shown when both readers have finished")

    def uncovered(self, session: Session, row: SlideRow) -> bool:
        """Whether both readers have finished, so that they may see each other's reading, and the model's."""
        if row.readings == 1 or row.status == "signed":
            return True
        return complete(*(self.folds.read(session, row, reading).state for reading in (1, 2)))


def claim(row: SlideRow, reading: Reading, reader: Reader) -> None:
    """Make a reading that nobody has begun the reader's own.

    Raises:
        ApiError: If it is somebody else's, or the reader has the other one.
    """
    if reader.name == LOCAL:  # without sign-in nobody can be told from another
        return
    owner = row.readers.get(str(reading))
    if owner is None and reader.name not in row.readers.values():
        row.readers = {**row.readers, str(reading): reader.name}
    elif owner != reader.name:
        raise ApiError(
            403,
            "other_reader",
            f"reading {reading} is {owner or 'for another reader'}; {reader.name} has another",
        )


def complete(*states: State) -> bool:
    """Whether every cell of each reading has been placed by a person."""
    return all(state.held and len(state.reviewed) == len(state.held) for state in states)


def _done_before(session: Session, row: SlideRow, asked: Asked) -> Entry | None:
    if not asked.client or asked.answered is None:
        return None
    window = (asked.reader.name, asked.client)
    entries = entries_of(session, row.id, asked.revision, since=asked.answered)
    return next((entry for entry in entries if (entry.reader, entry.client) == window), None)


def _refuse_conflict(session: Session, row: SlideRow, before: Read, asked: Asked) -> None:
    if asked.base > row.seq:
        raise ApiError(
            409,
            "wrong_base",
            f"the log ends with entry {row.seq}, base is {asked.base}; load it anew",
            entries=[],
        )
    theirs = log.conflicts(
        entries_of(session, row.id, row.revision, since=asked.base),
        asked.base,
        before.state,
        asked.command,
        reader=asked.reader.name,
        client=asked.client,
    )
    if theirs:
        raise ApiError(
            409,
            "conflict",
            f"{', '.join(sorted({e.reader for e in theirs}))} changed the same cells in the meantime; look at them and "
            "decide again",
            entries=[e.model_dump(mode="json") for e in theirs],
        )
