"""What a search may choose: fields of the recipe, each with a range or a list. Pure: no torch, no Ray."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.training.recipe import Recipe, changed, parse_value

__all__ = ["Choice", "Range", "parse_space", "write_recipe"]

DECADE = 10.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, whole where the field is; `log` draws its logarithm evenly."""

    low: float
    high: float
    whole: bool
    log: bool


def parse_space(texts: Iterable[str], base: Recipe) -> dict[str, Choice | Range]:
    """Return what a search may choose.

    Args:
        texts: As `FIELD=LOW..HIGH` or `FIELD=A,B,C`. A range over a factor of ten or more of positive numbers is drawn
            by its logarithm.
        base: The recipe whose fields they change; every end of a range and every choice must hold in it.

    Raises:
        UnknownNameError: If the recipe has no such field.
        ConfigError: If a text is no range or list, or a value does not hold.

    >>> parse_space(["lr=0.001..0.1", "batch_size=16,32"], Recipe())["lr"]
    Range(low=0.001, high=0.1, whole=False, log=True)
    """
    space: dict[str, Choice | Range] = {}
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not values or name in space:
            raise ConfigError(
                f"expected --search FIELD=LOW..HIGH or FIELD=A,B,C, each field once; got {text!r}"
            )
        if name not in Recipe.model_fields or name == "name":
            raise UnknownNameError("recipe field", name, Recipe.model_fields)
        if ".." in values:
            drawn = space[name] = _range(name, values)
            ends: tuple[Any, ...] = tuple(int(x) if drawn.whole else x for x in (drawn.low, drawn.high))
        else:
            ends = tuple(parse_value(value.strip()) for value in values.split(","))
            space[name] = Choice(ends)
        for end in ends:
            changed(base, {name: end})
    if not space:
        raise ConfigError("expected something to search: --search lr=0.001..0.1, for example")
    return space


def write_recipe(recipe: Recipe) -> str:
    """Return a recipe as TOML: its name, and every field that differs from the paper's, so that a reader sees what is special.

    >>> print(write_recipe(Recipe(name="mine", lr=0.01, hflip=False)))
    name = "mine"
    lr = 0.01
    hflip = false
    <BLANKLINE>
    """
    paper = Recipe()
    lines = [
        f"{name} = {_toml(value)}"
        for name, value in recipe.model_dump().items()
        if name == "name" or (value != getattr(paper, name) and value is not None)
    ]
    return "".join(f"{line}\n" for line in lines)


def _range(name: str, values: str) -> Range:
    kind = _number(Recipe.model_fields[name].annotation)
    try:
        low, high = map(float, values.split("..", 1))
    except ValueError:
        low = high = math.nan
    whole = low.is_integer() and high.is_integer()
    if kind is None or not low < high or (kind is int and not whole):
        raise ConfigError(
            f"--search {name}={values}: expected LOW..HIGH of a field that is a number, such as lr=0.001..0.1"
        )
    return Range(low, high, whole=kind is int, log=low > 0 and high / low >= DECADE)


def _number(annotation: Any) -> type | None:
    if annotation in (int, float):
        return annotation
    if isinstance(annotation, types.UnionType):  # such as int | None
        return next((kind for kind in typing.get_args(annotation) if kind in (int, float)), None)
    return None


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)
