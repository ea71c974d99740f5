"""Slides in the store: made, found, listed, and how far their files have come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.server.problems import ApiError
from hemoscope.server.store.tables import FileRow, SlideRow, UploadRow

__all__ = [
    "coming_of",
    "drop_open",
    "find_slide",
    "held_slide",
    "list_slides",
    "open_slide",
    "progress_of",
    "refuse_other_revision",
    "refuse_signed",
    "rejected_of",
    "slide_json",
]

MOST_LISTED = 500


def find_slide(session: Session, slide: int) -> SlideRow:
    """Return a slide.

    Raises:
        ApiError: If there is none.
    """
    row = session.get(SlideRow, slide) if 0 < slide < 2**63 else None
    if row is None:
        raise ApiError(404, "no_slide", f"there is no slide {slide}; GET /api/v1/slides lists them")
    return row


def held_slide(session: Session, slide: int) -> SlideRow:
    """Return a slide as it is now, held until the transaction ends.

    Raises:
        ApiError: If there is none.
    """
    find_slide(session, slide)
    found = select(SlideRow).where(SlideRow.id == slide)
    return session.scalars(found.with_for_update().execution_options(populate_existing=True)).one()


def open_slide(session: Session, slide: int) -> SlideRow:
    """Return a slide that may be changed, held until the transaction ends.

    Raises:
        ApiError: If there is none, or it is signed.
    """
    row = held_slide(session, slide)
    refuse_signed(row)
    return row


def refuse_signed(row: SlideRow) -> None:
    """Refuse a change of a slide that is signed.

    Raises:
        ApiError: If it is.
    """
    if row.status != "open":
        raise ApiError(
            409,
            "signed",
            f"slide {row.id} is signed and does not change; POST /slides/{row.id}/revise opens it again",
        )


def refuse_other_revision(row: SlideRow, seen: int) -> None:
    """Refuse a change of a revision that is not the latest one.

    Raises:
        ApiError: If it is not.
    """
    if seen != row.revision:
        raise ApiError(
            409,
            "other_revision",
            f"the slide has come to revision {row.revision}, the request is for {seen}; load it anew",
            revision=row.revision,
        )


def list_slides(session: Session, before: int | None = None) -> list[dict[str, Any]]:
    """Return the latest slides, or the latest before one, the newest first, as the API gives them."""
    query = select(SlideRow).order_by(SlideRow.id.desc()).limit(MOST_LISTED)
    rows = session.scalars(query if before is None else query.where(SlideRow.id < before)).all()
    counts = _counts(session, [row.id for row in rows])
    return [slide_json(row, counts[row.id]) for row in rows]


def progress_of(session: Session, slide: int) -> dict[str, int]:
    """Return files received, predicted, rejected, and in all as far as it is known."""
    # Uploads before files: what is taken in between the two questions is then counted twice, not missed.
    coming = session.scalar(
        select(func.count()).where(UploadRow.slide == slide, UploadRow.status.in_(("open", "whole")))
    )
    counts = _counts(session, [slide])[slide]
    received = sum(counts.values())
    return {
        "received": received,
        "predicted": counts["cell"],
        "rejected": counts["rejected"],
        "total": received + (coming or 0),
    }


def coming_of(session: Session, slide: int) -> int:
    """Return how many files of a slide have come and are neither cells nor rejected yet."""
    # In this order, as above.
    whole = session.scalar(select(func.count()).where(UploadRow.slide == slide, UploadRow.status == "whole"))
    waiting = session.scalar(select(func.count()).where(FileRow.slide == slide, FileRow.status == "waiting"))
    return (waiting or 0) + (whole or 0)


def drop_open(session: Session, slide: int) -> list[UploadRow]:
    """Give up the uploads of a held slide that were begun and not finished; return them."""
    rows = session.scalars(
        select(UploadRow).where(UploadRow.slide == slide, UploadRow.status == "open")
    ).all()
    for row in rows:
        row.status = "dropped"
    return list(rows)


def rejected_of(session: Session, slide: int) -> list[dict[str, str]]:
    """Return the files of a slide that became no cells, with their reasons."""
    rows = session.execute(
        select(FileRow.name, FileRow.reason)
        .where(FileRow.slide == slide, FileRow.status.in_(("rejected", "twin")))
        .order_by(FileRow.id)
    )
    return [{"name": name, "reason": reason} for name, reason in rows]


def slide_json(row: SlideRow, counts: dict[str, int]) -> dict[str, Any]:
    """Return a slide as lists show it."""
    return {
        "id": row.id,
        "title": row.title,
        "status": row.status,
        "revision": row.revision,
        "readings": row.readings,
        "blind": row.blind,
        "cells": row.cells,
        "waiting": counts["waiting"],
        "rejected": counts["rejected"],
        "reviewed": row.reviewed,
        "open": row.open,
        "created": row.created,
        "by": row.by,
        "model": row.model,
        "nucleus_px": row.nucleus_px,
    }


def _counts(session: Session, slides: Sequence[int]) -> defaultdict[int, defaultdict[str, int]]:
    """Return how many files of each slide have each status."""
    found: defaultdict[int, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows = session.execute(
        select(FileRow.slide, FileRow.status, func.count())
        .where(FileRow.slide.in_(slides))
        .group_by(FileRow.slide, FileRow.status)
    )
    for slide, status, n in rows:
        found[slide]["rejected" if status == "twin" else status] += n
    return found
