"""Run folders behind a URL, such as s3://bucket/runs: worked on in a local copy, kept there checkpoint by checkpoint.

An object store knows neither locks nor atomic renames of folders. What it gives is enough: an object appears whole,
and a listing shows what was written before it. So a run is claimed by an object of one's own beside it, written first
and looked at afterwards: of two that claim at once at least one sees the other, and who sees another steps back.
A claim is alive while it changes, by the watch of whoever waits; no clock is ever compared with another.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hemoscope.errors import ConfigError, RunError
from hemoscope.places import cache_dir, is_url
from hemoscope.progress import Progress
from hemoscope.runs import CARD, DONE, EpochRow, Run
from hemoscope.training.checkpoint import FILE as CHECKPOINT
from hemoscope.training.checkpoint import Pace
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, job_name, run_job

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["RunStore", "runs_at", "train_stored"]

BEAT_S = 5.0  # between two signs of life
STALE_S = 60.0  # without one, a claim is a dead process'
CLAIMS = ".claims"
SPLITS = "splits"
PARTS = ".parts"  # what is on its way, each in one piece of its own
PATIENCE_S = 600.0  # that a finished run waits for a storage that does not answer


class RunStore:
    """A folder of run folders behind a URL that pyarrow knows: s3, gs, abfss, hdfs, and file.

    Attributes:
        url: Of the folder.
        local: Where the working copies of this machine lie.
    """

    def __init__(self, url: str, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        """Look at the URL; nothing is asked of the storage yet.

        Args:
            url: Of the folder of run folders.
            beat_s: Seconds between two signs of life of a process that holds a run.
            stale_s: Seconds without one after which its claim counts for nothing.

        Raises:
            ConfigError: If it names no storage that pyarrow knows.
        """
        self.url, self._beat_s, self._stale_s = url, beat_s, stale_s
        self.local = cache_dir() / "runs" / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._connect()

    def __reduce__(self):
        # The cache folder and the credentials are those of the machine it comes to.
        return _store, (self.url, self._beat_s, self._stale_s)

    def _connect(self) -> None:
        from pyarrow.fs import FileSystem

        try:
            self._fs, root = FileSystem.from_uri(self.url)
        except (ValueError, ImportError, OSError) as error:  # pyarrow's are ValueErrors
            raise ConfigError(
                f"{self.url}: expected a storage such as s3://bucket/runs, gs://bucket/runs or a path; {error}"
            ) from error
        self._root = root.rstrip("/")

    @property
    def fs(self) -> FileSystem:
        """The storage, as pyarrow sees it."""
        return self._fs

    def is_done(self, name: str) -> bool:
        """Whether the storage holds a finished run of that name."""
        from pyarrow.fs import FileType

        return self._fs.get_file_info(f"{self._root}/{name}/{DONE}").type == FileType.File

    def pull(self, name: str) -> bool:
        """Bring the working copy of a run to what the storage holds; where it holds nothing, leave it alone.

        Returns:
            Whether it held anything.
        """
        found = self._files(name)
        if found:
            self._fetch(name, found, self.local / name)
        return bool(found)

    def _fetch(self, name: str, found: Mapping[str, int], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.is_file() and file.name not in found and file.name != ".lock":
                file.unlink()
        for file in sorted(found, key=lambda file: file == DONE):  # last, as it was written
            part = folder / f".{file}.{uuid.uuid4().hex}.part"
            with self._fs.open_input_stream(f"{self._root}/{name}/{file}") as source, part.open("wb") as to:
                shutil.copyfileobj(source, to, 2**20)
                to.flush()
                os.fsync(to.fileno())
            os.utime(part, ns=(found[file], found[file]))
            part.replace(folder / file)

    def bring_all(self) -> Path:
        """Return a copy of what the storage holds: its finished runs, no others, and the splits they were trained on.

        It is a copy to read, apart from those that this machine works on.

        Raises:
            RunError: If the storage cannot be read or holds no finished run.
        """
        from pyarrow.fs import FileSelector, FileType

        copy = self.local.with_name(f"{self.local.name}-read")
        try:
            found = self._fs.get_file_info(FileSelector(self._root))
            done = [info.base_name for info in found if info.type == FileType.Directory]
            done = [name for name in done if self.is_done(name)]
            for name in (*done, SPLITS):
                self._bring(name, copy / name)
        except OSError as error:
            raise RunError(f"{self.url} cannot be read: {error}") from error
        if not done:
            raise RunError(f"expected finished runs in {self.url}; there are none")
        for card in copy.glob(f"*/{CARD}"):  # what has none is no run, such as the curves of `track`
            if card.parent.name not in done:
                shutil.rmtree(card.parent)
        return copy

    def _bring(self, name: str, folder: Path) -> None:
        """Bring a folder of the copy to what the storage holds, if a file of it is of another time."""
        found = self._files(name)
        here = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} if folder.is_dir() else {}
        if here != found:
            self._fetch(name, found, folder)

    def push(self, name: str) -> None:
        """Keep the files of a working copy, DONE last; where it is there, what only training needed goes.

        Args:
            name: Of the run.

        Raises:
            OSError: If the storage does not take them.
        """
        folder = self.local / name
        here = {file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")}
        for file in sorted(here, key=lambda file: file == DONE):
            self._put(folder / file, f"{name}/{file}")
        if DONE in here:
            for file in self._files(name).keys() - here:
                self._fs.delete_file(f"{self._root}/{name}/{file}")

    def push_split(self, file: Path) -> None:
        """Keep the split that runs were trained on."""
        place = f"{SPLITS}/{file.name}"
        from pyarrow.fs import FileType

        if self._fs.get_file_info(f"{self._root}/{place}").type == FileType.NotFound:
            self._put(file, place)

    @contextmanager
    def held(self, name: str) -> Iterator[Claim]:
        """Hold a run for this process, after whoever else holds it."""
        folder = f"{self._root}/{name}/{CLAIMS}"
        claim = Claim(self._fs, folder, beat_s=self._beat_s, stale_s=self._stale_s)
        claim.take()
        try:
            yield claim
        finally:
            claim.free()

    def _put(self, file: Path, place: str) -> None:
        # Under another name first: a stream that breaks may leave a short object, and a move leaves a whole one.
        part = f"{self._root}/{PARTS}/{uuid.uuid4().hex}"
        target = f"{self._root}/{place}"
        self._fs.create_dir(f"{self._root}/{PARTS}")
        self._fs.create_dir(target.rpartition("/")[0])
        try:
            with file.open("rb") as source, self._fs.open_output_stream(part) as to:
                shutil.copyfileobj(source, to, 2**22)
            self._fs.move(part, target)
        except BaseException:
            with suppress(OSError):
                self._fs.delete_file(part)
            raise

    def _files(self, name: str) -> dict[str, int]:
        """Return the files of a run, with the time each was written, in ns."""
        from pyarrow.fs import FileSelector, FileType

        found = self._fs.get_file_info(FileSelector(f"{self._root}/{name}", allow_not_found=True))
        return {info.base_name: info.mtime_ns or 0 for info in found if info.type == FileType.File}


def runs_at(place: str | PathLike[str]) -> Path:
    """Return a folder of run folders; of a URL, a copy of all that is finished there, with the splits.

    Raises:
        ConfigError: If the URL names no storage that pyarrow knows.
        RunError: If it cannot be read or holds no finished run.
    """
    return RunStore(str(place)).bring_all() if is_url(str(place)) else Path(place)


def _store(url: str, beat_s: float, stale_s: float) -> RunStore:
    return RunStore(url, beat_s=beat_s, stale_s=stale_s)


class Claim:
    """One process' hold on a run.

    Attributes:
        lost: Set once another process has taken the run over, or the storage has not heard of us for too long.
    """

    def __init__(self, fs: FileSystem, folder: str, *, beat_s: float, stale_s: float) -> None:
        self._fs, self._folder = fs, folder
        self._beat_s, self._stale_s = beat_s, stale_s
        self._token = uuid.uuid4().hex
        self._beats = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.lost = threading.Event()

    def take(self) -> None:
        """Wait until nobody else holds the run, and hold it.

        Raises:
            OSError: If the storage does not answer for ten minutes.
        """
        watched: dict[str, tuple[object, float]] = {}  # the last sign of life of others, and since when
        answered = time.monotonic()
        while True:
            try:
                if not self._others_live(watched):
                    self._say()
                    if not self._others_live(watched):
                        break
                    self._forget(self._token)
                answered = time.monotonic()
            except OSError:
                if time.monotonic() - answered > PATIENCE_S:
                    raise
            time.sleep(self._beat_s * random.uniform(0.2, 1.0))
        for token in watched:
            self._forget(token)
        self._thread.start()

    def check(self) -> None:
        """Refuse to write on where the run is no longer ours.

        Raises:
            RunError: If so.
        """
        if self.lost.is_set():
            raise RunError(
                f"{self._folder.rpartition('/')[0]} was taken over by another process, because the storage had not "
                f"heard of this one for {self._stale_s:.0f} s; it goes on there"
            )

    def free(self) -> None:
        """Let go of the run."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._forget(self._token)

    def _others_live(self, watched: dict[str, tuple[object, float]]) -> bool:
        """Whether anybody else has given a sign of life within the time; one that is new to us counts."""
        from pyarrow.fs import FileSelector, FileType

        now = time.monotonic()
        found = self._fs.get_file_info(FileSelector(self._folder, allow_not_found=True))
        signs = {
            info.base_name: (info.size, info.mtime_ns)
            for info in found
            if info.type == FileType.File and info.base_name != self._token
        }
        for token in watched.keys() - signs.keys():
            del watched[token]
        for token, sign in signs.items():
            if token not in watched or watched[token][0] != sign:
                watched[token] = sign, now
        return any(now - since < self._stale_s for _, since in watched.values())

    def _say(self) -> None:
        """Give a sign of life: an object of another size, which a listing shows."""
        self._fs.create_dir(self._folder)
        with self._fs.open_output_stream(f"{self._folder}/{self._token}") as file:
            file.write(b"." * (1 + self._beats % 100))
        self._beats += 1

    def _forget(self, token: str) -> None:
        with suppress(OSError):
            self._fs.delete_file(f"{self._folder}/{token}")

    def _live(self) -> None:
        from pyarrow.fs import FileType

        heard = time.monotonic()
        while not self._stop.wait(self._beat_s):
            with suppress(OSError):  # it may answer again
                if self._fs.get_file_info(f"{self._folder}/{self._token}").type != FileType.File:
                    self.lost.set()
                    return
                self._say()
                heard = time.monotonic()
            if time.monotonic() - heard > self._stale_s / 2:
                self.lost.set()
                return


