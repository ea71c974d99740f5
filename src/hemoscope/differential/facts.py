"""What a reader of a count is told of the model that counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ModelFacts"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that counted.

    Attributes:
        name: Its name.
        digest: SHA-256 of its bundle.
        networks: The architectures that vote.
        n_val: Labelled images its confusion is known from; 0: nobody knows how it errs.
    """

    name: str
    digest: str
    networks: tuple[str, ...]
    n_val: int
