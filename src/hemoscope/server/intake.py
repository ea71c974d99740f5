"""Uploads that have come whole become files that wait for the model; archives are opened here, within limits.

Done again after a kill, it goes on where it stopped: an image lies on the disk before its row, and the rows of an
upload are numbered. An upload that fails as nobody foresaw is one rejected file, and those behind it go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.archives import Limits, is_archive
from hemoscope.encoding import to_text
from hemoscope.errors import DataError, HemoscopeError, ImageError
from hemoscope.predict.inputs import archived_images
from hemoscope.server.events import Events
from hemoscope.server.pictures import Pictures
from hemoscope.server.settings import Capacity
from hemoscope.server.store.slides import progress_of
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FileRow, UploadRow
from hemoscope.server.uploads import Uploads

__all__ = ["Intake"]

AT_ONCE = 32  # files in one transaction
BYTES_AT_ONCE = 64 << 20  # of its files in memory; the last may go beyond it
PAUSE_S = 1.0  # between two looks where nobody wakes it, and after a store that did not answer
_Item = tuple[str, bytes | ImageError]
_log = logging.getLogger("hemoscope.server")


class Intake:
    """One thread that takes uploads in, oldest first.

    Args:
        store: Rows.
        uploads: Where their bytes lie.
        pictures: Where images go.
        events: Told of progress.
        capacity: How much an archive and a slide may hold, and how much may wait.
        wake_worker: Called when images wait.
    """

    def __init__(
        self,
        store: Store,
        uploads: Uploads,
        pictures: Pictures,
        events: Events,
        capacity: Capacity,
        *,
        wake_worker: Callable[[], None],
    ) -> None:
        self._store, self._uploads, self._pictures, self._events = store, uploads, pictures, events
        self._capacity, self._wake_worker = capacity, wake_worker
        self._limits = Limits(entries=100_000, total_bytes=capacity.unpacked_bytes)
        self.called = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        self._thread.start()

    def stop(self) -> None:
        """End after the files in hand."""
        self._stop.set()
        self.called.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._round():
                    self.called.wait(PAUSE_S)
                self.called.clear()
            except (
                HemoscopeError,
                OSError,
            ) as error:  # a full disk, a store that is away: nothing is lost by waiting
                _log.warning("intake waits: %s", type(error).__name__)
                self._stop.wait(PAUSE_S)
            except Exception:  # noqa: BLE001  the thread must not end; the log has it
                _log.exception("intake")
                self._stop.wait(PAUSE_S)

    def _round(self) -> bool:
        """Take in the uploads that are whole; whether there were any."""
        with self._store.read() as session:
            whole = session.scalars(
                select(UploadRow)
                .where(UploadRow.status == "whole")
                .order_by(UploadRow.created, UploadRow.id)
                .limit(AT_ONCE)
            ).all()
        for upload in whole:
            if self._stop.is_set():
                break
            self._take(upload)
        return bool(whole)

    def _take(self, upload: UploadRow) -> None:
        try:
            self._take_in(upload)
        except (HemoscopeError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  one upload must not stop the others
            _log.exception("an upload cannot be taken in")
            told = ImageError(
                f"the server could not take it in ({type(error).__name__}); its log has the reason"
            )
            self._save(upload, self._begun(upload), [(upload.name, told)], last=True)
            self._uploads.path(upload.id, upload.name).unlink(missing_ok=True)

    def _begun(self, upload: UploadRow) -> int:
        """Return how many files of an upload have been taken in."""
        with self._store.read() as session:
            return session.scalar(select(func.count()).where(FileRow.upload == upload.id)) or 0

    def _take_in(self, upload: UploadRow) -> None:
        path = self._uploads.path(upload.id, upload.name)
        begun = self._begun(upload)
        batch: list[_Item] = []
        position = begun
        for n, item in enumerate(_items(path, upload.name, self._limits)):
            if n < begun:
                continue
            batch.append(item)
            if _is_full(batch):
                self._save(upload, position, batch)
                position += len(batch)
                batch = []
                self._wait_for_room()
                if self._stop.is_set():
                    return
        self._save(upload, position, batch, last=True)
        path.unlink(missing_ok=True)

    def _wait_for_room(self) -> None:
        while not self._stop.is_set():
            with self._store.read() as session:
                waiting = session.scalar(select(func.count()).where(FileRow.status == "waiting")) or 0
            if waiting < self._capacity.waiting_files:
                return
            self._stop.wait(PAUSE_S)

    def _save(self, upload: UploadRow, position: int, batch: list[_Item], *, last: bool = False) -> None:
        kept = [(name, self._kept(source)) for name, source in batch]
        with self._store.write() as session:
            for n, (name, found) in enumerate(kept):
                session.add(self._row(session, upload, position + n, name, found))
                session.flush()
            if last:
                session.get_one(UploadRow, upload.id).status = "done"
            news = progress_of(session, upload.slide)
        self._events.tell(upload.slide, "progress", news)
        self._wake_worker()

    def _kept(self, source: bytes | ImageError) -> str | ImageError:
        if isinstance(source, ImageError):
            return source
        return self._pictures.put(source) if source else ImageError("the file is empty; expected an image")

    def _row(
        self, session: Session, upload: UploadRow, position: int, name: str, found: str | ImageError
    ) -> FileRow:
        row = FileRow(
            slide=upload.slide,
            upload=upload.id,
            position=position,
            name=_stored(name)[-1000:],
            digest="",
            status="rejected",
        )
        files = session.scalar(select(func.count()).where(FileRow.slide == upload.slide)) or 0
        if isinstance(found, ImageError):
            row.reason = _stored(str(found))
        elif files >= self._capacity.slide_files:
            row.reason = f"a slide takes at most {self._capacity.slide_files:,} files; begin another"
        elif twin := session.scalar(
            select(FileRow.name).where(
                FileRow.slide == upload.slide,
                FileRow.digest == found,
                FileRow.status.in_(("waiting", "cell")),
            )
        ):
            row.status, row.reason = "twin", f"the same image as {twin}, which is counted once"
        else:
            row.digest, row.status = found, "waiting"
        return row


def _is_full(batch: list[_Item]) -> bool:
    return len(batch) == AT_ONCE or sum(len(s) for _, s in batch if isinstance(s, bytes)) >= BYTES_AT_ONCE


def _stored(text: str) -> str:
    """Return a text that every store holds: names in archives are bytes of any kind, and reasons quote them."""
    return to_text(text).replace("\0", "")


def _items(path: Path, name: str, limits: Limits) -> Iterator[_Item]:
    """Yield the images of an upload, one or those of an archive; damage to the archive comes last."""
    try:
        if not is_archive(name):
            yield name, path.read_bytes()
            return
        empty = True
        for found, source in archived_images(path, limits=limits):
            empty = False
            yield found, source if isinstance(source, (bytes, ImageError)) else source.read_bytes()
        if empty:
            yield name, ImageError("there is no image in it")
    except DataError as error:
        # The reader names the file on the disk, which is called otherwise.
        yield name, ImageError(str(error).replace(path.name, "the archive"))
