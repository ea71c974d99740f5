"""Where hemoscope keeps what it can make again: canvases, scan results, imported weights."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cores", "cache_dir"]


def cache_dir() -> Path:
    """Return the cache folder: `HEMOSCOPE_CACHE` if set, else the system's usual place."""
    chosen = os.environ.get("HEMOSCOPE_CACHE")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("hemoscope")


def available_cores() -> int:
    """Return how many cores this process may use: its affinity and container quota, not the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux; elsewhere every core is ours
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no control group, or "max": no quota
    return max(count, 1)
