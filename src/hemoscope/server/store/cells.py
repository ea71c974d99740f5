"""Cells in the store, as `hemoscope.review` and the API take them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hemoscope.review.cells import Cell
from hemoscope.server.problems import ApiError
from hemoscope.server.store.tables import CellRow

__all__ = ["cell_json", "cell_of", "cells_of", "covered", "find_cell"]


def cells_of(session: Session, slide: int, *, since: int = 0) -> list[Cell]:
    """Return the cells of a slide from a number on, in order."""
    query = select(CellRow.cell, CellRow.digest, CellRow.name, CellRow.status, CellRow.pred, CellRow.judged)
    rows = session.execute(query.where(CellRow.slide == slide, CellRow.cell >= since).order_by(CellRow.cell))
    return [cell_of(row) for row in rows]


def cell_of(row: Any) -> Cell:
    """Return a row of the table, or its columns, as a cell."""
    judged = row.judged
    return Cell(
        cell=row.cell,
        digest=row.digest,
        name=row.name,
        status=row.status,
        pred=row.pred,
        probs=tuple(judged["probs"]),
        margin=judged["margin"],
        distance=judged["distance"],
        candidates=tuple(judged["candidates"]),
        reason=judged["reason"],
        shares=tuple(judged["shares"]),
    )


def cell_json(cell: Cell) -> dict[str, Any]:
    """Return a cell as the API gives it."""
    return {name: getattr(cell, name) for name in Cell.__dataclass_fields__}


def covered(cell: Cell) -> Cell:
    """Return a cell without the model's answers, for a reader who is not to see them."""
    return Cell(cell.cell, cell.digest, cell.name, "review", "", (), 0.0)


def find_cell(session: Session, slide: int, cell: int) -> CellRow:
    """Return a cell of a slide.

    Raises:
        ApiError: If there is none.
    """
    row = session.get(CellRow, (slide, cell)) if 0 <= cell < 2**31 and 0 < slide < 2**63 else None
    if row is None:
        raise ApiError(
            404, "no_cell", f"slide {slide} has no cell {cell}; GET /slides/{slide}/cells lists them"
        )
    return row
