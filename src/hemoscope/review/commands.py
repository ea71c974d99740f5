"""What a reader can do, one record a command, and the entry of the log that it becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hemoscope.errors import DataError

__all__ = [
    "COMMANDS",
    "Change",
    "Command",
    "Confirm",
    "Entry",
    "Note",
    "Place",
    "Reading",
    "Redo",
    "Undo",
    "WhiteCount",
    "read_command",
]

MOST_CELLS = 100_000
MOST_NOTE = 2000

Number = Annotated[int, Field(ge=0)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=MOST_CELLS)]
Reading = Literal[1, 2, "settle", "audit"]
Change = tuple[int, str, str]
"""A cell, where it lay, where it lies."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Place(_Record):
    """Put cells into a class, or among those not classed; where a cell lies already, that confirms it."""

    kind: Literal["place"] = "place"
    cells: Numbers
    to: str = Field(max_length=200)


class Confirm(_Record):
    """Say that the model is right about cells; those that a person has placed stay where they are."""

    kind: Literal["confirm"] = "confirm"
    cells: Numbers


class Note(_Record):
    """Write a note on a cell; an empty text takes it away."""

    kind: Literal["note"] = "note"
    cell: Number
    text: str = Field(max_length=MOST_NOTE)


class Undo(_Record):
    """Take back the reader's own last command."""

    kind: Literal["undo"] = "undo"


class Redo(_Record):
    """Do again what the reader took back last."""

    kind: Literal["redo"] = "redo"


class WhiteCount(_Record):
    """State the slide's white count, 10^9/L; it is the same in every reading, and no undo touches it."""

    kind: Literal["white_count"] = "white_count"
    value: float | None = Field(gt=0, le=10_000)


Command = Annotated[Place | Confirm | Note | Undo | Redo | WhiteCount, Field(discriminator="kind")]
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)


class Entry(_Record):
    """One line of a slide's log, which is never changed.

    Attributes:
        seq: Its number within the slide's revision, from 1.
        at: When, UTC, ISO 8601.
        reader: Who.
        reading: In which pass.
        command: What was asked.
        changes: What it did, for the audit trail.
        client: Which of the reader's windows, where that is known.
    """

    seq: int = Field(ge=1)
    at: str
    reader: str = Field(min_length=1, max_length=200)
    reading: Reading
    command: Command
    changes: tuple[Change, ...] = ()
    client: str = Field(default="", max_length=100)


def read_command(value: object) -> Command:
    """Return the command that a JSON value is.

    Raises:
        DataError: If it is none; every problem is named.
    """
    try:
        return COMMANDS.validate_python(value)
    except ValidationError as error:
        listing = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'command'}: {e['msg']}" for e in error.errors()
        )
        raise DataError(f"this is no command of a review: {listing}") from error
