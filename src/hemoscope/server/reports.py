"""A revision of a slide as it leaves the house, in the forms of `hemoscope.review.exports`.

A signed revision is exported as it was signed: its cells, its ranges, its files that could not be read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from types import MappingProxyType
from typing import IO

from sqlalchemy.orm import Session

from hemoscope.differential.facts import ModelFacts
from hemoscope.differential.reference import ReferenceTable
from hemoscope.errors import DataError
from hemoscope.review.bias import automation_bias
from hemoscope.review.exports.fhir import as_fhir
from hemoscope.review.exports.hl7 import as_hl7
from hemoscope.review.exports.labelled import write_labelled
from hemoscope.review.exports.loinc import Codes
from hemoscope.review.exports.page import as_page
from hemoscope.review.exports.report import Report
from hemoscope.review.exports.tables import as_json, cells_csv, differential_csv
from hemoscope.review.readers import agreement
from hemoscope.review.signing import Signature
from hemoscope.server.clock import now
from hemoscope.server.folds import entries_until
from hemoscope.server.guard import LOCAL
from hemoscope.server.pictures import Pictures
from hemoscope.server.problems import ApiError
from hemoscope.server.readings import Readings
from hemoscope.server.store.tables import ModelRow, SignatureRow, SlideRow

__all__ = ["FORMS", "labelled", "report_of"]

Form = tuple[Callable[[Report], str], str, str]
FORMS = MappingProxyType[str, Form](
    {
        "csv": (differential_csv, "csv", "text/csv; charset=utf-8"),
        "cells": (cells_csv, "cells.csv", "text/csv; charset=utf-8"),
        "json": (as_json, "json", "application/json"),
        "html": (as_page, "html", "text/html; charset=utf-8"),
        "fhir": (as_fhir, "fhir.json", "application/fhir+json"),
        "hl7": (as_hl7, "hl7", "text/plain; charset=utf-8"),
    }
)
"""What makes a form, how its file ends, and its media type."""

_IN_MEMORY = 16 << 20


def report_of(
    session: Session, row: SlideRow, readings: Readings, codes: Codes, revision: int | None = None
) -> Report:
    """Return a revision's report; by default of the last one.

    Raises:
        ApiError: If there is no such revision.
    """
    revision = row.revision if revision is None else revision
    folds = readings.folds
    read = folds.final(session, row, revision=revision)
    signed = session.get(SignatureRow, (row.id, revision))
    reference, errors = readings.counts.reference, None
    if signed is not None:
        reference = ReferenceTable.model_validate(signed.signed["reference"])
        errors = signed.signed["errors"]
        codes = Codes.model_validate(signed.signed["codes"])
    facts = session.get_one(ModelRow, row.model).facts
    states = (
        [folds.read(session, row, r, revision=revision).state for r in (1, 2, "settle")]
        if row.readings == 2
        else []
    )
    audit = folds.read(session, row, "audit", revision=revision)
    return Report(
        slide=str(row.id),
        title=row.title,
        revision=revision,
        at=now() if signed is None else signed.at,
        found=readings.counts.of(session, read, reference=reference, errors=errors),
        reference=reference,
        model=ModelFacts(facts["name"], facts["digest"], tuple(facts["networks"]), facts["n_val"]),
        cells=read.cells,
        state=read.state,
        signature=None
        if signed is None
        else Signature(signed.name, signed.at, revision, signed.log_digest, signed.reason),
        nucleus_px=row.nucleus_px,
        account="" if signed is None else _account(signed),
        agreement=agreement(states[0], states[1], states[2]) if states else None,
        bias=automation_bias(read.cells, entries_until(session, row.id, revision), audit.state),
        codes=codes,
    )


def _account(signed: SignatureRow) -> str:
    """Return as whom a signer was signed in; empty where nobody signs in."""
    user = signed.signed["signature"]["user"]
    return "" if user == LOCAL else user


def labelled(report: Report, pictures: Pictures) -> IO[bytes]:
    """Return a zip of class folders of the cells that people have confirmed or moved, at its beginning.

    Raises:
        ApiError: If there are none, or a class can be no folder.
    """
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  who sends it closes it
    try:
        write_labelled(file, report, pictures.read)  # type: ignore[arg-type]
    except DataError as error:
        file.close()
        raise ApiError(409, "no_class_folders", str(error)) from error
    file.seek(0)
    return file
