"""A store and the data folder of its images know each other by an id that both hold.

With another folder every image would seem damaged, and be rejected for ever.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.errors import StoreError
from hemoscope.files import write_text
from hemoscope.server.disk import full_told, sync_folder
from hemoscope.server.pictures import Pictures
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FileRow, FolderRow

__all__ = ["bind"]

_LOOKED_AT = 20  # of a store's images, where it does not know its folder yet


def bind(store: Store, data: Path) -> None:
    """Refuse a store whose images lie in another folder; the first time both are given the same id.

    Raises:
        StoreError: If so, or if the store does not answer.
    """
    path = data / "id"
    with store.write() as session:
        of_store = session.scalar(select(FolderRow.id))
        of_folder = path.read_text("utf-8").strip() if path.is_file() else ""
        if of_store is None and _has_images(session, data):
            if not of_folder:  # the file first: a folder that has one can still be given to a store without
                of_folder = secrets.token_hex(16)
                with full_told():
                    write_text(path, of_folder + "\n")
                    sync_folder(data)
            session.add(FolderRow(id=of_folder))
        elif of_store != of_folder:
            raise StoreError(
                f"the images of the store lie in another data folder than {data}; name that one as --data-folder, or "
                "another --store"
            )


def _has_images(session: Session, data: Path) -> bool:
    """Whether the store's latest images are here, or it has none."""
    digests = session.scalars(
        select(FileRow.digest).where(FileRow.digest != "").order_by(FileRow.id.desc()).limit(_LOOKED_AT)
    ).all()
    pictures = Pictures(data)
    return not digests or any(pictures.path(digest).is_file() for digest in digests)
