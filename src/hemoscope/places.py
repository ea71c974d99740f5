"""Where hemoscope keeps what it can make again: canvases, scan results, imported weights."""

from __future__ import annotations

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
    """Return how many cores this process may use, not how many the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere every core is ours
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
