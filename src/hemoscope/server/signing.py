"""Signing and revising: a signed revision never changes, and lies in a file of its own beside the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.encoding import jsonable
from hemoscope.errors import DataError
from hemoscope.files import write_json
from hemoscope.review import signing
from hemoscope.server.audit import audit
from hemoscope.server.clock import now
from hemoscope.server.counts import count_json, errors_of
from hemoscope.server.disk import full_told, sync_folder
from hemoscope.server.folds import Read, entries_of
from hemoscope.server.problems import ApiError
from hemoscope.server.shapes import Revise, Sign
from hemoscope.server.site import Site
from hemoscope.server.store.cells import cell_json
from hemoscope.server.store.slides import coming_of, held_slide, open_slide, refuse_other_revision
from hemoscope.server.store.tables import ModelRow, SignatureRow, SlideRow, UploadRow

__all__ = ["revise", "sign"]


def sign(site: Site, slide: int, asked: Sign, *, user: str) -> dict[str, Any]:
    """Sign a slide and lock it; return the signature.

    Raises:
        ApiError: If it is signed, there is more than was seen, files are still on their way to it or to the model, or
            cells are open and no reason is given.
    """
    with site.store.write() as session:
        row = open_slide(session, slide)
        _refuse_unseen(row, asked)
        _refuse_coming(session, slide)
        given_up = _begun_uploads(session, slide)
        if given_up and not asked.without_files:
            raise ApiError(
                409,
                "still_sending",
                f"{len(given_up)} files were begun and have not come whole; sign when they are there, or without them",
                sending=len(given_up),
            )
        read = site.readings.folds.final(session, row)
        entries = entries_of(session, slide, row.revision)
        try:
            signature = signing.sign(
                read.state, entries, name=asked.name, at=now(), revision=row.revision, reason=asked.reason
            )
        except DataError as error:
            raise ApiError(409, "not_signed", str(error), open=len(read.state.open)) from error
        shown = {**asdict(signature), "user": user}
        record = {
            "signature": shown,
            "differential": count_json(site.readings.counts.of(session, read)),
            "reference": site.readings.counts.reference.model_dump(mode="json"),
            "codes": site.codes.model_dump(mode="json"),
            "cells": row.cells,
            "errors": errors_of(session, slide),
        }
        for upload in given_up:
            upload.status = "dropped"
        row.status = "signed"
        session.add(
            SignatureRow(
                slide=slide,
                revision=row.revision,
                name=signature.name,
                at=signature.at,
                reason=signature.reason,
                log_digest=signature.log,
                signed=record,
            )
        )
        audit(
            session,
            user,
            "signed",
            slide,
            revision=row.revision,
            name=signature.name,
            reason=signature.reason,
        )
        session.flush()
        facts = session.get_one(ModelRow, row.model).facts
        log = [entry.model_dump(mode="json") for entry in entries]
        _keep_file(site.settings.data / "signed", row, read, {**record, "model": facts, "log": log})
    for upload in given_up:
        site.uploads.path(upload.id, upload.name).unlink(missing_ok=True)
    site.events.tell(slide, "signed", shown)
    return shown


def revise(site: Site, slide: int, asked: Revise, *, user: str) -> None:
    """Open a signed slide again as its next revision, with the places it was signed with.

    Raises:
        ApiError: If there is none, it is not signed, or another revision of it is.
    """
    with site.store.write() as session:
        row = held_slide(session, slide)
        if row.status != "signed":
            raise ApiError(409, "not_signed", f"slide {slide} is not signed, and can be changed as it is")
        refuse_other_revision(row, asked.revision)
        row.status, row.revision, row.seq = "open", row.revision + 1, 0
        audit(session, user, "revised", slide, revision=row.revision, reason=asked.reason)
        revision = row.revision
    site.events.tell(slide, "revised", {"revision": revision})


def _refuse_unseen(row: SlideRow, asked: Sign) -> None:
    if (asked.revision, asked.base, asked.cells) != (row.revision, row.seq, row.cells):
        raise ApiError(
            409,
            "not_seen",
            f"the slide has come to revision {row.revision}, entry {row.seq} and {row.cells} cells; seen were revision "
            f"{asked.revision}, entry {asked.base} and {asked.cells} cells. Load it anew, look, and sign again",
            revision=row.revision,
            seq=row.seq,
            cells=row.cells,
        )


def _refuse_coming(session: Session, slide: int) -> None:
    if n := coming_of(session, slide):
        raise ApiError(
            409,
            "still_coming",
            f"{n} files are still on their way to the model; sign when all cells are there",
        )


def _begun_uploads(session: Session, slide: int) -> list[UploadRow]:
    """Return the uploads that were begun and are not whole."""
    return list(
        session.scalars(select(UploadRow).where(UploadRow.slide == slide, UploadRow.status == "open"))
    )


def _keep_file(folder: Path, row: SlideRow, read: Read, record: dict[str, Any]) -> None:
    """Write what was signed beside the store, so that it outlives it."""
    with full_told():
        folder.mkdir(exist_ok=True)
        cells = [
            {
                **cell_json(cell),
                "place": read.state.held[cell.cell].place,
                "note": read.state.held[cell.cell].note,
            }
            for cell in read.cells
        ]
        slide = {
            "id": row.id,
            "title": row.title,
            "revision": row.revision,
            "white_count": read.state.white_count,
            "nucleus_px": row.nucleus_px,
        }
        path = folder / f"slide-{row.id}-revision-{row.revision}.json"
        write_json(path, jsonable({**record, "slide": slide, "cells": cells}))
        sync_folder(folder)
