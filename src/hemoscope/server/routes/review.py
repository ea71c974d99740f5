"""Readings of a slide: state, log, commands, count."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from hemoscope.server.readings import Asked, entries_of
from hemoscope.server.routes.needs import Here, InReading, SlideId, Who
from hemoscope.server.shapes import CommandBody
from hemoscope.server.store.slides import find_slide

__all__ = ["router"]

router = APIRouter(tags=["review"])


@router.get("/slides/{slide}/state")
def get_state(slide: SlideId, site: Here, who: Who, reading: InReading = 1) -> dict[str, Any]:
    """Where every cell lies, and what a person has looked at."""
    state = site.readings.read(slide, reading).state
    return {
        "seq": state.seq,
        "places": {str(cell): place for cell, place in state.places.items()},
        "reviewed": sorted(state.reviewed),
        "notes": {str(cell): text for cell, text in state.notes.items()},
        "white_count": state.white_count,
        "can_undo": state.can_undo(who.name),
        "can_redo": state.can_redo(who.name),
    }


@router.get("/slides/{slide}/log")
def get_log(
    slide: SlideId,
    site: Here,
    since: int = Query(0, ge=0, lt=2**31),
    revision: int | None = Query(None, ge=1, lt=2**31),
) -> JSONResponse:
    """The log of a revision after an entry: who, when, what, from where to where."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        entries = entries_of(session, slide, revision or row.revision, since=since)
    return JSONResponse({"entries": [entry.model_dump(mode="json") for entry in entries]})


@router.post("/slides/{slide}/commands")
def post_command(slide: SlideId, body: CommandBody, site: Here, who: Who) -> JSONResponse:
    """Give a command; 409 with the entries if somebody else touched the same cells since `base`."""
    done = site.readings.perform(
        slide,
        Asked(body.command, base=body.base, reading=body.reading, reader=who.name, client=body.client),
    )
    entry = done.entry.model_dump(mode="json")
    return JSONResponse(
        {
            "seq": done.entry.seq,
            "entry": entry,
            "changes": entry["changes"],
            "differential": done.differential,
        }
    )


@router.get("/slides/{slide}/differential")
def get_differential(slide: SlideId, site: Here, reading: InReading = 1) -> JSONResponse:
    """The count, by the model alone and after review."""
    return JSONResponse(site.readings.differential(site.readings.read(slide, reading)))
