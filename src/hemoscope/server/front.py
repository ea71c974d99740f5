"""What every request passes: host, size, headers of the answer, a line in the log and the metrics.

The log has methods, route templates, statuses and times; never a path, a title or a file's name.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hemoscope.server.problems import answer
from hemoscope.server.site import Site

__all__ = ["CSP", "Front"]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_UPLOADS = "/api/v1/uploads/"  # counted where they are written
_log = logging.getLogger("hemoscope.server.requests")


class _TooLargeError(Exception):
    """A body is larger than any of the API's."""


class Front:
    """ASGI middleware around the app."""

    def __init__(self, app: ASGIApp, *, site: Site) -> None:
        self._app, self._site = app, site
        self._most = site.settings.capacity.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it before anything looks at it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, seen = time.perf_counter(), {"status": 500}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._pass(scope, receive, send_on)
        finally:
            self._count(scope, seen["status"], time.perf_counter() - began)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not self._site.guard.check_host(headers.get("host", "")):
            await answer(421, "wrong_host", "this server is not called by that name")(scope, receive, send)
            return
        if scope["path"].startswith(_UPLOADS):
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        refusal = answer(413, "too_large", f"expected a body of at most {self._most:,} bytes")
        if not length.isdigit() or int(length) > self._most:
            await refusal(scope, receive, send)
            return
        came, refused = 0, False

        async def receive_some() -> Message:
            nonlocal came, refused
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                refused = True
                raise _TooLargeError
            return message

        async def send_unless_refused(message: Message) -> None:
            if not refused:  # the app would say that a body it could not read to its end is malformed
                await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, receive_some, send_unless_refused)
        if refused:
            await refusal(scope, receive, send)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        template: Any = getattr(route, "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE") else "other"
        self._site.metrics.requested(method, template, status, seconds)
        _log.info(
            "request",
            extra={"method": method, "route": template, "status": status, "ms": round(1000 * seconds, 1)},
        )
