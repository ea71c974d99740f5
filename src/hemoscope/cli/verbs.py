"""What every verb does before it begins: an address where a path belongs is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["Verbs"]


class _Verb(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for param in self.params:
            value = ctx.params.get(param.name)
            for path in value if isinstance(value, (list, tuple)) else (value,):
                # pathlib leaves one of the two strokes; a drive of Windows has one letter.
                if isinstance(path, Path) and re.match(r"[a-z][a-z0-9+.-]+:/", path.as_posix()):
                    text = path.as_posix().replace(":/", "://", 1)
                    raise typer.BadParameter(
                        f"expected a path on this machine, got {text}; addresses are taken by benchmark --out, and by "
                        "what reads its runs: report, ensemble, bundle, track",
                        ctx=ctx,
                        param_hint=getattr(param, "metavar", None) or param.opts[0],
                    )
        return rest


class Verbs(typer.Typer):
    """A group of verbs."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a verb, as typer does."""
        return super().command(name, cls=_Verb, **options)
