"""Listen: one process, stopped by SIGINT or SIGTERM after what is in hand."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import numpy as np
import uvicorn

from hemoscope.errors import ConfigError, HemoscopeError
from hemoscope.evaluation.intervals import clopper_pearson
from hemoscope.server.app import create_app
from hemoscope.server.settings import Settings
from hemoscope.server.site import Site

__all__ = ["listen", "serve"]

GRACE_S = 10  # for answers under way


class _Server(uvicorn.Server):
    """Ends the event streams when it is told to stop; it would wait for them otherwise."""

    def __init__(self, config: uvicorn.Config, site: Site, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._site, self._on_ready = site, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        threading.Thread(target=_warm, args=(self._site,), name="warm", daemon=True).start()
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # uvicorn's own would raise the signal again when all is done, and a stop would end like a kill.
        self._site.events.close()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """Return a socket that holds the port.

    Raises:
        ConfigError: If the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Of TCP by name: asyncio turns Nagle off for no other, and each answer would wait 40 ms.
    held = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((settings.host, settings.port))
    except OSError as error:
        held.close()
        raise ConfigError(
            f"port {settings.port} of {settings.host} cannot be had: {error.strerror}; choose another --port"
        ) from None
    return held


def serve(
    site: Site,
    held: socket.socket,
    *,
    on_ready: Callable[[], None],
    made: Callable[[uvicorn.Server], None] = lambda _: None,
) -> None:
    """Serve until a signal comes, or the server that `made` is given is told to stop."""
    config = uvicorn.Config(
        create_app(site),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
    )
    server = _Server(config, site, on_ready)
    made(server)
    server.run([held])


def _warm(site: Site) -> None:
    """Import what the first count and the first heatmap would wait for."""
    clopper_pearson(1, 2)
    with suppress(HemoscopeError):
        site.worker.ask(lambda judge: judge.heat(np.zeros((64, 64, 3), np.uint8), site.facts["classes"][0]))
