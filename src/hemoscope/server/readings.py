"""Readings of slides: the log in the store, states folded from it, commands performed on them.

A command is performed inside the transaction that saves its entry, on the state that the store has then; so two
browsers never overwrite each other, and what is answered is on the disk. The rules are `hemoscope.review`'s.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.differential.reference import ReferenceTable
from hemoscope.encoding import jsonable
from hemoscope.review import log
from hemoscope.review.cells import Cell
from hemoscope.review.commands import Command, Entry, Reading
from hemoscope.review.count import count
from hemoscope.review.state import State, arrive, revised, start
from hemoscope.server.clock import now
from hemoscope.server.events import Events
from hemoscope.server.problems import ApiError
from hemoscope.server.store.cells import cells_of
from hemoscope.server.store.slides import find_slide, open_slide
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import EntryRow, FileRow, ModelRow, SlideRow

__all__ = ["Asked", "Done", "Read", "Readings", "entries_of"]

MOST_KEPT = 256  # states in memory; each can be folded again
_MOST_COUNTS = 256


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of a slide at a moment of its log."""

    slide: int
    revision: int
    cells: tuple[Cell, ...]
    state: State


@dataclass(frozen=True, slots=True)
class Asked:
    """A command and who gives it.

    Attributes:
        command: What is asked.
        base: The last entry that the reader has seen.
        reading: In which reading.
        reader: Who asks.
        client: Which of the reader's windows.
    """

    command: Command
    base: int
    reading: Reading
    reader: str
    client: str = ""


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
        reference: Roles and ranges of the classes.
    """

    def __init__(self, store: Store, events: Events, reference: ReferenceTable) -> None:
        self._store, self._events, self.reference = store, events, reference
        self._kept: OrderedDict[tuple[int, int, Reading], Read] = OrderedDict()
        self._counts: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, slide: int, reading: Reading = 1, *, revision: int | None = None) -> Read:
        """Return a reading as it stands, or as a revision ended.

        Raises:
            ApiError: If there is no such slide or revision.
        """
        with self._store.read() as session:
            return self.read_in(session, find_slide(session, slide), reading, revision=revision)

    def read_in(
        self, session: Session, row: SlideRow, reading: Reading = 1, *, revision: int | None = None
    ) -> Read:
        """Return a reading within a transaction; see `read`."""
        revision = row.revision if revision is None else revision
        if not 1 <= revision <= row.revision:
            raise ApiError(404, "no_revision", f"slide {row.id} has revisions 1 to {row.revision}")
        key = (row.id, revision, reading)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._begin(session, row, revision, reading)
        if len(kept.cells) < row.cells:
            new = cells_of(session, row.id, since=len(kept.cells))
            kept = Read(row.id, revision, (*kept.cells, *new), arrive(kept.state, new))
        state = kept.state
        for entry in entries_of(session, row.id, revision, since=state.seq):
            state = log.apply(state, entry)
        kept = Read(row.id, revision, kept.cells, state)
        self._keep(key, kept)
        return kept

    def final(self, session: Session, row: SlideRow, *, revision: int | None = None) -> Read:
        """Return the reading that is signed: the one there is, or what two readers came to."""
        return self.read_in(session, row, 1, revision=revision)

    def _begin(self, session: Session, row: SlideRow, revision: int, reading: Reading) -> Read:
        """Return a reading before its first entry: as the last revision ended, or as the model left it."""
        if revision > 1:
            before = self.read_in(session, row, reading, revision=revision - 1)
            return Read(row.id, revision, before.cells, revised(before.state))
        facts = session.get_one(ModelRow, row.model).facts
        cells = tuple(cells_of(session, row.id))
        blind = reading == "audit" or (row.blind and reading in (1, 2))
        state = start(facts["classes"], cells, reading=reading, blind=blind, white_count=row.white_count)
        return Read(row.id, revision, cells, state)

    def _keep(self, key: tuple[int, int, Reading], read: Read) -> None:
        with self._lock:
            self._kept[key] = read
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def perform(self, slide: int, asked: Asked) -> Done:
        """Perform a command and save its entry.

        Raises:
            ApiError: If somebody else touched the same cells since `base`, with their entries; or the slide is signed.
            DataError: If it cannot be done.
        """
        with self._store.write() as session:
            row = open_slide(session, slide)
            before = self.read_in(session, row, asked.reading)
            if asked.base > row.seq:
                raise ApiError(
                    409,
                    "wrong_base",
                    f"the log ends with entry {row.seq}, base is {asked.base}; load it anew",
                    entries=[],
                )
            since = entries_of(session, slide, row.revision, since=asked.base)
            theirs = log.conflicts(
                since, asked.base, before.state, asked.command, reader=asked.reader, client=asked.client
            )
            if theirs:
                raise ApiError(
                    409,
                    "conflict",
                    f"{', '.join(sorted({e.reader for e in theirs}))} changed the same cells in the meantime; look at "
                    "them and decide again",
                    entries=[e.model_dump(mode="json") for e in theirs],
                )
            entry = log.perform(
                before.state,
                asked.command,
                at=now(),
                reader=asked.reader,
                seq=row.seq + 1,
                client=asked.client,
            )
            after = Read(slide, row.revision, before.cells, log.apply(before.state, entry))
            session.add(
                EntryRow(
                    slide=slide, revision=row.revision, seq=entry.seq, entry=entry.model_dump(mode="json")
                )
            )
            row.seq = entry.seq
            if asked.reading == 1:
                row.reviewed, row.open = len(after.state.reviewed), len(after.state.open)
        self._keep((slide, after.revision, asked.reading), after)
        self._events.tell(slide, "entry", entry.model_dump(mode="json"))
        return Done(entry, self.differential(after))

    def differential(self, read: Read, reference: ReferenceTable | None = None) -> dict[str, Any]:
        """Return the reviewed differential count of a reading, as JSON values."""
        with self._store.read() as session:
            row = find_slide(session, read.slide)
            facts = session.get_one(ModelRow, row.model).facts
            errors = (
                session.scalar(
                    select(func.count()).where(FileRow.slide == read.slide, FileRow.status == "rejected")
                )
                or 0
            )
        key = (read.slide, read.revision, read.state.reading, read.state.seq, len(read.cells), errors)
        with self._lock:
            if reference is None and key in self._counts:
                return self._counts[key]
        found = count(
            read.cells,
            read.state,
            facts["confusion"],
            reference or self.reference,
            error=errors,
            unknown_share=facts["unknown_share"],
        )
        made = jsonable(asdict(found))
        assert isinstance(made, dict)  # noqa: S101
        if reference is None:
            with self._lock:
                self._counts[key] = made
                while len(self._counts) > _MOST_COUNTS:
                    self._counts.popitem(last=False)
        return made


def entries_of(session: Session, slide: int, revision: int, *, since: int = 0) -> list[Entry]:
    """Return the log of a revision after an entry."""
    rows: Iterable[dict[str, Any]] = session.scalars(
        select(EntryRow.entry)
        .where(EntryRow.slide == slide, EntryRow.revision == revision, EntryRow.seq > since)
        .order_by(EntryRow.seq)
    )
    return [Entry.model_validate(row) for row in rows]
