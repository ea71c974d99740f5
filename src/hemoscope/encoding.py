"""What any name and any number becomes where only some may stand: in UTF-8, a CSV cell, a JSON document, a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = [
    "from_cell",
    "from_text",
    "is_folder_name",
    "json_text",
    "jsonable",
    "to_cell",
    "to_text",
]


def to_text(path: str) -> str:
    """Return a path as text; a byte that is no UTF-8, a lone surrogate in Python, becomes an escape."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def from_text(text: str) -> str:
    """Return the path that `to_text` was given."""
    if "\\udc" not in text:
        return text
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), text)


def is_folder_name(name: str) -> bool:
    """Whether a name can be that of one folder on any system: with a separator it is that of several, or of another.

    >>> is_folder_name("B cell"), is_folder_name("T/NK"), is_folder_name("..")
    (True, False, False)
    """
    return name not in {"", ".", ".."} and not set(name) & {"/", "\\"}


def to_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe comes first where it would.

    >>> to_cell("=1+1.jpg"), to_cell("a=1.jpg")
    ("'=1+1.jpg", 'a=1.jpg')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "'")) else text


def from_cell(text: str) -> str:
    """Return the text that `to_cell` was given."""
    return text.removeprefix("'")


_NUMBERS = re.compile(r"\[\n\s*((?:[-+.\deE]+|null)(?:,\n\s*(?:[-+.\deE]+|null))*)\n\s*\]")


def json_text(value: object) -> str:
    """Return a JSON document to be read by people too: indented, a list of numbers on one line.

    >>> print(json_text({"confusion": [[3, 1], [0, 2]]}))
    {
      "confusion": [
        [3, 1],
        [0, 2]
      ]
    }
    """
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    # No text holds a line end as it is, so that only lists match.
    return _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)


def jsonable(value: object) -> object:
    """Return a value that JSON can hold: arrays as lists, paths as text, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return value.as_posix()
    return value
