"""How long work says how far it is: one kind of function, for everything that counts."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is; None: not known."""

    def __call__(self, what: str, done: int, total: int | None, /) -> None:  # noqa: D102  (the class says it)
        ...
