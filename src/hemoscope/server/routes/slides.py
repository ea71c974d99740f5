"""Slides: listed, begun, looked at; their cells, their order, their news."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.differential.reference import ReferenceTable
from hemoscope.encoding import jsonable
from hemoscope.review.order import by_doubt, by_influence
from hemoscope.server.audit import audit
from hemoscope.server.clock import now
from hemoscope.server.routes.needs import Here, InReading, SlideId, Who
from hemoscope.server.shapes import CellsShape, ModelShape, NewSlide, OrderShape, SlideDetail, SlideShape
from hemoscope.server.site import Site
from hemoscope.server.store.cells import cell_json, cells_of, covered
from hemoscope.server.store.slides import find_slide, list_slides, progress_of, rejected_of, slide_json
from hemoscope.server.store.tables import ModelRow, SignatureRow, SlideRow

__all__ = ["router", "slide_detail"]

router = APIRouter(tags=["slides"])
_REMEMBERED = 1000  # slides: a request that is sent again comes soon


@router.get("/model", response_model=ModelShape)
def get_model(site: Here) -> dict[str, Any]:
    """The model that is served, its classes with their roles, and the reference ranges."""
    facts, reference = site.facts, site.readings.counts.reference
    return {
        **{k: facts[k] for k in ("name", "digest", "networks", "tta", "n_val", "coverage", "error_rate")},
        **{k: facts[k] for k in ("review_below", "unknown_above")},
        "classes": _classes(reference, facts["classes"]),
        "reference": {"name": reference.name, "source": reference.source},
        "research_use_only": True,
        "demo": site.settings.demo,
    }


@router.get("/slides", response_model=list[SlideShape])
def get_slides(site: Here, before: int | None = Query(None, ge=1, lt=2**63)) -> list[dict[str, Any]]:
    """The newest 500 slides, or the newest 500 before one, the newest first."""
    with site.store.read() as session:
        return list_slides(session, before)


@router.post("/slides", status_code=201, response_model=SlideDetail)
def new_slide(body: NewSlide, site: Here, who: Who) -> dict[str, Any]:
    """Begin a slide."""
    once = body.once or secrets.token_hex(16)
    try:
        with site.store.write() as session:
            if once not in site.begun:
                site.begun[once] = _begin(session, body, site.facts["digest"], who.name)
    except BaseException:
        site.begun.pop(once, None)  # it was not saved
        raise
    made = site.begun[once]
    while len(site.begun) > _REMEMBERED:
        site.begun.pop(next(iter(site.begun)), None)
    return slide_detail(site, made)


def _begin(session: Session, body: NewSlide, model: str, by: str) -> int:
    row = SlideRow(
        title=body.title,
        white_count=body.white_count,
        readings=body.readings,
        blind=body.blind,
        model=model,
        created=now(),
        by=by,
    )
    session.add(row)
    session.flush()
    audit(session, by, "began", row.id)
    return row.id


@router.get("/slides/{slide}", response_model=SlideDetail)
def get_slide(slide: SlideId, site: Here) -> dict[str, Any]:
    """A slide with its progress, its rejected files and its signatures."""
    return slide_detail(site, slide)


@router.get("/slides/{slide}/cells", response_model=CellsShape)
def get_cells(
    slide: SlideId,
    site: Here,
    since: int = Query(0, ge=0, lt=2**31),
    reading: InReading | None = None,
) -> JSONResponse:
    """The cells from a number on as the model judged them; of a blind reading those of its sample, without its answers."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        folds = site.readings.folds
        blind = row.blind and not site.readings.uncovered(session, row)
        if reading is None:
            cells = cells_of(session, slide, since=since)
        else:
            cells = [cell for cell in folds.read(session, row, reading).cells if cell.cell >= since]
            blind = blind or reading == "audit"
    return JSONResponse({"cells": [jsonable(cell_json(covered(cell) if blind else cell)) for cell in cells]})


@router.get("/slides/{slide}/order", response_model=OrderShape)
def get_order(
    slide: SlideId,
    site: Here,
    by: Literal["doubt", "influence"] = "doubt",
    reading: InReading = 1,
) -> dict[str, Any]:
    """The order of the wall: the most doubtful first, or those first that could still change a flag; blind: as they came."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        read = site.readings.folds.read(session, row, reading)
        facts = session.get_one(ModelRow, row.model).facts
    if read.state.blind:
        return {"cells": [cell.cell for cell in read.cells]}
    if by == "doubt":
        return {"cells": by_doubt(read.cells, read.state)}
    return {"cells": by_influence(read.cells, read.state, facts["confusion"], site.readings.counts.reference)}


@router.get(
    "/slides/{slide}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def get_events(slide: SlideId, request: Request, site: Here) -> StreamingResponse:
    """News of a slide: `progress`, `cells`, `entry`, `signed`, `revised`, `alive` in silence, `end` when the server stops."""
    with site.store.read() as session:
        find_slide(session, slide)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    cookie = request.cookies.get(site.guard.cookie_name, "")
    news = site.events.listen(slide, lambda: site.guard.still(cookie))
    return StreamingResponse(news, media_type="text/event-stream", headers=headers)


def slide_detail(site: Site, slide: int) -> dict[str, Any]:
    """Return a slide with its progress, rejected files and signatures."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        progress = progress_of(session, slide)
        counts = {
            "waiting": progress["received"] - progress["predicted"] - progress["rejected"],
            "rejected": progress["rejected"],
        }
        signatures = session.scalars(
            select(SignatureRow).where(SignatureRow.slide == slide).order_by(SignatureRow.revision)
        )
        read = site.readings.folds.final(session, row)
        complete = site.readings.uncovered(session, row)
        return {
            **slide_json(row, counts),
            "classes": _classes(
                site.readings.counts.reference, session.get_one(ModelRow, row.model).facts["classes"]
            ),
            "seq": row.seq,
            "readers": row.readers,
            "white_count": read.state.white_count,
            "progress": progress,
            "rejected": rejected_of(session, slide),
            "signatures": [
                {"revision": s.revision, "name": s.name, "at": s.at, "reason": s.reason, "log": s.log_digest}
                for s in signatures
            ],
            "complete": complete,
        }


def _classes(reference: ReferenceTable, classes: list[str]) -> list[dict[str, Any]]:
    """Return what the page shows of classes; one of an earlier model may be missing in the table, and has its name."""
    found = []
    for name, key in zip(classes, _keys(classes), strict=True):
        entry = reference.classes.get(name)
        told = (name, "other", None) if entry is None else (entry.label, entry.role, entry.percent)
        found.append({"name": name, **dict(zip(("label", "role", "percent"), told, strict=True)), "key": key})
    return found


def _keys(classes: list[str]) -> list[str]:
    """Return a key for each class: its first letter that is free, else the first free digit."""
    taken: set[str] = set()
    keys = []
    for name in classes:
        letters = [c for c in name.lower() if c.isascii() and c.isalpha()]
        key = next((c for c in [*letters, *"1234567890"] if c not in taken), "")
        taken.add(key)
        keys.append(key)
    return keys
