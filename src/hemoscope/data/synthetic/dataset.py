"""Folders of drawn cells in the shape of the PBC data set. Never adds to or replaces what is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from hemoscope.data.synthetic.kinds import class_names, kinds_of
from hemoscope.data.synthetic.morphology import Kind
from hemoscope.data.synthetic.scene import SIZE_LIMITS_PX, draw_kind
from hemoscope.errors import ConfigError, DataError

__all__ = ["write_dataset"]

_JPEG_QUALITY = 95


def write_dataset(
    folder: Path,
    *,
    per_class: int = 60,
    size_px: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write class folders of drawn cells, named as PBC names its files (`neutrophil/SNE_000001.jpg`).

    An image depends on the seed, its class and its number alone, so a larger set begins with the
    smaller one. The folder appears when all of it is written, or not at all.

    Args:
        folder: Where to; absent or empty.
        per_class: Images of each class.
        size_px: Side of the square images, 32 to 1024.
        seed: Seed of the set, at least 0.
        progress: Called with (images done, images in all) after each image.

    Returns:
        The number of images written.

    Raises:
        DataError: If the folder holds anything, or is a file.
        ConfigError: If a number is out of range.
    """
    folder = folder.absolute()
    _refuse_bad_numbers(per_class=per_class, size_px=size_px, seed=seed)
    _refuse_occupied(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        total = _write_all(part, per_class=per_class, size_px=size_px, seed=seed, progress=progress)
        part.chmod(0o755)
        _refuse_occupied(folder)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return total


def _write_all(
    folder: Path, *, per_class: int, size_px: int, seed: int, progress: Callable[[int, int], None] | None
) -> int:
    jobs: list[tuple[Path, Kind, list[int]]] = []
    for number, class_name in enumerate(class_names()):
        (folder / class_name).mkdir()
        kinds = kinds_of(class_name)
        for index in range(per_class):
            kind = kinds[index % len(kinds)]
            path = folder / class_name / f"{kind.prefix}_{index + 1:06d}.jpg"
            jobs.append((path, kind, [seed, number, index]))

    def write(job: tuple[Path, Kind, list[int]]) -> None:
        path, kind, key = job
        image = draw_kind(kind, size_px=size_px, rng=np.random.default_rng(key))
        path.write_bytes(_jpeg(image))

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for done, _ in enumerate(pool.map(write, jobs), start=1):
            if progress is not None:
                progress(done, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    return len(jobs)


def _jpeg(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


def _refuse_bad_numbers(*, per_class: int, size_px: int, seed: int) -> None:
    low, high = SIZE_LIMITS_PX
    problems = []
    if per_class < 1:
        problems.append(f"per_class must be at least 1, got {per_class}")
    if not low <= size_px <= high:
        problems.append(f"size_px must lie in [{low}, {high}], got {size_px}")
    if seed < 0:
        problems.append(f"seed must be at least 0, got {seed}")
    if problems:
        raise ConfigError("; ".join(problems))


def _refuse_occupied(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"expected {folder} to be absent or an empty folder, but it is in use; "
            f"nothing was written. Choose another folder or delete it first"
        )
