"""What is in a data folder, read once: the scan that every verb begins with, kept for the next one.

It stands here, above the data, because the ranks of one run take turns at it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hemoscope.data.scan.scan import scan
from hemoscope.places import cache_dir
from hemoscope.progress import Progress
from hemoscope.records import Manifest
from hemoscope.training.ranks import ranks_here

__all__ = ["scan_cached"]


def scan_cached(root: Path, progress: Progress | None = None) -> Manifest:
    """Scan a data folder, reading only files that changed since the last scan of it."""
    name = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with ranks_here().one_first(f"scan {name}"):
        return scan(root, progress=progress, cache=cache_dir() / "scan" / name)
