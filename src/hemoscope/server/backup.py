"""Everything of a store in one zip, and back: rows as JSON lines, images by their digest.

A backup can be made while the server runs: rows are read as of one moment, and an image lies on the disk before its row
does. It can be restored into the other kind of store.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Table, func, insert, select, text

from hemoscope.archives import damage_told
from hemoscope.errors import DataError, StoreError
from hemoscope.files import atomic_path, lock_folder, refuse_existing
from hemoscope.progress import Progress
from hemoscope.server.disk import full_told, write_synced
from hemoscope.server.pictures import Pictures
from hemoscope.server.settings import Capacity
from hemoscope.server.store.migrate import migrate
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import Base, FileRow, UploadRow
from hemoscope.server.uploads import Uploads

__all__ = ["backup", "restore"]

_ABOUT = "hemoscope-backup.json"
_ROWS_AT_ONCE = 500
_TRIES = 5  # an upload can be unpacked and gone between its row and its bytes; then rows are read again
_COUNTED = ("slides", "files", "audit")
_LEFT_OUT = ("sessions", "folder")  # browsers sign in again, and what is restored lies in a folder of its own


class _GoneError(Exception):
    """An upload's bytes were taken in while the backup was made."""


def backup(
    store: Store, data: Path, out: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> int:
    """Write rows, images and unfinished uploads into one zip; return how many images.

    Raises:
        DataError: If `out` is there already, or an image that a row names is missing.
        StoreError: If the store does not answer.
    """
    refuse_existing(out, overwrite=overwrite)
    for attempt in range(_TRIES):
        try:
            with (
                full_told(),
                atomic_path(out) as part,
                zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                return _write(store, data, archive, progress)
        except _GoneError:
            if attempt == _TRIES - 1:
                raise StoreError(
                    "uploads come in faster than they can be saved; try again in a quiet minute"
                ) from None
    raise AssertionError


def _write(store: Store, data: Path, archive: zipfile.ZipFile, progress: Progress | None) -> int:
    uploads = Uploads(store, data, Capacity())
    counts: dict[str, int] = {}
    with store.read() as session:
        about = {
            "format": 1,
            "tables": MigrationContext.configure(session.connection()).get_current_revision(),
        }
        for table in Base.metadata.sorted_tables:
            if table.name in _LEFT_OUT:
                continue
            rows = select(table).execution_options(yield_per=_ROWS_AT_ONCE)
            # Its length is not known before, and can be beyond what a zip of old tells.
            with archive.open(f"rows/{table.name}.jsonl", "w", force_zip64=True) as file:
                counts[table.name] = 0
                for row in session.execute(rows).mappings():
                    file.write(json.dumps({k: _plain(v) for k, v in row.items()}).encode() + b"\n")
                    counts[table.name] += 1
        digests = session.scalars(select(FileRow.digest).where(FileRow.digest != "").distinct()).all()
        coming = session.scalars(select(UploadRow).where(UploadRow.status.in_(("open", "whole")))).all()
    for upload in coming:
        try:
            with uploads.path(upload.id, upload.name).open("rb") as file:
                archive.writestr(f"uploads/{upload.id}", file.read(upload.received))
        except FileNotFoundError:
            raise _GoneError from None
    pictures = Pictures(data)
    for n, digest in enumerate(digests, start=1):
        path = pictures.path(digest)
        if not path.is_file():
            raise DataError(
                f"the image {digest} is missing in {data}; name the folder that belongs to the store"
            )
        archive.write(path, f"images/{digest}", zipfile.ZIP_STORED)
        if progress:
            progress("images", n, len(digests))
    for path in sorted((data / "signed").glob("*.json")):
        archive.write(path, f"signed/{path.name}")
    archive.writestr(_ABOUT, json.dumps({**about, "rows": counts, "images": len(digests)}))
    return len(digests)


def restore(store: Store, data: Path, archive_file: Path, *, progress: Progress | None = None) -> int:
    """Bring a backup into an empty store and an absent or empty folder; return how many images.

    Raises:
        DataError: If store or folder hold something, or the backup is damaged.
        StoreError: If the store does not answer, or the backup is from a newer version.
    """
    data.mkdir(parents=True, exist_ok=True)
    with lock_folder(data), damage_told(archive_file.name), zipfile.ZipFile(archive_file) as archive:
        try:
            about = json.loads(archive.read(_ABOUT))
        except KeyError:
            raise DataError(f"{archive_file} is no backup of a review store, or is cut short") from None
        migrate(store)
        _refuse_full(store, data, about)
        pictures, n = Pictures(data), 0
        names = [name for name in archive.namelist() if name.startswith("images/")]
        for name in names:
            if pictures.put(archive.read(name)) != name.removeprefix("images/"):
                raise DataError(
                    f"{name} in {archive_file} is not the image it is named after; get the backup again"
                )
            n += 1
            if progress:
                progress("images", n, len(names))
        _restore_files(store, data, archive)
        with store.write() as session:
            for table in Base.metadata.sorted_tables:
                if f"rows/{table.name}.jsonl" in archive.namelist():
                    with archive.open(f"rows/{table.name}.jsonl") as lines:
                        for rows in _batches(table, lines):
                            session.execute(insert(table), rows)
            if not store.is_sqlite:
                for name in _COUNTED:
                    session.execute(
                        text(
                            f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), "  # noqa: S608  names of ours
                            f"(SELECT COALESCE(MAX(id), 0) + 1 FROM {name}), false)"
                        )
                    )
    return n


def _refuse_full(store: Store, data: Path, about: dict[str, Any]) -> None:
    with store.read() as session:
        version = MigrationContext.configure(session.connection()).get_current_revision()
        if about["tables"] != version:
            raise StoreError(
                f"the backup has tables of version {about['tables']}, this hemoscope those of {version}; restore it with the "
                "version that made it, and start the new one on it"
            )
        full = [
            t.name for t in Base.metadata.sorted_tables if session.scalar(select(func.count()).select_from(t))
        ]
    full += [name for name in ("images", "uploads", "signed") if any((data / name).glob("*"))]
    if full:
        raise DataError(
            f"expected an empty store and folder to restore into; there are {', '.join(full)}. Nothing was changed; name "
            "another --store or --data-folder"
        )


def _restore_files(store: Store, data: Path, archive: zipfile.ZipFile) -> None:
    uploads = Uploads(store, data, Capacity())
    names = {
        row["id"]: row["name"] for row in map(json.loads, archive.read("rows/uploads.jsonl").splitlines())
    }
    (data / "signed").mkdir(exist_ok=True)
    for name in archive.namelist():
        kind, _, file = name.partition("/")
        if kind == "uploads" and file in names:
            write_synced(uploads.path(file, names[file]), archive.read(name))
        elif kind == "signed" and Path(file).name == file:
            write_synced(data / "signed" / file, archive.read(name))


def _batches(table: Table, lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    binary = {c.name for c in table.columns if c.type.python_type is bytes}
    for line in lines:
        row = json.loads(line)
        batch.append({k: base64.b64decode(v) if k in binary else v for k, v in row.items()})
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
