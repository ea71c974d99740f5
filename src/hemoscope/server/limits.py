"""How often something may be tried: failures are remembered for a while, in memory.

A try is a failure until it is known to be none, so that many at once are no more than one after another.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["Failures"]

AT_ONCE = 4  # a password takes 64 MiB and a core
_MOST_KEYS = 10_000  # names an attacker has made up; the oldest is forgotten first


class Failures:
    """Failures by key within a time.

    Args:
        most: Failures after which a key has to wait.
        within_s: Seconds after which a failure is forgotten.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Say whether there is a turn now; who has none does not wait, and holds up nobody else's request."""
        mine = self._turns.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._turns.release()

    def begin(self, keys: Sequence[str]) -> int:
        """Count a try of keys as a failure; return seconds to wait if one of them has to, and then none is counted."""
        with self._lock:
            if wait := max(map(self._wait_s, keys)):
                return wait
            for key in keys:
                self._add(key)
            return 0

    def take_back(self, key: str) -> None:
        """Uncount a try that was no failure."""
        with self._lock:
            if times := self._failed.get(key):
                times.pop()

    def forget(self, key: str) -> None:
        """Forget a key's failures, after it has succeeded."""
        with self._lock:
            self._failed.pop(key, None)

    def _wait_s(self, key: str) -> int:
        times = self._failed.get(key)
        if not times:
            return 0
        now = time.monotonic()
        while times and times[0] <= now - self._within_s:
            times.popleft()
        return 0 if len(times) < self._most else int(times[0] + self._within_s - now) + 1

    def _add(self, key: str) -> None:
        times = self._failed.pop(key, None) or deque(maxlen=self._most)
        times.append(time.monotonic())
        self._failed[key] = times
        while len(self._failed) > _MOST_KEYS:
            self._failed.popitem(last=False)
