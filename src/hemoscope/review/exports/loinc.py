"""LOINC codes of what is reported: a table in TOML that a laboratory can change."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hemoscope.errors import ConfigError
from hemoscope.plain_files import read_plain, why

__all__ = ["Code", "Codes", "check_digit", "read_codes"]

MOST_BYTES = 2**20


def check_digit(number: str) -> int:
    """Return the check digit of the digits before the hyphen, by Luhn's rule (mod 10).

    Source:
        LOINC Users' Guide, appendix C, Calculating Mod 10 check digits.

    >>> check_digit("26511"), check_digit("19048")
    (6, 8)
    """
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return -total % 10


def _is_code(code: str) -> str:
    found = re.fullmatch(r"(\d{1,7})-(\d)", code)
    if not found:
        raise ValueError(f"a LOINC code is digits, a hyphen and a check digit, such as 26511-6; got {code!r}")
    if check_digit(found[1]) != int(found[2]):
        raise ValueError(
            f"the check digit of {code} should be {check_digit(found[1])}; is the code mistyped?"
        )
    return code


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Code(_Record):
    """One code and its name in LOINC."""

    code: Annotated[str, AfterValidator(_is_code)]
    name: str = Field(min_length=1, max_length=200)


class Codes(_Record):
    """The codes of a report; of a class without one its name alone is reported."""

    panel: Code
    cells_counted: Code
    white_count: Code
    corrected_white_count: Code
    classes: dict[str, Code]


def read_codes(path: Path | None = None) -> Codes:
    """Read a table; by default the one that comes with hemoscope.

    Raises:
        ConfigError: If it cannot be read or is not as expected; every problem is named.
    """
    file = path or files("hemoscope.review.exports").joinpath("loinc.toml")
    try:
        content = read_plain(path, most=MOST_BYTES) if path else file.read_bytes()
        return Codes.model_validate(tomllib.loads(content.decode("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the table of LOINC codes {file} cannot be read: {why(error)}") from error
    except ValidationError as error:
        listing = "\n  ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"the table of LOINC codes {file} is not as expected:\n  {listing}") from error
