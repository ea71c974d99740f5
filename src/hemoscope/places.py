"""Where hemoscope keeps what it can make again, and what it may compute with."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from hemoscope.errors import ConfigError

__all__ = [
    "DEVICE_NAMES",
    "a_path",
    "available_cores",
    "cache_dir",
    "is_device_name",
    "is_url",
    "share_cores",
]

DEVICE_NAMES = "auto, cuda, cuda:N, mps or cpu"


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


def share_cores() -> None:
    """Let a thread that waits for another give its core away at once; to be called before torch is imported.

    GNU OpenMP, which torch brings on Linux, spins for a millisecond at every barrier. On a machine that does
    something else besides, the thread that is waited for then has no core to run on. What the person has set stays.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = (
            "1000"  # as GNU OpenMP itself does where it has more threads than cores
        )


def is_device_name(name: str) -> bool:
    """Whether a name says a device, here or on another machine.

    >>> is_device_name("cuda:1"), is_device_name("cpu:x")
    (True, False)
    """
    return re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", name) is not None


def is_url(text: str) -> bool:
    """Whether a text names a place behind a protocol, and not a path.

    >>> is_url("s3://bucket/runs"), is_url("runs"), is_url("C:/runs")
    (True, False, False)
    """
    return re.match(r"[a-z][a-z0-9+.-]+://", text) is not None


def a_path(place: str | os.PathLike[str]) -> Path:
    """Return a path on this machine.

    Raises:
        ConfigError: If it is the URL of a place elsewhere; pathlib would make a folder of that name.
    """
    if is_url(str(place)):
        raise ConfigError(f"expected a path on this machine, got {place}")
    return Path(place)