class _Keeping(Watcher):
    """Keeps every checkpoint that training saves, as often as it costs little; passes on what it hears."""

    def __init__(self, watcher: Watcher, store: RunStore, name: str, claim: Claim) -> None:
        self._watcher, self._store, self._name, self._claim = watcher, store, name, claim
        self._pace, self._kept = Pace(), 0

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Pass it on."""
        self._watcher.on_step(epoch, step, steps)

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Keep the checkpoint, if there is a new one."""
        self._watcher.on_epoch(row, epochs)
        self._claim.check()
        checkpoint = self._store.local / self._name / CHECKPOINT
        start = time.perf_counter()
        saved = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        if saved != self._kept and row.epoch < epochs and self._pace.due(start):
            with suppress(OSError):  # training goes on; what the storage lacks then is done again at worst
                self._store.push(self._name)
                self._kept = saved
            self._pace.saved(start, time.perf_counter())


def train_stored(
    arch: str,
    recipe: Recipe,
    prepared: Prepared,
    *,
    store: RunStore,
    seed: int,
    device_name: str,
    watcher: Watcher,
    progress: Progress | None,
    command: str,
) -> Run:
    """Do one job in a working copy, go on with it from where any machine left it, or fetch the finished run.

    Raises:
        HemoscopeError: Whatever stopped it.
        OSError: If the storage cannot be read, or does not take the finished run for ten minutes; the run is
            whole in the working copy then, and the same command brings it there.
    """
    name = job_name(arch, recipe, prepared, seed=seed, device_name=device_name)
    if not store.is_done(name):
        with store.held(name) as claim:
            if not store.is_done(name):  # by whoever held it until now
                if not (store.local / name / DONE).is_file():
                    store.pull(name)
                run = run_job(
                    arch,
                    recipe,
                    prepared,
                    seed=seed,
                    out=store.local,
                    device_name=device_name,
                    watcher=_Keeping(watcher, store, name, claim),
                    progress=progress,
                    command=command,
                    wait=True,
                )
                _bring(store, run, claim)
                return run
    if not (store.local / name / DONE).is_file():
        store.pull(name)
    return Run.open(store.local / name)


def _bring(store: RunStore, run: Run, claim: Claim) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        claim.check()
        try:
            for file in (store.local / "splits").glob(f"{run.card['split']['digest'][:16]}.csv"):
                store.push_split(file)
            store.push(run.name)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(BEAT_S)
        else:
            return
