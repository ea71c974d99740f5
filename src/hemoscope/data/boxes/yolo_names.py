"""The class names of a YOLO set: `names:` of its YAML file, or a file with a name on each line.

Of YAML only what tools write for `names:` is read: a list or a mapping, in one line or several. Anything
else is refused, never guessed at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from hemoscope.data.boxes.records import class_name_of
from hemoscope.data.scan.csv_rows import decoded
from hemoscope.data.scan.layout import show
from hemoscope.errors import DataError
from hemoscope.plain_files import read_plain

__all__ = ["holds_names", "read_names", "yaml_names"]

MOST_BYTES = 2**18
_LINES = ("classes.txt", ".names", "_darknet.labels")
# Possessive, so that no text of a stranger takes more than one pass.
_QUOTED = r"""'(?:[^'\n]|'')*+'|"(?:[^"\\\n]|\\.)*+\""""
_BEGIN = r"""(?!:\s|:$)[^\s,\[\]{}'"#&*!|>%@`?-]"""
_IN_FLOW = rf"(?:{_QUOTED}|{_BEGIN}(?:(?!:\s|:$)[^,\[\]{{}}\n])*+)"
_IN_BLOCK = rf"(?:{_QUOTED}|{_BEGIN}(?:(?!:\s|:$)[^\n])*+)"
_COMMENT = re.compile(
    r"""((?:^|(?<=[\s\[{,:-]))(?:'(?:[^'\n]|'')*+'?|"(?:[^"\\\n]|\\.)*+"?))|(?:^|(?<=\s))#.*""", re.MULTILINE
)
_KEY = r"""['"]?(\d{1,9})['"]?\s*:\s+"""
_LIST_ENTRY = re.compile(rf"\s*({_IN_FLOW})\s*(?:,|$)")
_MAPPING_ENTRY = re.compile(rf"\s*{_KEY}({_IN_FLOW})\s*(?:,|$)")
_LIST_LINE = re.compile(rf"\s*-\s+({_IN_BLOCK})\s*")
_MAPPING_LINE = re.compile(rf"\s+{_KEY}({_IN_BLOCK})\s*")
_BODY = re.compile(rf"""(?:{_QUOTED}|[^\]}}'"])*+""")
_NAMES = re.compile(r"^names[ \t]*:(?=\s|$)[ \t]*", re.MULTILINE)


def read_names(root: Path, others: Iterable[str]) -> Mapping[int, str]:
    """Return the class names by number; none where there is no file of them.

    A YAML file goes before lists of lines; several of a kind must agree.

    Raises:
        DataError: If one is not understood, or two contradict each other.
    """
    by_kind: dict[bool, dict[str, Mapping[int, str]]] = {True: {}, False: {}}
    for path in others:
        name = PurePosixPath(path).name.casefold()
        is_yaml = name.endswith((".yaml", ".yml"))
        if not is_yaml and not holds_names(path):
            continue
        try:
            text = decoded(read_plain(root / path, most=MOST_BYTES)).replace("\r\n", "\n")
            names = yaml_names(text) if is_yaml else dict(enumerate(text.rstrip().split("\n")))
            found = {number: class_name_of(name) for number, name in (names or {}).items()}
        except (OSError, ValueError) as error:
            raise DataError(f"the class names in {show(root / path)} cannot be read: {error}") from error
        if found:
            by_kind[is_yaml][path] = found
    files = by_kind[True] or by_kind[False]
    if len({tuple(sorted(names.items())) for names in files.values()}) > 1:
        where = ", ".join(map(show, files))
        raise DataError(f"{where} in {show(root)} name the classes differently; expected one set of names")
    return next(iter(files.values()), {})


def holds_names(path: str) -> bool:
    """Whether a file is a list of class names by its own name."""
    return path.casefold().endswith(_LINES)


def yaml_names(text: str) -> Mapping[int, str] | None:
    r"""Return what a YAML text says for the key `names`; None if it does not have it.

    >>> yaml_names("nc: 2\nnames: ['a b', c]  # two"), yaml_names("names:\n  0: a\n  2: b\npath: .")
    ({0: 'a b', 1: 'c'}, {0: 'a', 2: 'b'})

    Raises:
        ValueError: If that is neither a list of names nor a mapping of numbers to them.
    """
    text = _COMMENT.sub(lambda match: match[1] or "", text)
    start = _NAMES.search(text)
    if start is None:
        return None
    rest = text[start.end() :]
    found = _in_brackets(rest) if rest[:1] in ("[", "{") else _in_lines(rest)
    keys = [number for number, _ in found]
    if not found or len(set(keys)) != len(keys):
        raise ValueError("expected names: [RBC, WBC], or a line for each as `- RBC` or `0: RBC`")
    return {number: _unquoted(name) for number, name in found}


def _in_brackets(rest: str) -> list[tuple[int, str]]:
    """Return numbers and names of a list or mapping in brackets; none if it is not understood."""
    is_list = rest[0] == "["
    body = _BODY.match(rest, 1)
    inside = body[0].rstrip() if body else ""
    if body is None or rest[body.end() : body.end() + 1] != ("]" if is_list else "}"):
        return []
    found: list[tuple[int, str]] = []
    at = 0
    while at < len(inside):
        match = (_LIST_ENTRY if is_list else _MAPPING_ENTRY).match(inside, at)
        if match is None:
            return []
        found.append((len(found), match[1]) if is_list else (int(match[1]), match[2]))
        at = match.end()
    return found


def _in_lines(rest: str) -> list[tuple[int, str]]:
    """Return numbers and names of a line each; none if a line is not understood."""
    first, *lines = rest.split("\n")
    found: list[tuple[int, str]] = []
    for line in lines if not first.strip() else ["?"]:
        if not line.strip():
            continue
        if not line[0].isspace() and not line.startswith("- "):
            break  # the next key
        if match := _LIST_LINE.fullmatch(line):
            found.append((len(found), match[1]))
        elif match := _MAPPING_LINE.fullmatch(line):
            found.append((int(match[1]), match[2]))
        else:
            return []
    return found


def _unquoted(scalar: str) -> str:
    if scalar.startswith("'"):
        return scalar[1:-1].replace("''", "'")
    return json.loads(scalar) if scalar.startswith('"') else scalar.strip()
