"""Signing refuses what is open, and binds the log."""

from __future__ import annotations

import pytest

from hemoscope.errors import DataError
from hemoscope.review.commands import Entry
from hemoscope.review.log import digest
from hemoscope.review.signing import sign
from hemoscope.review.state import start
from tests.review.slides import AT, CLASSES, cell, give, place

CELLS = [cell(0), cell(1, "ig", "review"), cell(2, status="unknown")]


def test_open_cells_need_a_reason():
    state = start(CLASSES, CELLS)
    with pytest.raises(DataError, match="2 cells are still for review or unidentified"):
        sign(state, [], name="Ada", at=AT, revision=1)
    assert sign(state, [], name="Ada", at=AT, revision=1, reason=" torn smear ").reason == "torn smear"


def test_a_signature_binds_the_log_and_keeps_no_reason_that_was_not_needed():
    log: list[Entry] = []
    state = give(start(CLASSES, CELLS), place([1], "ig"), place([2], "not_classed"), log=log)
    found = sign(state, log, name=" Ada L. ", at=AT, revision=2, reason="none")
    assert (found.name, found.revision, found.log, found.reason) == ("Ada L.", 2, digest(log), "")


@pytest.mark.parametrize(
    ("rest", "told"),
    [({"name": "  "}, "needs a name"), ({"name": "x" * 201}, "needs a name"), ({"name": "A", "reason": "x" * 2001}, "reason has at most")],
)  # fmt: skip
def test_a_signature_without_a_name_is_refused(rest, told):
    with pytest.raises(DataError, match=told):
        sign(start(CLASSES, []), [], at=AT, revision=1, **rest)
