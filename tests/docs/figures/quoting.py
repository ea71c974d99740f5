"""Sentences of the pages with their figures computed: a page says them word for word, or the test of it fails.

A new figure is registered by a function under `quoted_in`, which yields the sentence or the row of the table as it should
read. Blanks and line breaks count as one blank.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hemoscope.evaluation.intervals import wilson
from tests.docs.reading import ROOT

RESULTS = ROOT / "docs" / "results"


class Quoted(NamedTuple):
    """A function that yields sentences of a page."""

    page: str
    sentences: Callable[[], Iterable[str]]


QUOTED: list[Quoted] = []


def quoted_in(*pages: str) -> Callable[[Callable[[], Iterable[str]]], Callable[[], Iterable[str]]]:
    """Register a function as the one that computes these sentences of these pages."""

    def register(sentences: Callable[[], Iterable[str]]) -> Callable[[], Iterable[str]]:
        QUOTED.extend(Quoted(page, sentences) for page in pages)
        return sentences

    return register


def one_line(text: str) -> str:
    return " ".join(text.split())


@functools.cache
def text_of(page: str) -> str:
    return one_line((ROOT / page).read_text("utf-8"))


def places(sentence: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where a sentence stands, never within a longer number."""
    pattern = rf"(?<![\d.])(?<!\d,){re.escape(one_line(sentence))}(?!\d)(?![.,]\d)"
    yield from (match.span() for match in re.finditer(pattern, text))


def what_stands_there(sentence: str, text: str) -> str:
    """Return the sentence with the figures that the page gives it, or that it is not there at all."""
    words = r"[\d.,]+".join(map(re.escape, re.split(r"[\d.,]*\d[\d.,]*", one_line(sentence))))
    found = re.search(words, text)
    return found[0] if found else "no such sentence, whatever its figures"


def record(path: str) -> Any:
    """Return a committed JSON document."""
    return json.loads((ROOT / path).read_text("utf-8"))


def row(*cells: object) -> str:
    """Return a line of a table; an empty cell is None."""
    return "|" + "|".join("" if cell is None else f" {cell} " for cell in cells) + "|"


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}"


def interval(right: int, n: int, digits: int = 2) -> str:
    """Return Wilson's interval at 95 % as `98.39 to 99.29`."""
    low, high = wilson(right, n)
    return f"{percent(float(low), digits)} to {percent(float(high), digits)}"


def listed(words: Sequence[object]) -> str:
    """Return `a, b and c`."""
    *before, last = map(str, words)
    return f"{', '.join(before)} and {last}" if before else last


def minutes(seconds: float) -> str:
    whole, rest = divmod(round(seconds), 60)
    return f"{whole} min {rest} s"
