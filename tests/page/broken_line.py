"""A line between browser and server that breaks where a test says so: what the browser's own interception cannot show."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

__all__ = ["BrokenLine", "Fate"]

Fate = Literal["lose the answer", "cut the answer", "drop the request"]
_PIECE = 1 << 16


class BrokenLine:
    """A TCP line to a local port.

    Args:
        port: Of the server.

    Attributes:
        url: What the browser opens.
        fate: Asked of everything the browser sends; None lets it pass.
    """

    def __init__(self, port: int) -> None:
        self.fate: Callable[[bytes], Fate | None] = lambda sent: None
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                browser, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(browser,), daemon=True).start()

    def _serve(self, browser: socket.socket) -> None:
        fates: list[Fate] = []
        with browser, socket.create_connection(("127.0.0.1", self._port)) as server:
            up = threading.Thread(target=self._up, args=(browser, server, fates), daemon=True)
            up.start()
            self._down(server, browser, fates)
            _end(server)
            up.join()

    def _up(self, browser: socket.socket, server: socket.socket, fates: list[Fate]) -> None:
        try:
            while sent := browser.recv(_PIECE):
                if (fate := self.fate(sent)) is not None:
                    fates.append(fate)
                if fate == "drop the request":
                    break
                server.sendall(sent)
        except OSError:
            pass
        _end(server)
        if "drop the request" in fates:
            _end(browser)

    def _down(self, server: socket.socket, browser: socket.socket, fates: list[Fate]) -> None:
        try:
            while answer := server.recv(_PIECE):
                if fates:
                    if fates[0] == "cut the answer":
                        browser.sendall(answer[: answer.find(b"\r\n\r\n") + 24])
                    break
                browser.sendall(answer)
        except OSError:
            pass
        _end(browser)


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # it may have ended already
        one.shutdown(socket.SHUT_RDWR)
