"""Pictures: small, large, and where the networks looked."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from PIL import Image
from sqlalchemy.orm import Session

from hemoscope.server.judge import Judge
from hemoscope.server.pictures import png
from hemoscope.server.problems import ApiError
from hemoscope.server.routes.needs import CellNumber, Here, SlideId
from hemoscope.server.shapes import NeighboursShape
from hemoscope.server.site import Site
from hemoscope.server.store.cells import find_cell
from hemoscope.server.store.slides import find_slide
from hemoscope.server.store.tables import SlideRow

__all__ = ["answered", "router"]

router = APIRouter(tags=["pictures"])
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_ONCE = {"Cache-Control": "no-store"}
_T = TypeVar("_T")


@router.get("/images/{digest}", response_class=Response)
def get_image(digest: str, site: Here, px: int | None = Query(None, ge=1, le=4096)) -> Response:
    """A square JPEG of about so many pixels, or without `px` the whole image as PNG."""
    if px is None:
        return Response(site.pictures.large(digest), media_type="image/png", headers=_FOREVER)
    return Response(site.pictures.thumbnail(digest, px), media_type="image/jpeg", headers=_FOREVER)


@router.get("/slides/{slide}/cells/{cell}/heatmap", response_class=Response)
async def get_heatmap(
    slide: SlideId,
    cell: CellNumber,
    request: Request,
    site: Here,
    of: str = Query("", max_length=200),
    image: str = Query("", max_length=64),
    model: str = Query("", max_length=64),
) -> Response:
    """Grad-CAM of the members for the predicted class or another: a PNG to lay over the large picture.

    Where the address names the digests of the cell's image and of the model, the answer may be kept.
    """
    digest, pred, nucleus_px = await asyncio.to_thread(_cell, site, slide, cell)
    class_name = of or pred
    if class_name not in site.facts["classes"]:
        raise ApiError(
            422, "no_class", f"the model has no class {class_name!r}: {', '.join(site.facts['classes'])}"
        )

    def look(judge: Judge) -> bytes:
        image = Image.fromarray(judge.at(nucleus_px).heat(site.pictures.pixels(digest), class_name))
        image.thumbnail((1024, 1024))
        return png(image)

    made = await answered(request, site.worker.ask(look))
    named = (image, model) == (digest, site.facts["digest"])
    return Response(made, media_type="image/png", headers=_FOREVER if named else _ONCE)


@router.get("/slides/{slide}/cells/{cell}/neighbours", response_model=NeighboursShape)
def get_neighbours(slide: SlideId, cell: CellNumber, site: Here) -> dict[str, Any]:
    """The nearest reference cells of the classes that the cell may be, the predicted one first."""
    with site.store.read() as session:
        _refuse_hidden(site, session, find_slide(session, slide))
        row = find_cell(session, slide, cell)
    classes = list(dict.fromkeys([row.pred, *row.judged["candidates"]]))
    return {"by_class": site.references.nearest(row.features, classes, but=row.digest)}


async def answered(request: Request, future: Future[_T]) -> _T:
    """Return what the model says; where the client goes away before its turn, it is not asked."""
    waiting = asyncio.wrap_future(future)
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.25)
        if not waiting.done() and await request.is_disconnected():
            future.cancel()
            raise ApiError(499, "gone", "the client went away")
    return waiting.result()


def _cell(site: Site, slide: int, cell: int) -> tuple[str, str, float | None]:
    with site.store.read() as session:
        found = find_slide(session, slide)
        _refuse_hidden(site, session, found)
        row = find_cell(session, slide, cell)
        return row.digest, row.pred, found.nucleus_px


def _refuse_hidden(site: Site, session: Session, row: SlideRow) -> None:
    """Refuse what the model alone can tell, where it is not to be seen or another model is served now."""
    site.readings.refuse_blind(session, row)
    if row.model != site.facts["digest"]:
        raise ApiError(
            409, "other_model", "the slide was read by another model than the one that is served now"
        )
