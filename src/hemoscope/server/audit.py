"""The trail of who did what when, beside the command logs of the slides; it only grows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.server.clock import now
from hemoscope.server.store.tables import AuditRow

__all__ = ["audit", "trail"]

_MOST_LINES = 1000


def audit(session: Session, who: str, what: str, slide: int | None = None, **detail: Any) -> None:
    """Write a line within the transaction of what it tells of."""
    session.add(AuditRow(at=now(), who=who, what=what, slide=slide, detail=detail))


def trail(session: Session, *, slide: int | None = None, since: int = 0) -> list[dict[str, Any]]:
    """Return the next lines after one, oldest first, of one slide or of all."""
    query = select(AuditRow).where(AuditRow.id > since).order_by(AuditRow.id).limit(_MOST_LINES)
    if slide is not None:
        query = query.where(AuditRow.slide == slide)
    return [
        {"id": r.id, "at": r.at, "who": r.who, "what": r.what, "slide": r.slide, **r.detail}
        for r in session.scalars(query)
    ]
