"""Slides for the tests of a review."""

from __future__ import annotations

import numpy as np

from hemoscope.review.cells import Cell
from hemoscope.review.commands import Entry, read_command
from hemoscope.review.log import apply, perform
from hemoscope.review.state import State

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
SHARP = np.eye(8, dtype=np.int64) * 100_000  # a model that hardly ever errs
AT = "2026-11-27T08:00:00+00:00"


def cell(
    number, pred="neutrophil", status="accepted", *, prob=0.9, other=None, classes=CLASSES, **rest
) -> Cell:
    """A cell whose probability beside `prob` lies on one other class, or on all of them alike."""
    spread = (
        {other: 1 - prob} if other else dict.fromkeys(set(classes) - {pred}, (1 - prob) / (len(classes) - 1))
    )
    probs = tuple(prob if name == pred else spread.get(name, 0.0) for name in classes)
    margin = prob - max(p for name, p in zip(classes, probs, strict=True) if name != pred)
    name = rest.pop("name", f"{number}.jpg")
    return Cell(number, f"{number:064x}", name, status, pred, probs, margin, candidates=(pred,), **rest)


def cells_of(counts: dict[str, int], **rest) -> list[Cell]:
    preds = [name for name, n in counts.items() for _ in range(n)]
    return [cell(i, pred, **rest) for i, pred in enumerate(preds)]


def give(state: State, *commands: dict, reader="Ada", log: list[Entry] | None = None) -> State:
    """Return the state after commands, written as the page sends them."""
    for command in commands:
        entry = perform(state, read_command(command), at=AT, reader=reader)
        state = apply(state, entry)
        if log is not None:
            log.append(entry)
    return state


def place(cells, to) -> dict:
    return {"kind": "place", "cells": list(cells), "to": to}
