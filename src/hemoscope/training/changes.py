"""A run's recipe beside hemoscope's own: is it the paper's, and which fields were changed.

Old runs are called `paper` even where fields were changed, so names decide nothing here: values do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hemoscope.training.recipe import ADDED_LATER, RECIPES, Recipe, without_effect

__all__ = ["Change", "built_in", "changes", "describe", "is_papers", "setting"]

_PAPER = Recipe().model_dump()


@dataclass(frozen=True, slots=True)
class Change:
    """A field that is not as in the built-in recipe; its text is `epochs 4 (25)`."""

    field: str
    value: Any
    built_in: Any

    def __str__(self) -> str:
        return f"{self.field} {setting(self.value)} ({setting(self.built_in)})"


def built_in(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the built-in recipe it was made from; none where no such is built in."""
    return next((r.model_dump() for r in RECIPES if r.name == recipe.get("name")), {})


def changes(recipe: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the fields that differ from the built-in recipe of that name; none where no such is built in.

    A field that a card lacks was added to hemoscope after the run, and had its default. One without effect is no change.

    >>> [str(change) for change in changes({"name": "paper", "epochs": 4, "lr": 0.001})]
    ['epochs 4 (25)']
    """
    ours, idle = built_in(recipe), {"name", *without_effect(recipe)}
    lacking = {
        field: Recipe.model_fields[field].default for field in sorted(ADDED_LATER) if "epochs" in recipe
    }
    return tuple(
        Change(field, value, ours.get(field))
        for field, value in {**lacking, **recipe}.items()
        if ours and field not in idle and not _as_in(ours, field, value)
    )


def is_papers(recipe: Mapping[str, Any]) -> bool:
    """Return whether every recorded field with an effect has the paper's value, whatever the recipe is called.

    >>> is_papers({"name": "mine", "epochs": 25}), is_papers({"name": "paper", "epochs": 4}), is_papers({})
    (True, False, False)
    """
    idle = {"name", *without_effect(recipe)}
    fields = {field: value for field, value in recipe.items() if field not in idle}
    return "epochs" in fields and all(_as_in(_PAPER, field, value) for field, value in fields.items())


def describe(recipe: Mapping[str, Any]) -> str:
    """Return its name with what was changed.

    >>> describe({"name": "paper", "epochs": 4}), describe({"name": "paper", "epochs": 25}), describe({})
    ('paper, changed: epochs 4 (25)', 'paper', 'n/a')
    """
    name = str(recipe.get("name") or "n/a")
    changed = changes(recipe)
    return f"{name}, changed: {', '.join(map(str, changed))}" if changed else name


def _as_in(ours: Mapping[str, Any], field: str, value: Any) -> bool:
    """Return whether a field is as in ours; cards hold the precision that `auto` came to on their machine."""
    if field not in ours:
        return False
    return value == ours[field] or (field == "precision" and ours[field] == "auto")


def setting(value: object) -> str:
    """Return one value of a recipe or a run card as text.

    >>> setting(None), setting(True), setting(60.0), setting("none")
    ('none', 'yes', '60', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
