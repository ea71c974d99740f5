"""The time as the store writes it."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> str:
    """Return the time in UTC, ISO form with microseconds, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
