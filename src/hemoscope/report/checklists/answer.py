"""What an answer is: fields of the run card without which nothing is said, and what is said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hemoscope.report.collect import Report

__all__ = ["MANY_CLASSES", "Answer", "at", "by_run", "card_of"]

MANY_CLASSES = 30  # of more the tables tell

Card = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What runs say to an item.

    Attributes:
        say: Returns it in words, or None where these runs have nothing to say.
        fields: Places in the run card, such as `split.policy`, that every run must hold.
    """

    say: Callable[[Report], str | None]
    fields: tuple[str, ...] = ()

    def lacking(self, report: Report) -> tuple[str, ...]:
        """Return the fields that the card of a run the headline is about does not hold."""
        cards = [entry.card for entry in report.judged_entries]
        return tuple(field for field in self.fields if any(at(card, field) is None for card in cards))


def at(card: Card, place: str) -> Any:
    """Return what stands at a place of a card; None where it is not there, empty or null.

    >>> at({"split": {"policy": "paper", "seed": None}}, "split.policy"), at({}, "split.policy")
    ('paper', None)
    """
    found: Any = card
    for key in place.split(".", 1):
        found = found.get(key) if isinstance(found, Mapping) else None
    return None if found is None or found == "" or found == {} else found


def card_of(report: Report) -> Card:
    """Return a card for what all runs of one split share."""
    return report.judged_entries[0].card


def by_run(report: Report, say: Callable[[Card], str]) -> str:
    """Return what is said of every run; once where it is the same of all."""
    said: dict[str, list[str]] = {}
    for entry in report.judged_entries:
        said.setdefault(say(entry.card), []).append(entry.label)
    if len(said) == 1:
        return next(iter(said))
    return " ".join(f"{', '.join(labels)}: {text}" for text, labels in said.items())
