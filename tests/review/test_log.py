from __future__ import annotations

from hemoscope.review.commands import read_command
from hemoscope.review.log import apply, fold, perform
from hemoscope.review.state import start
from tests.review.cells import CLASSES, cell


def test_try():
    cells = [cell(0), cell(1, status="review"), cell(2, status="unknown")]
    state = start(CLASSES, cells)
    assert state.places == {0: "neutrophil", 1: "review", 2: "unidentified"}
    log = []
    for value in (
        {"kind": "place", "cells": [1, 2], "to": "ig"},
        {"kind": "undo"},
        {"kind": "redo"},
        {"kind": "confirm", "cells": [0]},
        {"kind": "note", "cell": 1, "text": "x"},
        {"kind": "undo"},
        {"kind": "white_count", "value": 5.1},
    ):
        entry = perform(state, read_command(value), at="2026-11-27T08:00:00Z", reader="a")
        log.append(entry)
        state = apply(state, entry)
    assert state == fold(CLASSES, cells, log)
    assert state.places == {0: "neutrophil", 1: "ig", 2: "ig"}
    assert state.notes == {}
