"""What a run card holds, checked before anything reads it: a run folder may come from a stranger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hemoscope.errors import RunError
from hemoscope.plain_files import read_plain, why

__all__ = ["read_card"]

MAX_BYTES = 64 * 2**20  # PBC's card has 8 kB; one that left out every file of a large folder some megabytes
MAX_CLASSES = 10_000
SHOWN = 5  # of the problems of one card

Scalar = str | int | float | bool | None
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _no_two_alike(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("expected every class once")
    return names


class _Checked(BaseModel):
    """Only what is read here is checked; a card of a newer version may hold more."""

    model_config = ConfigDict(extra="allow", strict=True)


class _LeftOut(_Checked):
    path: str = ""
    what: str = ""


class _Data(_Checked):
    root: str = ""
    source: str | None = None
    groups: Count | None = None
    groups_on_two_sides: Count | None = None
    digest: str = ""
    classes: Annotated[
        list[str], Field(min_length=1, max_length=MAX_CLASSES), AfterValidator(_no_two_alike)
    ] = []
    counts: dict[str, dict[str, Count]] | None = None
    converted: dict[str, Count] | None = None
    short_sides_px: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    left_out: list[_LeftOut] | None = None
    second_acquisition: dict[str, Count] | None = None


class _Split(_Checked):
    digest: str = ""
    policy: str = ""
    seed: int | None = None


class _Weights(_Checked):
    source: str | None = None
    origin: str | None = None
    note: str | None = None
    sha256: str | None = None


class _Digest(_Checked):
    digest: str = ""


class _TrainedOn(_Checked):
    data: _Digest | None = None


class _Evaluated(_Checked):
    vote: Literal["majority", "soft"] | None = None
    bundle: str | None = None
    trained_on: _TrainedOn | None = None
    seen_before: dict[str, Count] | None = None


class _Card(_Checked):
    arch: str = ""
    seed: Count | None = None
    status: str = ""
    reason: str = ""
    command: str = ""
    recipe: dict[str, Scalar] = {}
    data: _Data | None = None
    split: _Split | None = None
    evaluated: _Evaluated | None = None
    weights: _Weights | None = None
    versions: dict[str, Scalar] | None = None
    machine: dict[str, Scalar] | None = None
    timings: dict[str, Number | None] | None = None
    utilisation: dict[str, Number] | None = None
    files: dict[str, str] | None = None
    parameters: Count | None = None
    image_px: Annotated[int, Field(ge=1, le=2**14)] | None = None
    peak_memory_mib: Number | None = None
    peak_device_memory_mib: Number | None = None
    started_at: str | None = None
    finished_at: str | None = None


# What a finished run is known by.
NEEDED = (("arch",), ("seed",), ("recipe",), ("data", "classes"), ("split", "digest"))


def read_card(path: Path, *, done: bool) -> Mapping[str, Any]:
    """Return a run card as it was written.

    Args:
        path: A run.json.
        done: Whether its run finished.

    Raises:
        FileNotFoundError: If there is none.
        RunError: If it is no run card; the message names up to five of its problems.
    """
    try:
        card = _parsed(path)
        _Card.model_validate(card)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        told = [f"{'.'.join(map(str, p['loc'])) or 'the card'}: {p['msg']}" for p in problems[:SHOWN]]
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise _damaged(path, "; ".join(told) + more) from error
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise _damaged(path, why(error)) from error
    lacking = [".".join(keys) for keys in NEEDED if _at(card, keys) is None] if done else []
    if lacking:
        raise _damaged(path, f"it lacks {', '.join(lacking)}")
    return card


def _parsed(path: Path) -> Any:
    return json.loads(read_plain(path, most=MAX_BYTES), parse_constant=_refuse)


def _at(card: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = card
    for key in keys:
        found = (found or {}).get(key)
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged: {why}; delete the folder and run again")
