"""What routes ask for: the site's parts, and who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool

from hemoscope.review.commands import Reading
from hemoscope.server.guard import Reader
from hemoscope.server.problems import ApiError
from hemoscope.server.site import Site

__all__ = ["CellNumber", "Here", "InReading", "SlideId", "Who", "administrator", "site_of", "who"]


def site_of(request: Request) -> Site:
    """Return the running server's parts."""
    return request.app.state.site


Here = Annotated[Site, Depends(site_of)]


async def who(request: Request, site: Here) -> Reader:
    """Return who asks, if they may; every router but that of the session depends on it.

    Raises:
        ApiError: If nobody is signed in, or a write lacks its token.
    """
    return await run_in_threadpool(site.guard.check, request)


Who = Annotated[Reader, Depends(who)]


async def administrator(reader: Who) -> None:
    """Refuse who is no administrator.

    Raises:
        ApiError: If so.
    """
    if reader.role != "administrator":
        raise ApiError(403, "administrators_only", f"{reader.name} is a reader; this is for administrators")


def _number(value: object) -> object:
    """A query is text; the first two readings are numbers."""
    return int(value) if value in ("1", "2") else value


InReading = Annotated[Reading, BeforeValidator(_number)]
SlideId = Annotated[int, Path(ge=1, lt=2**63)]
CellNumber = Annotated[int, Path(ge=0, lt=2**31)]
