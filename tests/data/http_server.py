"""A real HTTP server on 127.0.0.1 that serves one file, badly if asked to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How one request is answered; the defaults are a well-behaved server."""

    status: int | None = None  # instead of 200, 206 or 416
    cut_after: int | None = None  # close the connection after so many bytes of the body
    stall_after: int | None = None  # fall silent after so many
    corrupt: bool = False  # flip one bit in the middle
    no_length: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """What is served and what was asked. `answers` are used up in order, then the default holds."""

    body: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    honours_if_range: bool = True
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def asked_ranges(self) -> list[str | None]:
        return [r.get("Range") for r in self.requests]


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def do_GET(self) -> None:
        served = self.served
        served.requests.append(dict(self.headers.items()))
        answer = served.answers.pop(0) if served.answers else Answer()
        if answer.status:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, start, status = served.body, 0, 200
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        same = condition is None or condition == served.etag or not served.honours_if_range
        if asked and served.ranges and same:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        if start >= len(body) and status == 206:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if not answer.no_length:
            self.send_header("Content-Length", str(len(body) - start))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body[start:], answer)

    def _send(self, body: bytes, answer: Answer) -> None:
        if answer.corrupt:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        if answer.cut_after is not None:
            body = body[: answer.cut_after]
        if answer.stall_after is not None:
            self._write(body[: answer.stall_after])
            self.served.ended.wait()
            return
        self._write(body)

    def _write(self, body: bytes) -> None:
        step = 1 << 15
        with contextlib.suppress(ConnectionError):  # the other side may hang up
            for at in range(0, len(body), step):
                piece = body[at : at + step]
                self.wfile.write(piece)
                self.served.sent += len(piece)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the base class names it
        """Say nothing."""


@contextlib.contextmanager
def serving(body: bytes, **how: object) -> Iterator[Served]:
    """Serve `body` while the block runs."""
    served = Served(body, **how)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/file"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
