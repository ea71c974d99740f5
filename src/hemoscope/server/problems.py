"""What a client is told when something is refused: one form, a code, and no path of this machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hemoscope.errors import HemoscopeError, ImageError, MissingPackageError, StoreError
from hemoscope.server.disk import DiskFullError
from hemoscope.server.store.store import StoreFullError

__all__ = ["ApiError", "answer", "tell_problems"]

RETRY_S = 5
_log = logging.getLogger("hemoscope.server")


class ApiError(HemoscopeError):
    """A refusal with its status, its code and what else the client needs.

    Attributes:
        status: HTTP status.
        code: One word for programs.
        more: Further keys of the answer.
        retry_s: Seconds after which the client may try again; None where trying again is of no use.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_s: int | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.more, self.retry_s = status, code, more, retry_s


def answer(
    status: int,
    code: str,
    message: str,
    *,
    retry_s: int | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return a refusal as the API words it."""
    body = {"error": {"code": code, "message": message}, **(more or {})}
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(retry_s)} if retry_s is not None else {})
    return JSONResponse(body, status, headers)


def tell_problems(app: FastAPI) -> None:
    """Let every refusal of an app take the form of `answer`."""
    app.add_exception_handler(HemoscopeError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_request)
    app.add_exception_handler(HTTPException, _of_starlette)
    app.add_exception_handler(Exception, _of_a_defect)


def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ApiError):
        return answer(error.status, error.code, str(error), retry_s=error.retry_s, more=error.more)
    if isinstance(error, (DiskFullError, StoreFullError)):
        return answer(507, "disk_full", str(error), retry_s=RETRY_S)
    if isinstance(error, StoreError):
        return answer(503, "store_away", str(error), retry_s=RETRY_S)
    if isinstance(error, ImageError):
        return answer(404, "no_image", str(error))
    if isinstance(error, MissingPackageError):
        return answer(501, "not_installed", str(error))
    return answer(422, "refused", str(error))


def _of_request(_request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    listing = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found[:20])
    return answer(422, "not_as_expected", listing)


def _of_starlette(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = HTTPStatus(status).phrase
    response = answer(status, words.lower().replace(" ", "_"), words)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


def _of_a_defect(_request: Request, error: Exception) -> JSONResponse:
    _log.error("defect", exc_info=error)
    return answer(
        500, "defect", "the server has a defect; nothing of this request was saved. Its log has the reason"
    )
