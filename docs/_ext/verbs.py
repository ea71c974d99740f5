"""What a verb takes, asked of the command line when the site is built: no option is written down by hand.

```{verb} data check        usage, arguments and options of one verb
```{verbs}                  all verbs with what they are for
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Row", "leaves", "setup", "takes", "usage"]

_HELP = re.compile(r"(?P<what>.*?)(?:\s*\[(?P<extra>[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\])?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One argument or option: how it is written, what it does, and its default or bounds."""

    name: str
    what: str
    extra: str


def leaves(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every verb with its words, in the order of the help."""
    if command is None:
        command = _root()
    commands = getattr(command, "commands", None)
    if commands is None:
        yield path, command
        return
    for name, below in commands.items():
        yield from leaves(below, (*path, name))


def usage(words: Sequence[str]) -> str:
    """Return the usage line of a verb."""
    command, context = _found(words)
    return command.get_usage(context).removeprefix("Usage:").strip()


def takes(words: Sequence[str], kind: str) -> list[Row]:
    """Return the rows of a verb; `kind` is `argument` or `option`.

    Raises:
        KeyError: If there is no such verb.
    """
    command, context = _found(words)
    rows: list[Row] = []
    for param in command.params:
        record = param.get_help_record(context)
        if record is None or param.param_type_name != kind:
            continue
        match = _HELP.fullmatch(record[1])
        assert match is not None  # noqa: S101  (both parts may be empty)
        rows.append(Row(record[0], match["what"].strip(), match["extra"] or ""))
    return rows


@cache
def _root() -> Any:
    from typer.main import get_command

    from hemoscope.cli.app import app

    return get_command(app)


def _found(words: Sequence[str]) -> tuple[Any, Any]:
    command = _root()
    for word in words:
        command = command.commands[word]
    return command, command.make_context(" ".join(["hemoscope", *words]), [], resilient_parsing=True)


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx the two directives."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    def table(head: Sequence[str], rows: Sequence[Sequence[Any]], widths: Sequence[int]) -> Any:
        group = nodes.tgroup(cols=len(head))
        group += [nodes.colspec(colwidth=width) for width in widths]
        group += nodes.thead("", _row(nodes, [nodes.paragraph(text=text) for text in head]))
        group += nodes.tbody("", *(_row(nodes, cells) for cells in rows))
        return nodes.table("", group, classes=["colwidths-auto"])

    class Verb(SphinxDirective):
        required_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[Any]:
            words = self.arguments[0].split()
            try:
                line = usage(words)
            except KeyError as error:
                raise self.error(
                    f"hemoscope has no verb {self.arguments[0]!r}: {error} is missing"
                ) from error
            made: list[Any] = [nodes.literal_block(line, line, language="text")]
            for kind in ("argument", "option"):
                rows = [
                    [_code(nodes, row.name), nodes.paragraph(text=row.what), nodes.paragraph(text=row.extra)]
                    for row in takes(words, kind)
                ]
                if rows:
                    made.append(table([kind, "what it does", "default, bounds"], rows, [30, 50, 20]))
            return made

    class Verbs(SphinxDirective):
        def run(self) -> list[Any]:
            rows = []
            for name in _root().list_commands(None):
                command = _root().commands[name]
                link = nodes.reference("", "", nodes.literal(text=name), refuri=f"{name}.html", internal=True)
                rows.append([nodes.paragraph("", "", link), nodes.paragraph(text=_first(command.help))])
            return [table(["verb", "what it is for"], rows, [20, 80])]

    app.add_directive("verb", Verb)
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _first(text: str) -> str:
    return " ".join(text.strip().partition("\n\n")[0].split())


def _row(nodes: Any, cells: Sequence[Any]) -> Any:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def _code(nodes: Any, text: str) -> Any:
    return nodes.paragraph("", "", nodes.literal(text=text))
