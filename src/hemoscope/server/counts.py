"""Counts of readings, kept in memory as long as nothing changes them; the figures are `hemoscope.review`'s."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.differential.reference import ReferenceTable
from hemoscope.encoding import jsonable
from hemoscope.review.count import ReviewedDifferential, count
from hemoscope.server.folds import Read
from hemoscope.server.store.slides import find_slide
from hemoscope.server.store.tables import FileRow, ModelRow

__all__ = ["Counts", "count_json", "errors_of"]

_MOST_KEPT = 256


class Counts:
    """The counts of all slides against one table of ranges.

    Args:
        reference: Roles and ranges of the classes.
    """

    def __init__(self, reference: ReferenceTable) -> None:
        self.reference = reference
        self._kept: OrderedDict[tuple[Any, ...], ReviewedDifferential] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self,
        session: Session,
        read: Read,
        *,
        reference: ReferenceTable | None = None,
        errors: int | None = None,
    ) -> ReviewedDifferential:
        """Return the count of a reading.

        Args:
            session: Of the transaction.
            read: What is counted.
            reference: Another table, that of a signed revision.
            errors: Files that could not be read; by default those of the slide now.
        """
        facts = session.get_one(ModelRow, find_slide(session, read.slide).model).facts
        errors = errors_of(session, read.slide) if errors is None else errors
        key = (
            *(read.slide, read.revision, read.state.reading, read.state.seq, read.of, errors),
            *(read.merged, read.state.blind),
            *(None if reference is None else reference.model_dump_json(), len(read.state.reviewed)),
        )
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        found = count(
            read.cells,
            read.state,
            facts["confusion"],
            reference or self.reference,
            error=errors,
            usually_unknown=_usually_unknown(facts),
        )
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found


def count_json(found: ReviewedDifferential) -> dict[str, Any]:
    """Return a count as the API gives it; what is no number is null."""
    made = jsonable(asdict(found))
    assert isinstance(made, dict)  # noqa: S101
    return made


def errors_of(session: Session, slide: int) -> int:
    """Return how many files of a slide could not be read; an image that came twice is none."""
    return (
        session.scalar(select(func.count()).where(FileRow.slide == slide, FileRow.status == "rejected")) or 0
    )


def _usually_unknown(facts: dict[str, Any]) -> tuple[int, int] | None:
    if "unknown_share" in facts:  # of a model that an older hemoscope asked
        share, n = facts["unknown_share"], facts["n_val"]
        return None if share is None else (round(share * n), max(n, 1))
    usually = facts["usually_unknown"]
    return None if usually is None else (usually[0], usually[1])
