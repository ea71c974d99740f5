"""The app: routes, page, refusals and what every request passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles

from hemoscope.server.front import Front
from hemoscope.server.problems import tell_problems
from hemoscope.server.routes import export, operations, pictures, review, session, sign, slides, uploads
from hemoscope.server.routes.needs import who
from hemoscope.server.shapes import Refusal
from hemoscope.server.site import Site

__all__ = ["API", "create_app"]

API = "/api/v1"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": "Refused, with the reason."} for status in (422, "4XX", "5XX")
}
_PAGE = Path(__file__).parent / "page"


def create_app(site: Site) -> FastAPI:
    """Return the app of an opened site; its threads run from the app's start to its end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        site.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            await asyncio.to_thread(site.stop)

    from hemoscope import __version__

    app = FastAPI(
        title="hemoscope review",
        description="From a slide's cells to a signed differential. Research software, not a medical device.",
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=_name_of,
    )
    app.state.site = site
    app.add_middleware(Front, site=site)
    tell_problems(app)
    app.include_router(session.router, prefix=API, responses=_REFUSALS)
    for group in (slides, uploads, review, sign, export, pictures):
        app.include_router(group.router, prefix=API, dependencies=[Depends(who)], responses=_REFUSALS)
    app.include_router(operations.router, responses=_REFUSALS)
    _add_page(app)
    return app


def _name_of(route: APIRoute) -> str:
    return route.name


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> Response:
        if not (_PAGE / "index.html").is_file():
            return PlainTextResponse("the page is not here; the API is at /api/v1", 404)
        return FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    if _PAGE.is_dir():
        app.mount("/static", _Static(directory=_PAGE), name="static")


class _Static(StaticFiles):
    """The page's files, asked about again each time, so that a new version is seen at once."""

    def file_response(self, *args: object, **options: object) -> Response:
        response = super().file_response(*args, **options)  # type: ignore[arg-type]
        response.headers.setdefault("Cache-Control", "no-cache")
        return response
