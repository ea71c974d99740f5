"""What a slide's count leaves the house as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from hemoscope.server.audit import audit
from hemoscope.server.reports import FORMS, labelled, report_of
from hemoscope.server.routes.needs import Here, SlideId, Who
from hemoscope.server.store.slides import find_slide

__all__ = ["router"]

router = APIRouter(tags=["export"])
# The page has its style within; it runs nothing and loads nothing.
_OF_PAGE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"


@router.get("/slides/{slide}/export/{form}", response_class=Response)
def export(
    slide: SlideId,
    form: Literal["csv", "cells", "json", "html", "fhir", "hl7", "labelled"],
    site: Here,
    who: Who,
    revision: int | None = Query(None, ge=1, lt=2**31),
) -> Response:
    """A revision, by default the last: tables, everything, a page to print, FHIR R4, HL7 v2, or a zip of class folders."""
    with site.store.read() as session:
        row = find_slide(session, slide)
        site.readings.refuse_blind(session, row)
        report = report_of(session, row, site.readings, site.codes, revision)
    name = f"slide-{slide}-revision-{report.revision}"
    if form == "labelled":
        file, ending, media = labelled(report, site.pictures), "zip", "application/zip"
        answer: Response = StreamingResponse(_pieces(file), media_type=media)
    else:
        make, ending, media = FORMS[form]
        answer = Response(make(report), media_type=media)
        if form == "html":
            answer.headers["Content-Security-Policy"] = _OF_PAGE
    kind = "inline" if form == "html" else "attachment"
    answer.headers["Content-Disposition"] = f'{kind}; filename="{name}.{ending}"'
    with site.store.write() as session:
        audit(session, who.name, "took home", slide, form=form, revision=report.revision)
    return answer


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 16):
            yield piece
