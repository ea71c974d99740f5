"""News of slides, from the threads that make it to the browsers that wait for it.

News may be missed: a browser that comes back asks for what it lacks by number, so nothing is kept here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from hemoscope.encoding import jsonable
from hemoscope.server.problems import ApiError

__all__ = ["Events"]

ALIVE_S = 15
_MOST_WAITING = 1000  # news of one browser; beyond it the browser begins anew
_ALIVE = "event: alive\ndata: {}\n\n"  # a comment would be hidden from scripts
_END = "event: end\ndata: {}\n\n"


class Events:
    """Who listens to which slide.

    Args:
        most: Open streams.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: defaultdict[int, set[asyncio.Queue[str]]] = defaultdict(set)
        self._closed = False

    @property
    def streams(self) -> int:
        """How many browsers listen; asked by other threads than the loop's, too."""
        return sum(map(len, list(self._queues.values())))

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say on which loop browsers are answered."""
        self._loop, self._closed = loop, False

    def tell(self, slide: int, kind: str, news: Any) -> None:
        """Tell all who listen to a slide; from any thread, and without waiting."""
        text = f"event: {kind}\ndata: {json.dumps(jsonable(news), ensure_ascii=False)}\n\n"
        self._on_loop(self._tell, slide, text)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        self._on_loop(self._tell_all, _END)

    def _on_loop(self, call: Any, *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def _tell(self, slide: int, text: str) -> None:
        for queue in self._queues.get(slide, ()):
            if queue.qsize() < _MOST_WAITING:
                queue.put_nowait(text)

    def _tell_all(self, text: str) -> None:
        for slide in list(self._queues):
            for queue in self._queues[slide]:
                queue.put_nowait(text)

    def listen(self, slide: int, still: Callable[[], bool]) -> AsyncIterator[str]:
        """Return a slide's news as an event stream, with a sign of life, `alive`, after 15 seconds without any.

        Args:
            slide: Its number.
            still: Whether the listener may go on; asked every 15 seconds, and where not, the stream ends.

        Raises:
            ApiError: If too many listen already, or the server is stopping.
        """
        if self._closed:
            raise ApiError(503, "stopping", "the server is stopping; come back in a moment", retry_s=5)
        if self.streams >= self._most:
            raise ApiError(
                429, "too_many_streams", f"{self._most} browsers listen already; close one", retry_s=30
            )
        return self._stream(slide, still)

    async def _stream(self, slide: int, still: Callable[[], bool]) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._queues[slide].add(queue)
        try:
            yield ": begun\n\n"
            asked = time.monotonic()
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), ALIVE_S)
                except TimeoutError:
                    text = _ALIVE
                if text == _ALIVE or time.monotonic() - asked >= ALIVE_S:
                    if not await run_in_threadpool(still):
                        return
                    asked = time.monotonic()
                yield text
                if text == _END:
                    return
        finally:
            self._queues[slide].discard(queue)
            if not self._queues[slide]:
                del self._queues[slide]
