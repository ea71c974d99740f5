"""What lets pages that are read in the repository be read as a site too, and keeps the site off the net."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["loaded_from_the_net", "setup", "titled", "to_readmes"]

_ALIAS = re.compile(
    r"TypeAliasForwardRef\('(\w+)'\)"
)  # what autodoc makes of a type's own name inside another's
_LINK = re.compile(r"(\]\()([^)#\s:]+)(\))")
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon|shortcut))[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|(?:@import\s+(?:url\()?|url\()[\"']?((?:https?:)?//[^\"'\s)]+)",
    re.IGNORECASE,
)


def to_readmes(text: str, folder: Path) -> str:
    """Return a page whose links to folders lead to their README.md."""

    def there(match: re.Match[str]) -> str:
        readme = folder / match[2] / "README.md"
        return f"{match[1]}{match[2].rstrip('/')}/README.md{match[3]}" if readme.is_file() else match[0]

    return _LINK.sub(there, text)


def titled(text: str, name: str) -> str:
    """Return a page with its name as title where it has none, such as a table that a program wrote."""
    return text if re.search(r"^# ", text, re.MULTILINE) else f"# {name}\n\n{text}"


def loaded_from_the_net(text: str) -> list[str]:
    """Return what a page or style sheet would load from elsewhere; links that are only followed are none.

    >>> loaded_from_the_net('<script src="https://a.example/x.js"></script><a href="https://b.example">b</a>')
    ['https://a.example/x.js']
    """
    return [next(filter(None, found)) for found in _LOADED.findall(text)]


def setup(app: Any) -> dict[str, bool]:
    """Change pages as they are read, and look at them when they are written."""
    from pygments.lexers.special import TextLexer
    from sphinx.util import logging

    logger = logging.getLogger(__name__)

    def read(app: Any, docname: str, content: list[str]) -> None:
        page = Path(app.srcdir) / docname
        content[0] = titled(to_readmes(content[0], page.parent), page.name)

    def look(app: Any, exception: Exception | None) -> None:
        if exception is None:
            for file, address in _from_the_net(Path(app.outdir)):
                logger.warning("%s loads %s; a page loads nothing from the net", file, address)

    def sign(*event: Any) -> tuple[str, str | None] | None:
        signature, returned = event[-2:]
        if not signature:
            return None
        return _ALIAS.sub(r"\1", signature), _ALIAS.sub(r"\1", returned) if returned else returned

    app.connect("autodoc-process-signature", sign)
    app.add_lexer("shell", TextLexer)  # names and numbers in a command mean nothing by their colour
    app.connect("source-read", read)
    app.connect("build-finished", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _from_the_net(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".html", ".css"):
            for address in loaded_from_the_net(file.read_text("utf-8")):
                yield file.relative_to(folder).as_posix(), address
