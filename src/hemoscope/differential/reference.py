"""Reference ranges of a differential count: a table in TOML that a laboratory replaces by its own."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hemoscope.errors import ConfigError
from hemoscope.plain_files import read_plain, why

__all__ = ["ReferenceClass", "ReferenceTable", "Role", "read_reference"]

MOST_BYTES = 2**20

Role = Literal["white", "erythroblast", "platelet", "other"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReferenceClass(_Record):
    """One class of cells.

    Attributes:
        label: Its name on a report.
        role: What it counts among.
        percent: Lowest and highest expected percentage of the white cells; None where there is none.
        present: Above the range it is `present` rather than `high`.
    """

    label: str = Field(min_length=1, max_length=60)
    role: Role
    percent: tuple[float, float] | None = None
    present: bool = False

    @model_validator(mode="after")
    def _range_is_one(self) -> ReferenceClass:
        if self.percent and not 0 <= self.percent[0] < self.percent[1]:
            raise ValueError(
                f"percent needs 0 <= low < high, such as [40, 80]; got [{self.percent[0]:g}, {self.percent[1]:g}]"
            )
        return self


class ReferenceTable(_Record):
    """Roles and ranges of the classes, and where they are from."""

    name: str = Field(min_length=1, max_length=200)
    source: str = Field(min_length=1, max_length=2000)
    classes: dict[str, ReferenceClass]

    def of(self, classes: Sequence[str]) -> list[ReferenceClass]:
        """Return the entries of a model's classes, in their order.

        Raises:
            ConfigError: If a class has no entry, or none of them is a white cell.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise ConfigError(
                f"the reference table {self.name!r} does not know the model's classes {', '.join(missing)}; add a "
                "[classes.NAME] with label and role (white, erythroblast, platelet or other) for each, and "
                "name the file with --ranges"
            )
        found = [self.classes[name] for name in classes]
        if not any(entry.role == "white" for entry in found):
            raise ConfigError(
                f"the reference table {self.name!r} has no white cell among {', '.join(classes)}"
            )
        return found

    def shares(self, classes: Sequence[str]) -> list[float]:
        """Return how large a part of white cells and erythroblasts each class is, in their order, summing to 1.

        The middle of each range; nothing for platelets, for others, and where no range is given.

        Raises:
            ConfigError: As `of`, and if no class has a range.
        """
        middles = [
            sum(entry.percent) / 2 if entry.percent and entry.role in ("white", "erythroblast") else 0.0
            for entry in self.of(classes)
        ]
        if not sum(middles):
            raise ConfigError(
                f"the reference table {self.name!r} has a range for none of {', '.join(classes)}"
            )
        return [middle / sum(middles) for middle in middles]


def read_reference(path: Path | None = None) -> ReferenceTable:
    """Read a table; by default the one for adults that comes with hemoscope.

    Raises:
        ConfigError: If it cannot be read or is not as expected; every problem is named.
    """
    file = path or files("hemoscope.differential").joinpath("reference.toml")
    try:
        content = read_plain(path, most=MOST_BYTES) if path else file.read_bytes()
        return ReferenceTable.model_validate(tomllib.loads(content.decode("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the reference table {file} cannot be read: {why(error)}") from error
    except ValidationError as error:
        listing = "\n  ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"the reference table {file} is not as expected:\n  {listing}") from error
