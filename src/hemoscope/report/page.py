"""Self-contained pages: every value that comes from a user is escaped, and nothing is loaded."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import Any

from hemoscope import __version__
from hemoscope.report import formats

__all__ = ["data_uri", "render"]


def render(template: str, *, package: str = "hemoscope.report", **values: Any) -> str:
    """Return a template of a package filled in."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: formats.printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "pct": formats.percent,
        "ci": formats.interval,
        "thousands": formats.count,
        "counted": formats.counted,
        "duration": formats.duration,
        "one_line": formats.printable,
    }
    source = files(package).joinpath(template).read_text("utf-8")
    return environment.from_string(source).render(version=__version__, **values).lstrip()


def data_uri(kind: str, content: bytes) -> str:
    """Return content of a MIME type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
