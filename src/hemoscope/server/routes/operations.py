"""For who runs the server: alive, ready, figures. Outside the API's prefix, and without sign-in."""

from __future__ import annotations

from fastapi import APIRouter, Response

from hemoscope.server.problems import ApiError
from hemoscope.server.routes.needs import Here

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def healthz(site: Here) -> dict[str, str]:
    """Whether the process and its threads live."""
    if not (site.worker.alive and site.intake.alive):
        raise ApiError(503, "thread_dead", "a thread has ended; start the server again")
    return {"status": "ok"}


@router.get("/readyz")
def readyz(site: Here) -> dict[str, str]:
    """Whether requests can be answered: the store is there."""
    site.store.check()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
def metrics(site: Here) -> Response:
    """Figures for Prometheus."""
    return Response(site.metrics.text(), media_type="text/plain; version=0.0.4")
