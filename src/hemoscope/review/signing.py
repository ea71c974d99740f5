"""Signing a slide: who, when, which revision, and the digest of what was done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemoscope.errors import DataError
from hemoscope.review.commands import Entry
from hemoscope.review.log import digest
from hemoscope.review.state import State

__all__ = ["Signature", "sign"]

MOST_NAME, MOST_REASON = 200, 2000


@dataclass(frozen=True, slots=True)
class Signature:
    """That a person stands for a revision of a slide.

    Attributes:
        name: Who.
        at: When, UTC, ISO 8601.
        revision: Which revision, from 1.
        log: SHA-256 of the revision's log.
        reason: Why it was signed with open cells; otherwise empty.
    """

    name: str
    at: str
    revision: int
    log: str
    reason: str = ""


def sign(
    state: State, entries: Sequence[Entry], *, name: str, at: str, revision: int, reason: str = ""
) -> Signature:
    """Return the signature of a slide.

    Args:
        state: After all of the entries.
        entries: The revision's whole log.
        name: Who signs.
        at: When, UTC, ISO 8601.
        revision: Which revision, from 1.
        reason: Why, if cells are open.

    Raises:
        DataError: If there is no name, or cells are open and no reason is given.
    """
    name, reason = name.strip(), reason.strip()
    if not name or len(name) > MOST_NAME:
        raise DataError(f"a signature needs a name of 1 to {MOST_NAME} letters; got {len(name)}")
    if len(reason) > MOST_REASON:
        raise DataError(f"a reason has at most {MOST_REASON:,} letters; got {len(reason):,}")
    waiting = state.open
    if waiting and not reason:
        raise DataError(
            f"{len(waiting)} cells are still for review or unidentified; expected none. Place them, put them among those "
            "not classed, or sign with a reason."
        )
    return Signature(name, at, revision, digest(entries), reason if waiting else "")
