"""The end of a slide: signed, revised, and the trail of both."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Query

from hemoscope.server import signing
from hemoscope.server.audit import trail
from hemoscope.server.routes.needs import Here, SlideId, Who, administrator
from hemoscope.server.routes.slides import slide_detail
from hemoscope.server.shapes import Revise, Sign, SignedShape, SlideDetail, TrailShape
from hemoscope.server.store.slides import find_slide

__all__ = ["router"]

router = APIRouter(tags=["signing"])


@router.post("/slides/{slide}/sign", response_model=SignedShape)
def sign(slide: SlideId, body: Sign, site: Here, who: Who) -> dict[str, Any]:
    """Sign and lock; 409 `not_signed` while cells are open and no reason is given, `not_seen` if there is more than was seen."""
    return signing.sign(site, slide, body, user=who.name)


@router.post("/slides/{slide}/revise", response_model=SlideDetail)
def revise(slide: SlideId, body: Revise, site: Here, who: Who) -> dict[str, Any]:
    """Open a signed slide as its next revision."""
    signing.revise(site, slide, body, user=who.name)
    return slide_detail(site, slide)


@router.get("/slides/{slide}/audit", response_model=TrailShape)
def get_slide_audit(slide: SlideId, site: Here, since: int = Query(0, ge=0, lt=2**63)) -> dict[str, Any]:
    """Who did what with a slide, beside its log: begun, files sent, signed, revised, taken home."""
    with site.store.read() as session:
        find_slide(session, slide)
        return {"audit": trail(session, slide=slide, since=since)}


@router.get("/audit", response_model=TrailShape, dependencies=[Depends(administrator)])
def get_audit(site: Here, since: int = Query(0, ge=0, lt=2**63)) -> dict[str, Any]:
    """Who did what; for administrators."""
    with site.store.read() as session:
        return {"audit": trail(session, since=since)}
