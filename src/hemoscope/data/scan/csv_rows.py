"""Rows of a CSV file as people have it: UTF-8, UTF-16 or UTF-32, with a byte order mark or not, `,` `;` or tabs.

Names are compared as they are first, and then with `/` for a backslash and in Unicode form NFC.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hemoscope.plain_files import read_plain

__all__ = ["CsvRows", "Names", "csv_text", "decoded", "plain", "read_rows"]

MOST_BYTES = 2**30  # a row of PBC's split has 100
_QUOTED = re.compile(r'[,"\r\n]')

CsvRows = list[tuple[int, list[str]]]
"""(line number, values) of every row that is not empty, the header first."""


def read_rows(path: Path) -> CsvRows:
    """Return the rows of a CSV file.

    Raises:
        OSError: If it cannot be read.
        csv.Error: If it is no CSV file.
    """
    text = decoded(read_plain(path, most=MOST_BYTES))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    return [(reader.line_num, row) for row in reader if row]


def csv_text(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as a CSV file: UTF-8, commas, LF line ends, file names of any characters."""
    lines = _lines(list(rows))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """Return a text file's text, without its byte order mark; bytes that are no text are surrogates."""
    # UTF-32 first: its mark begins with that of UTF-16.
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32", "replace")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:2]:  # without a mark: no CSV has a NUL
        width = 32 if data[1:3] == b"\0\0" else 16
        order = "be" if data[:1] == b"\0" else "le"
        return data.decode(f"utf-{width}-{order}", "replace")
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def plain(name: str) -> str:
    r"""Return a name or path as two systems would agree on it.

    >>> plain(".\\a\\e\u0301.png") == "a/\u00e9.png"
    True
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


class Names:
    """Known names, found by another spelling of the same."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)

    @cached_property
    def _by_plain(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in sorted(self._known):
            found.setdefault(plain(name), name)
        return found

    def find(self, name: str) -> str | None:
        """Return the known name that is meant, the very same one if there is it."""
        return name if name in self._known else self._by_plain.get(plain(name))


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line a row; a million need seconds if each of their values is looked at by itself."""
    lines = [",".join(row) for row in rows]
    text = "\n".join(lines)
    commas = sum(map(len, rows)) - len(rows)
    if text.split() == lines and text.count(",") == commas and '"' not in text:  # no blank, no line end
        return lines
    return [",".join(map(_quoted, row)) for row in rows]


def _quoted(value: str) -> str:
    if _QUOTED.search(value) or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def _delimiter(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)  # the comma where there is none of them
