"""Files on their way: resumable at the byte, each piece on the disk before it is acknowledged.

What counts as received is the row; bytes in the part file beyond it were never acknowledged and are cut off.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from hemoscope.archives import TAR_SUFFIXES
from hemoscope.server.audit import audit
from hemoscope.server.clock import now
from hemoscope.server.disk import full_told, need_room, sync_folder
from hemoscope.server.problems import ApiError
from hemoscope.server.settings import Capacity
from hemoscope.server.store.slides import open_slide
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import EntryRow, FileRow, SlideRow, UploadRow

__all__ = ["Uploads"]

_PIECE = 8 << 20  # bytes between two acknowledgements that a broken connection can come back to
_ARCHIVES = (".zip", *TAR_SUFFIXES)


class Uploads:
    """The uploads of a store.

    Args:
        store: Rows.
        folder: Of the data; parts lie in `uploads` in it.
        capacity: What is refused.
        model: Digest of the model that is served; slides of others take no more files.

    Attributes:
        wake: Called when an upload is whole.
    """

    def __init__(self, store: Store, folder: Path, capacity: Capacity, model: str = "") -> None:
        self._store, self._folder, self._capacity = store, folder / "uploads", capacity
        self._model = model
        self.wake: Callable[[], object] = lambda: None
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writers: dict[str, object] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def path(self, upload: str, name: str) -> Path:
        """Return where an upload's bytes lie; an archive keeps its ending, by which it is read."""
        ending = next((e for e in _ARCHIVES if name.lower().endswith(e)), "")
        return self._folder / f"{upload}{ending}"

    def begin(self, slide: int, name: str, size: int, *, by: str, upload: str | None = None) -> UploadRow:
        """Take note of a file that is coming, or find it noted already under the name that the client gave it.

        Raises:
            ApiError: If it is too large, the slide is signed or full, too much waits already, or the name is
                another file's.
            DiskFullError: If the disk has no room for it.
        """
        most = self._capacity.upload_bytes
        if size > most:
            raise ApiError(
                413, "too_large", f"the file has {size:,} bytes; expected at most {most:,}. Send it in parts"
            )
        need_room(self._folder, size, spare=self._capacity.free_bytes)
        with self._store.write() as session:
            row = open_slide(session, slide)
            _refuse_read(session, row)
            if row.model != self._model:
                raise ApiError(
                    409,
                    "other_model",
                    "the slide was begun with another model than the one that is served now; begin another slide",
                )
            if upload is not None and (noted := session.get(UploadRow, upload)) is not None:
                return _same(noted, slide, name, size)
            self._refuse_many(session, slide)
            row = UploadRow(
                id=upload or secrets.token_hex(16),
                slide=slide,
                name=name,
                bytes=size,
                received=0,
                status="open" if size else "whole",
                created=now(),
            )
            with full_told():
                self.path(row.id, name).touch()
            session.add(row)
            audit(session, by, "sends", slide, upload=row.id, bytes=size)
        if not size:
            self.wake()
        return row

    def _refuse_many(self, session: Session, slide: int) -> None:
        waiting = session.scalar(select(func.count()).where(FileRow.status == "waiting")) or 0
        coming = session.scalar(select(func.count()).where(UploadRow.status.in_(("open", "whole")))) or 0
        if waiting > self._capacity.waiting_files or coming > self._capacity.open_uploads:
            raise ApiError(
                429,
                "queue_full",
                f"{waiting:,} images wait for the model and {coming:,} files are on their way; try again in a while",
                retry_s=10,
            )
        files = session.scalar(select(func.count()).where(FileRow.slide == slide)) or 0
        if files >= self._capacity.slide_files:
            raise ApiError(
                409,
                "slide_full",
                f"the slide has {files:,} files, as many as a slide may have; begin another",
            )

    def find(self, upload: str) -> UploadRow:
        """Return how far an upload has come.

        Raises:
            ApiError: If there is none.
        """
        with self._store.read() as session:
            row = session.get(UploadRow, upload)
        if row is None:
            raise ApiError(
                404, "no_upload", "there is no such upload; POST /slides/{slide}/uploads begins one"
            )
        return row

    async def receive(self, upload: str, offset: int, pieces: AsyncIterator[bytes]) -> UploadRow:
        """Take bytes from an offset on, until the client ends or goes away; what came whole stays.

        A second request for the same upload takes it over: the first one's connection is broken.

        Raises:
            ApiError: If the offset is not where the upload stands, more bytes come than were announced, or it was given up.
            DiskFullError: If the disk is full; what was acknowledged stays.
        """
        row = await run_in_threadpool(self.find, upload)
        if row.status != "open":
            return _whole(row)
        token = object()
        lock = self._locks.setdefault(upload, asyncio.Lock())
        self._writers[upload] = token
        try:
            async with lock:
                row = await run_in_threadpool(self.find, upload)
            if row.status != "open":
                return _whole(row)
            if offset != row.received:
                raise ApiError(
                    409,
                    "wrong_offset",
                    f"the upload stands at byte {row.received:,}; bytes from {offset:,} on came. Go on from there",
                    offset=row.received,
                )
            return await self._write(row, pieces, token, lock)
        finally:
            if self._writers.get(upload) is token:
                del self._writers[upload]
                self._locks.pop(upload, None)

    async def _write(
        self, row: UploadRow, pieces: AsyncIterator[bytes], token: object, lock: asyncio.Lock
    ) -> UploadRow:
        received, saved = row.received, row.received
        with full_told(), self.path(row.id, row.name).open("r+b") as file:
            file.truncate(received)
            file.seek(received)
            try:
                async for piece in pieces:
                    self._still(row.id, token)
                    if received + len(piece) > row.bytes:
                        raise ApiError(
                            413,
                            "too_many_bytes",
                            f"more came than the {row.bytes:,} bytes that were announced",
                        )
                    file.write(piece)
                    received += len(piece)
                    if received - saved >= _PIECE:
                        row = await self._save(row, received, file, token, lock)
                        saved = received
            except ClientDisconnect:
                pass  # what came is kept
            if received > saved:
                row = await self._save(row, received, file, token, lock)
        return row

    async def _save(
        self, row: UploadRow, received: int, file: BinaryIO, token: object, lock: asyncio.Lock
    ) -> UploadRow:
        async with lock:
            self._still(row.id, token)
            return await run_in_threadpool(self._acknowledge, row, received, file)

    def _still(self, upload: str, token: object) -> None:
        if self._writers.get(upload) is not token:
            raise ApiError(409, "taken_over", "another connection has gone on with this upload")

    def _acknowledge(self, row: UploadRow, received: int, file: BinaryIO) -> UploadRow:
        file.flush()
        os.fsync(file.fileno())
        if row.received == 0:
            sync_folder(self._folder)
        whole = received == row.bytes
        with self._store.write() as session:
            if whole:  # signing and the last byte must not miss each other
                _refuse_read(session, open_slide(session, row.slide))
            found = session.get_one(UploadRow, row.id)
            if found.status != "open":
                raise _given_up()
            found.received = received
            if whole:
                found.status = "whole"
        if whole:
            self.wake()
        return found


def _same(noted: UploadRow, slide: int, name: str, size: int) -> UploadRow:
    if (noted.slide, noted.name, noted.bytes) != (slide, name, size):
        raise ApiError(409, "other_file", "this name of an upload is another file's; draw another at random")
    return noted


def _whole(row: UploadRow) -> UploadRow:
    """Return an upload that has come whole."""
    if row.status == "dropped":
        raise _given_up()
    return row


def _given_up() -> ApiError:
    return ApiError(
        409,
        "dropped",
        "the file was given up before it had come whole, and the slide takes no more files now",
    )


def _refuse_read(session: Session, row: SlideRow) -> None:
    """Refuse more cells where two readers have begun: both read the same ones, a sample of those there were."""
    if row.readings == 2 and session.scalar(select(EntryRow.seq).where(EntryRow.slide == row.id).limit(1)):
        raise ApiError(
            409,
            "being_read",
            "two readers have begun on the cells there are; begin another slide for more",
        )
