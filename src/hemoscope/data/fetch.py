"""Bring a published data set here: resumed, verified, unpacked, and in place in one step.

Until all is verified it lives in a hidden folder beside its place, and the next call goes on from
there. This module never replaces or removes a file that it did not write itself.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hemoscope.data.archive import unpack
from hemoscope.data.catalog import DataSource, data_source
from hemoscope.data.verify import check_digest, check_images, class_root, is_here
from hemoscope.errors import ConfigError, DataError, FetchError
from hemoscope.progress import Progress
from hemoscope.transfer import Download, TransferPolicy

__all__ = ["TransferPolicy", "fetch"]

_LOCK = ".lock"


def fetch(
    name: str,
    to: Path,
    *,
    source: DataSource | None = None,
    progress: Progress | None = None,
    policy: TransferPolicy | None = None,
) -> Path:
    """Return the place of a data set below `to`, fetching what is not there yet.

    A data set in its place is verified and left alone. An archive of the published name in `to` is
    used rather than downloaded, and stays there.

    Args:
        name: A name of the catalog.
        to: Folder for data sets.
        source: Another source than the catalog's, of the same name.
        progress: Called with what is done, bytes done, and bytes in all.
        policy: Tries and time-outs.

    Returns:
        The folder of class folders `to/NAME`, or the file `to/NAME.npz`.

    Raises:
        UnknownNameError: If there is no such data set.
        FetchError: If it cannot be had or is not what the source says; the message says what to do.
    """
    source = source or data_source(name)
    if source.name != name:
        raise ConfigError(
            f"the data source of {source.name!r} was given for {name!r}; expected the same name"
        )
    place = to / (source.filename if source.form == "npz" else source.name)
    job = _Job(source, to, to / f".fetch-{source.name}", progress, policy or TransferPolicy())
    try:
        if is_here(place, source):
            return place
        with _held(job.staging):
            if not is_here(place, source):  # another process may have brought it meanwhile
                _bring(job, place)
            _tidy(job.staging, keep=())
    except OSError as error:
        raise FetchError(
            f"{source.name} cannot be written below {to}: {error}. What came is kept; "
            "make room or choose another folder, then run the same command again"
        ) from error
    with suppress(OSError):
        (job.staging / _LOCK).unlink(missing_ok=True)
        job.staging.rmdir()
    return place


@dataclass(frozen=True, slots=True)
class _Job:
    """One call of `fetch`."""

    source: DataSource
    to: Path
    staging: Path
    progress: Progress | None
    policy: TransferPolicy


def _bring(job: _Job, place: Path) -> None:
    source, staging = job.source, job.staging
    part = f"{source.filename}.part"
    _tidy(staging, keep=(part, f"{part}.json", source.filename))
    if source.form == "npz":
        _download(job).replace(place)
        return
    by_hand = _placed_by_hand(job)
    archive = by_hand or _download(job)
    try:
        unpack(archive, staging / "unpacked")
        root = class_root(staging / "unpacked", source)
        check_images(root, source)
    except DataError as error:
        if by_hand:
            what = f"{by_hand} is not what was expected. Move it away, then run the same command again"
        else:
            archive.unlink()
            what = f"The download was not what was expected and is removed. {_advice(job)}"
        raise FetchError(f"{source.name}: {error}. {what}") from error
    root.replace(place)


def _download(job: _Job) -> Path:
    """Return the archive as published, from the first URL that gives it."""
    import pooch

    source, failures = job.source, []
    download = Download(job.staging / f"{source.filename}.part", policy=job.policy, progress=job.progress)
    for url in source.urls:
        try:
            # pooch's own type for downloaders differs from how it calls and documents them.
            with _quiet(pooch.get_logger()):
                path = pooch.retrieve(
                    url,
                    source.digest,
                    fname=source.filename,
                    path=job.staging,
                    downloader=download,  # pyright: ignore[reportArgumentType]
                )
            return Path(path)
        except (FetchError, ValueError) as error:  # pooch raises ValueError for another digest
            failures.append(str(error))
    raise FetchError("\n".join([f"{source.name} could not be fetched.", *failures, _advice(job)]))


def _advice(job: _Job) -> str:
    return (
        f"Run the same command again; or download {job.source.filename} by hand from {job.source.page}, "
        f"put it into {job.to}, and run the same command: it is verified and used"
    )


def _placed_by_hand(job: _Job) -> Path | None:
    source = job.source
    for path in (job.to / name for name in (source.filename, *source.also_named)):
        if path.is_file():
            if path.name == source.filename:
                check_digest(path, source)
            return path
    return None


def _tidy(staging: Path, *, keep: tuple[str, ...]) -> None:
    """Remove what a killed call left, but for what the next one goes on from."""
    for path in staging.iterdir():
        if path.name in {*keep, _LOCK}:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _held(staging: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    staging.mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FetchError(
            f"another process is fetching into {staging.parent}; wait for it or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's own lines off the terminal while it works."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
