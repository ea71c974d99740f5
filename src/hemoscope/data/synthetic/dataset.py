"""Folders of drawn cells in the shape of the PBC data set. Never adds to or replaces what is there."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from hemoscope.data.synthetic.kinds import class_names, kinds_of
from hemoscope.data.synthetic.morphology import Kind
from hemoscope.data.synthetic.scene import SIZE_LIMITS_PX, draw_kind
from hemoscope.errors import ConfigError
from hemoscope.files import new_folder
from hemoscope.progress import Progress

__all__ = ["write_dataset"]

_JPEG_QUALITY = 95
_AT_ONCE = 16  # images a process gets at a time

_Job = tuple[Path, Kind, list[int]]


def write_dataset(
    folder: Path,
    *,
    per_class: int = 60,
    size_px: int = 200,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> int:
    """Write class folders of drawn cells, named as PBC names its files (`neutrophil/SNE_000001.jpg`).

    An image depends on the seed, its class and its number alone, so a larger set begins with the
    smaller one. The folder appears when all of it is written, or not at all.

    Args:
        folder: Where to; absent or empty.
        per_class: Images of each class.
        size_px: Side of the square images, 32 to 1024.
        seed: Seed of the set, at least 0.
        jobs: Processes that draw; threads would only wait for each other. More than 1 starts new ones, so
            that a script of its own needs `if __name__ == "__main__"`. The images are the same.
        progress: Called after each image.

    Returns:
        The number of images written.

    Raises:
        DataError: If the folder holds anything, or is a file.
        ConfigError: If a number is out of range.
    """
    _refuse_bad_numbers(per_class=per_class, size_px=size_px, seed=seed, jobs=jobs)
    with new_folder(folder) as part:
        todo = _plan(part, per_class=per_class, seed=seed)
        _write_all(todo, size_px=size_px, jobs=jobs, progress=progress)
    return len(todo)


def _plan(folder: Path, *, per_class: int, seed: int) -> list[_Job]:
    """Make the class folders; return path, kind and key of every image."""
    todo: list[_Job] = []
    for number, class_name in enumerate(class_names()):
        (folder / class_name).mkdir()
        kinds = kinds_of(class_name)
        for index in range(per_class):
            kind = kinds[index % len(kinds)]
            path = folder / class_name / f"{kind.prefix}_{index + 1:06d}.jpg"
            todo.append((path, kind, [seed, number, index]))
    return todo


def _write_all(todo: list[_Job], *, size_px: int, jobs: int, progress: Progress | None) -> None:
    write = partial(_write, size_px=size_px)
    with ExitStack() as stack:
        if jobs == 1:
            written = map(write, todo)
        else:
            # Ctrl-C is the parent's to hear: it lets them end their images and deletes the folder.
            ignore = (signal.SIGINT, signal.SIG_IGN)
            pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=signal.signal, initargs=ignore)
            stack.callback(pool.shutdown, cancel_futures=True)
            written = pool.map(write, todo, chunksize=_AT_ONCE)
        for done, _ in enumerate(written, start=1):
            if progress is not None:
                progress("drawing cells", done, len(todo))


def _write(job: _Job, *, size_px: int) -> None:
    path, kind, key = job
    path.write_bytes(_jpeg(draw_kind(kind, size_px=size_px, rng=np.random.default_rng(key))))


def _jpeg(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


def _refuse_bad_numbers(*, per_class: int, size_px: int, seed: int, jobs: int) -> None:
    low, high = SIZE_LIMITS_PX
    problems = []
    if per_class < 1:
        problems.append(f"per_class must be at least 1, got {per_class}")
    if not low <= size_px <= high:
        problems.append(f"size_px must lie in [{low}, {high}], got {size_px}")
    if seed < 0:
        problems.append(f"seed must be at least 0, got {seed}")
    if jobs < 1:
        problems.append(f"jobs must be at least 1, got {jobs}")
    if problems:
        raise ConfigError("; ".join(problems))
