"""States of readings, folded from the store's log, and kept in memory as far as they have been folded.

Which cells a reading has: all of the slide where one person reads it; where two do, a sample drawn by the slide's
number; an audit has a share of the accepted cells. The rules are `hemoscope.review`'s.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.review import log
from hemoscope.review.bias import audit_sample
from hemoscope.review.cells import REVIEW, Cell
from hemoscope.review.commands import Entry, Reading
from hemoscope.review.readers import merged, sample
from hemoscope.review.state import Held, State, arrive, revised, start
from hemoscope.server.problems import ApiError
from hemoscope.server.store.cells import cells_of
from hemoscope.server.store.tables import EntryRow, ModelRow, SignatureRow, SlideRow

__all__ = ["Folds", "Read", "entries_of", "entries_until"]

MOST_KEPT = 256  # readings in memory; each can be folded again


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of a slide at a moment of its log.

    Attributes:
        slide: Its number.
        revision: From 1.
        cells: Those of the reading.
        state: Where they lie.
        of: Cells of the whole slide then.
        merged: Whether it is what two readers came to, and neither's own.
    """

    slide: int
    revision: int
    cells: tuple[Cell, ...]
    state: State
    of: int
    merged: bool = False


class Folds:
    """The readings of all slides."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, Reading], Read] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self, session: Session, row: SlideRow, reading: Reading = 1, *, revision: int | None = None
    ) -> Read:
        """Return a reading as it stands in this transaction, or as an earlier revision was signed.

        Raises:
            ApiError: If there is no such revision or reading.
        """
        revision = row.revision if revision is None else revision
        if not 1 <= revision <= row.revision:
            raise ApiError(404, "no_revision", f"slide {row.id} has revisions 1 to {row.revision}")
        if reading in (2, "settle") and row.readings == 1:
            raise ApiError(404, "no_reading", f"slide {row.id} has one reader; expected reading 1 or audit")
        n = _n_cells(session, row, revision)
        with self._lock:
            kept = self._kept.get((row.id, revision, reading))
        newer = kept is not None and revision == row.revision and kept.state.seq > row.seq
        if kept is None or kept.of > n or newer:  # a later transaction kept what this one does not see
            kept = self._begin(session, row, revision, reading, n)
        elif kept.of < n:
            kept = _grown(session, row, kept, n)
        entries = entries_of(session, row.id, revision, since=kept.state.seq)
        kept = replace(kept, state=log.fold(kept.state, entries))
        self.keep(reading, kept)
        return kept

    def keep(self, reading: Reading, read: Read) -> None:
        """Remember a reading, so that it need not be folded again."""
        with self._lock:
            self._kept[read.slide, read.revision, reading] = read
            self._kept.move_to_end((read.slide, read.revision, reading))
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def final(
        self,
        session: Session,
        row: SlideRow,
        *,
        revision: int | None = None,
        instead: Mapping[Reading, Read] | None = None,
    ) -> Read:
        """Return what is signed: the one reading, or what two readers came to; cells they differ on are in review.

        Args:
            session: Of the transaction.
            row: The slide.
            revision: By default the last.
            instead: Readings that are not saved yet; they are counted, and not kept.
        """
        instead = instead or {}

        def of(reading: Reading) -> Read:
            return instead.get(reading) or self.read(session, row, reading, revision=revision)

        first = of(1)
        if row.readings == 1:
            return first
        second, settled = of(2), of("settle")
        places = merged(first.state, second.state, settled.state)
        held = {
            cell: Held(places[cell], reviewed=True, note=each.note)
            if cell in places
            else Held(REVIEW, note=each.note)
            for cell, each in first.state.held.items()
        }
        return replace(first, merged=True, state=replace(first.state, blind=False, held=held))

    def _begin(self, session: Session, row: SlideRow, revision: int, reading: Reading, n: int) -> Read:
        """Return a reading before its first entry: as the last revision ended, or as the model left it."""
        if revision > 1:
            before = self.read(session, row, reading, revision=revision - 1)
            begun = replace(before, revision=revision, state=revised(before.state))
            return _grown(session, row, begun, n) if before.of < n else begun
        facts: dict[str, Any] = session.get_one(ModelRow, row.model).facts
        cells = _of_reading(row, reading, cells_of(session, row.id)[:n])
        blind = reading in ("audit", "settle") or (row.readings == 2 and row.blind)
        state = start(facts["classes"], cells, reading=reading, blind=blind, white_count=row.white_count)
        return Read(row.id, revision, tuple(cells), state, n)


def _grown(session: Session, row: SlideRow, read: Read, n: int) -> Read:
    """Return a reading with the cells that have come since; a slide of two readers takes none once it is read."""
    new = cells_of(session, row.id, since=read.of)[: n - read.of]
    if row.readings == 2:
        everything = _of_reading(row, read.state.reading, cells_of(session, row.id)[:n])
        begun = start(
            read.state.classes,
            everything,
            reading=read.state.reading,
            blind=read.state.blind,
            white_count=row.white_count,
        )
        return Read(read.slide, read.revision, tuple(everything), begun, n)
    mine = _of_reading(row, read.state.reading, new)
    return replace(read, cells=(*read.cells, *mine), state=arrive(read.state, mine), of=n)


def _of_reading(row: SlideRow, reading: Reading, cells: Sequence[Cell]) -> list[Cell]:
    if reading == "audit":
        chosen = set(audit_sample(cells, seed=row.id))
    elif row.readings == 2:
        chosen = set(sample(cells, seed=row.id))
    else:
        return list(cells)
    return [cell for cell in cells if cell.cell in chosen]


def _n_cells(session: Session, row: SlideRow, revision: int) -> int:
    """Return how many cells a revision has: of a signed one those that were signed."""
    if revision == row.revision and row.status == "open":
        return row.cells
    return session.get_one(SignatureRow, (row.id, revision)).signed["cells"]


def entries_of(session: Session, slide: int, revision: int, *, since: int = 0) -> list[Entry]:
    """Return the log of a revision after an entry."""
    rows = session.scalars(
        select(EntryRow.entry)
        .where(EntryRow.slide == slide, EntryRow.revision == revision, EntryRow.seq > since)
        .order_by(EntryRow.seq)
    )
    return [Entry.model_validate(row) for row in rows]


def entries_until(session: Session, slide: int, revision: int) -> list[Entry]:
    """Return the logs of the revisions up to one, one after the other."""
    return [entry for each in range(1, revision + 1) for entry in entries_of(session, slide, each)]
