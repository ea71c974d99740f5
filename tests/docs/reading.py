"""What the pages say, as tests read it: blocks and spans of code, commands, links and tables."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MARKDOWN = MarkdownIt("commonmark").enable("table")


class Block(NamedTuple):
    """A block of code; the language is empty where it is indented and not fenced."""

    language: str
    text: str


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text("utf-8"))


def inline(parsed: list[Token]) -> Iterator[Token]:
    for token in parsed:
        yield from token.children or ()


def spans(page: Path) -> list[str]:
    """Code inside sentences and tables."""
    return [token.content for token in inline(tokens(page)) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Where links and pictures lead that are not on the net."""
    found = [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in inline(tokens(page))
        if token.type in ("link_open", "image")
    ]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def blocks(page: Path) -> list[Block]:
    return [
        Block(token.info.strip(), token.content)
        for token in tokens(page)
        if token.type in ("fence", "code_block")
    ]


def shell_lines(page: Path) -> list[str]:
    """Lines of the fenced blocks of shell commands."""
    found = [_joined(block.text).splitlines() for block in blocks(page) if block.language == "shell"]
    return [line for lines in found for line in lines if line.strip()]


def _joined(text: str) -> str:
    return re.sub(r"\s*\\\n\s*", " ", text)


def commands(page: Path) -> list[list[str]]:
    """The words after `hemoscope` of every command in a block; explanations beside them are left out."""
    found: list[list[str]] = []
    for block in blocks(page):
        if block.language not in ("", "shell"):
            continue
        for line in _joined(block.text).splitlines():
            for part in re.split(r"&&|\|", line):
                match = re.search(r"(?:^|\s)hemoscope (?=[a-z])(\S.*?)(?: {2,}|$)", part)
                if match and not line.startswith("from "):
                    found.append(shlex.split(match[1], comments=True))
    return found


def table_rows(parsed: list[Token]) -> list[tuple[Token, Token]]:
    """The first two cells of every row but the heads."""
    rows: list[list[Token]] = []
    for before, token in itertools.pairwise(parsed):
        if before.type == "tr_open":
            rows.append([])
        if before.type == "td_open":
            rows[-1].append(token)
    return [(row[0], row[1]) for row in rows if row]


@functools.cache
def root_command() -> Any:
    from typer.main import get_command

    from hemoscope.cli.app import app

    return get_command(app)


def followed(words: list[str]) -> tuple[Any, list[str]]:
    """Return the verb that words name, and the words that are left for it.

    Raises:
        LookupError: If there is no such verb.
    """
    command, rest = root_command(), list(words)
    while commands_below := getattr(command, "commands", None):
        if rest and rest[0] in commands_below:
            command = commands_below[rest.pop(0)]
        elif "make" in commands_below and rest:  # bundle RUNS means bundle make RUNS
            command = commands_below["make"]
        else:
            raise LookupError(f"there is no verb {' '.join(words)!r}")
    return command, rest
