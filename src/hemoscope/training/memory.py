"""The most memory that one piece of work held, on the host and on a GPU.

A process may do many runs, so a peak is forgotten where the next piece begins, as far as the system can.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import torch

__all__ = ["forget_peaks", "peak_device_memory_mib", "peak_memory_mib"]

_FORGET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def forget_peaks(device: torch.device) -> None:
    """Begin to measure anew. Where the system cannot, the host's peak stays that of the process."""
    if _FORGET.is_file():
        with contextlib.suppress(OSError):  # some sandboxes forbid it
            _FORGET.write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib() -> int | None:
    """Return the largest resident size since `forget_peaks`; None on Windows."""
    if _STATUS.is_file() and (
        found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text("ascii", "replace"))
    ):
        return int(found[1]) // 2**10
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def peak_device_memory_mib(device: torch.device) -> int | None:
    """Return the most memory of a GPU that tensors held since `forget_peaks`; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None
