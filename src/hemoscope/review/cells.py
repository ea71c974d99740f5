"""The cells of a slide as the model left them, and the places a cell can lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hemoscope.errors import ConfigError

__all__ = ["NOT_CLASSED", "OPEN", "REVIEW", "UNIDENTIFIED", "Cell", "Status", "check_classes", "first_place"]

REVIEW = "review"  # the model doubts, and no person has said
UNIDENTIFIED = "unidentified"  # the model does not know it, and no person has said
NOT_CLASSED = "not_classed"  # a person cannot say; left out of the count
OPEN = (REVIEW, UNIDENTIFIED)

Status = Literal["accepted", "review", "unknown"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a slide, and what the model says of it.

    Attributes:
        cell: Its number within the slide, from 0 in the order of arrival.
        digest: SHA-256 of its picture's file, 64 hex digits.
        name: Name of that file.
        status: What became of the model's answer.
        pred: Predicted class; of an unknown cell the nearest one.
        probs: Calibrated probabilities in the order of the classes, length C.
        margin: Probability of `pred` less the largest other one.
        distance: From the nearest known cell, 0 to 2; None where that is not measured.
        candidates: Classes that it may be, by the conformal set.
        reason: Why the answer was not accepted; otherwise empty.
        shares: Share of the members' votes of each class, length C; empty where one network answered.
    """

    cell: int
    digest: str
    name: str
    status: Status
    pred: str
    probs: tuple[float, ...]
    margin: float
    distance: float | None = None
    candidates: tuple[str, ...] = ()
    reason: str = ""
    shares: tuple[float, ...] = ()


def first_place(cell: Cell) -> str:
    """Return where a cell lies before any person has looked at it."""
    return {"accepted": cell.pred, "review": REVIEW, "unknown": UNIDENTIFIED}[cell.status]


def check_classes(classes: Sequence[str]) -> None:
    """Refuse classes that have the name of a place that is no class.

    Raises:
        ConfigError: If so.
    """
    taken = sorted({REVIEW, UNIDENTIFIED, NOT_CLASSED} & set(classes))
    if taken:
        raise ConfigError(
            f"a class of the model is called {', '.join(taken)}, as is a place of cells in a review; expected another "
            "name. Rename its folder and train again."
        )
