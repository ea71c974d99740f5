"""Records of `hemoscope.review` as the API gives them, for its OpenAPI description: what is no number is null."""

from __future__ import annotations

import dataclasses
import operator
import types
from collections.abc import Mapping
from functools import cache, reduce
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
        return reduce(operator.or_, map(_shown, parts))
    if origin is tuple and parts[-1] is ...:
        return types.GenericAlias(list, _shown(parts[0]))
    if origin is tuple:
        return types.GenericAlias(tuple, tuple(map(_shown, parts)))
    if origin in (dict, Mapping):
        return types.GenericAlias(dict, (parts[0], _shown(parts[1])))
    return hint
