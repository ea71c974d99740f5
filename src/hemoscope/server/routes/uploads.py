"""Files of a slide: begun, sent in pieces, gone on with after a broken connection."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Path, Query, Request

from hemoscope.server.routes.needs import Here, SlideId, Who
from hemoscope.server.shapes import BeginUpload, UploadShape
from hemoscope.server.store.tables import UploadRow

__all__ = ["router"]

router = APIRouter(tags=["uploads"])
_ID = Path(pattern=r"^[0-9a-f]{32}$")


@router.post("/slides/{slide}/uploads", status_code=201, response_model=UploadShape)
def begin_upload(slide: SlideId, body: BeginUpload, site: Here, who: Who) -> dict[str, Any]:
    """Announce an image or an archive (zip, tar) and get the name to send its bytes to."""
    return _shape(site.uploads.begin(slide, body.name, body.bytes, by=who.name, upload=body.upload))


@router.get("/uploads/{upload}", response_model=UploadShape)
def get_upload(site: Here, upload: str = _ID) -> dict[str, Any]:
    """How many bytes are safe; the client goes on from there."""
    return _shape(site.uploads.find(upload))


@router.put(
    "/uploads/{upload}",
    response_model=UploadShape,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_bytes(
    request: Request, site: Here, upload: str = _ID, offset: int = Query(ge=0, lt=2**53)
) -> dict[str, Any]:
    """Send bytes from an offset on: all of them, or a piece; 409 `dropped` if the upload was given up."""
    return _shape(await site.uploads.receive(upload, offset, request.stream()))


def _shape(row: UploadRow) -> dict[str, Any]:
    return {"upload": row.id, "offset": row.received, "done": row.status != "open"}
