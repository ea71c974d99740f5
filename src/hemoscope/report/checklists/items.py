"""The items of a guideline as records, from the TOML file beside this module."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["GUIDELINES", "Guideline", "Item", "read_guideline"]

GuidelineName = Literal["claim", "tripod_ai"]
GUIDELINES: tuple[GuidelineName, ...] = ("claim", "tripod_ai")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Record):
    """One item.

    Attributes:
        number: As the guideline numbers it.
        section: The part of a manuscript it belongs to.
        asks: Its subject, in our words.
        from_run: Names of the answers that runs give to it.
        enough: Whether these are all that it asks.
        supply: What the author has to say where they are not, or where a run lacks them.
        not_applicable: Why it never applies to a run of hemoscope.
        unless: Name of an answer that says why it does not apply to these runs.
    """

    number: str = Field(pattern=r"^[1-9]\d?[a-g]?$")
    section: str
    asks: str
    from_run: tuple[str, ...] = ()
    enough: bool = False
    supply: str = ""
    not_applicable: str = ""
    unless: str = ""

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if not (self.not_applicable or self.supply or (self.enough and self.from_run)):
            raise ValueError(f"item {self.number}: say what a run answers or what the author has to supply")
        if self.enough and not self.from_run:
            raise ValueError(f"item {self.number}: enough needs from_run")
        return self


class Guideline(_Record):
    """A reporting guideline: its name and version, where it was published, its items in order."""

    name: str
    source: str
    items: tuple[Item, ...]


def read_guideline(name: GuidelineName) -> Guideline:
    """Return one of the guidelines that come with hemoscope."""
    text = files("hemoscope.report.checklists").joinpath(f"{name}.toml").read_text("utf-8")
    return Guideline.model_validate(tomllib.loads(text))
