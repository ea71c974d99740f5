"""How often something may be tried: failures are remembered for a while, in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

__all__ = ["Failures"]

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

    def wait_s(self, key: str) -> int:
        """Return seconds until the key may try again; 0 if it may now."""
        with self._lock:
            times = self._failed.get(key)
            if not times:
                return 0
            now = time.monotonic()
            while times and times[0] <= now - self._within_s:
                times.popleft()
            return 0 if len(times) < self._most else int(times[0] + self._within_s - now) + 1

    def add(self, key: str) -> None:
        """Remember a failure."""
        with self._lock:
            times = self._failed.pop(key, None) or deque(maxlen=self._most)
            times.append(time.monotonic())
            self._failed[key] = times
            while len(self._failed) > _MOST_KEYS:
                self._failed.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget a key's failures, after it has succeeded."""
        with self._lock:
            self._failed.pop(key, None)
