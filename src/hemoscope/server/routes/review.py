"""Readings of a slide: state, log, commands, count, agreement of two readers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from hemoscope.encoding import jsonable
from hemoscope.review.bias import automation_bias
from hemoscope.review.commands import Entry
from hemoscope.review.readers import agreement
from hemoscope.server.counts import count_json
from hemoscope.server.folds import entries_of, entries_until
from hemoscope.server.guard import LOCAL, Reader
from hemoscope.server.readings import Asked
from hemoscope.server.routes.needs import Here, InReading, SlideId, Who
from hemoscope.server.shapes import AgreementShape, CommandBody, CountShape, DoneShape, LogShape, StateShape
from hemoscope.server.site import Site
from hemoscope.server.store.slides import find_slide
from hemoscope.server.store.tables import SlideRow

__all__ = ["router"]

router = APIRouter(tags=["review"])


@router.get("/slides/{slide}/state", response_model=StateShape)
def get_state(slide: SlideId, site: Here, who: Who, reading: InReading = 1) -> dict[str, Any]:
    """Where every cell of a reading lies, and what a person has looked at."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        site.readings.may_look(session, row, reading, who)
        state = site.readings.folds.read(session, row, reading).state
        readers, revision = row.readers, row.revision
    return {
        "revision": revision,
        "seq": state.seq,
        "places": {str(cell): place for cell, place in state.places.items()},
        "reviewed": sorted(state.reviewed),
        "notes": {str(cell): text for cell, text in state.notes.items()},
        "white_count": state.white_count,
        "can_undo": state.can_undo(who.name),
        "can_redo": state.can_redo(who.name),
        "readers": readers,
    }


@router.get("/slides/{slide}/log", response_model=LogShape)
def get_log(
    slide: SlideId,
    site: Here,
    who: Who,
    since: int = Query(0, ge=0, lt=2**31),
    revision: int | None = Query(None, ge=1, lt=2**31),
) -> JSONResponse:
    """The log of a revision after an entry: who, when, what, from where to where."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        entries = entries_of(session, slide, revision or row.revision, since=since)
        covered = not site.readings.uncovered(session, row)
    shown = [e for e in entries if not covered or _own(e, who)]
    return JSONResponse({"entries": [entry.model_dump(mode="json") for entry in shown]})


def _own(entry: Entry, who: Reader) -> bool:
    """Whether an entry may be seen while two readers are blind to each other."""
    return who.name == LOCAL or entry.reader == who.name or entry.reading not in (1, 2)


@router.post("/slides/{slide}/commands", response_model=DoneShape)
def post_command(slide: SlideId, body: CommandBody, site: Here, who: Who) -> JSONResponse:
    """Give a command; 409 with the entries if somebody else touched the same cells since `base`."""
    done = site.readings.perform(
        slide,
        Asked(
            body.command,
            revision=body.revision,
            base=body.base,
            reading=body.reading,
            reader=who,
            client=body.client,
            answered=body.answered,
        ),
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


@router.get("/slides/{slide}/differential", response_model=CountShape)
def get_differential(slide: SlideId, site: Here, who: Who, reading: InReading | None = None) -> JSONResponse:
    """The count, by the model alone and after review; without a reading the one that is signed."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        folds = site.readings.folds
        if reading is None:
            site.readings.refuse_blind(session, row)
            read = folds.final(session, row)
        else:
            site.readings.may_look(session, row, reading, who)
            read = folds.read(session, row, reading)
        return JSONResponse(count_json(site.readings.counts.of(session, read)))


@router.get("/slides/{slide}/agreement", response_model=AgreementShape)
def get_agreement(slide: SlideId, site: Here) -> JSONResponse:
    """How far two readers have come and agree, and how often each reader follows a wrong suggestion."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        return JSONResponse(jsonable(_agreement(site, session, row)))


def _agreement(site: Site, session: Any, row: SlideRow) -> dict[str, Any]:
    folds = site.readings.folds
    audit = folds.read(session, row, "audit")
    bias = automation_bias(
        folds.read(session, row, 1).cells, entries_until(session, row.id, row.revision), audit.state
    )
    found: dict[str, Any] = {
        "readings": row.readings,
        "blind": row.blind,
        "readers": row.readers,
        "audit": {"cells": sorted(audit.state.held), "read": len(audit.state.reviewed)},
        "bias": {reader: asdict(followed) for reader, followed in bias.items()},
        "agreement": None,
    }
    if row.readings == 2:
        first, second = (folds.read(session, row, reading).state for reading in (1, 2))
        found["cells"] = sorted(first.held)
        found["read"] = {"1": len(first.reviewed), "2": len(second.reviewed)}
        found["complete"] = site.readings.uncovered(session, row)
        if found["complete"]:
            found["agreement"] = asdict(agreement(first, second, folds.read(session, row, "settle").state))
    return found
