"""Records of `hemoscope.review` as the API gives them, for its OpenAPI description: what is no number is null."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

__all__ = ["shape_of"]


@cache
def shape_of(record: type) -> type[BaseModel]:
    """Return the model of what `jsonable(asdict(...))` makes of a dataclass.

    >>> from hemoscope.review.readers import Kappa
    >>> shape_of(Kappa).model_validate({"value": None, "low": 0.2, "high": None}).low
    0.2
    """
    hints = get_type_hints(record)
    fields: dict[str, Any] = {
        each.name: (_shown(hints[each.name]), ...) for each in dataclasses.fields(record)
    }
    return create_model(record.__name__, __doc__=(record.__doc__ or "").partition("\n")[0], **fields)


def _shown(hint: Any) -> Any:
    """Return a field's type in JSON."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return shape_of(hint)
    if hint is float:
        return float | None
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return Union[tuple(_shown(part) for part in parts)]  # noqa: UP007  of so many as there are
    if origin is tuple:
        return list[_shown(parts[0])] if parts[-1] is ... else tuple[tuple(_shown(part) for part in parts)]
    if origin in (dict, Mapping):
        return dict[parts[0], _shown(parts[1])]
    return hint
