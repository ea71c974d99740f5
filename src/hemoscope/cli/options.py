"""Options that several verbs share: one name, one help, one check; what is wrong exits 2 before any work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.places import DEVICE_NAMES, is_device_name

__all__ = [
    "DeviceName",
    "Images",
    "LeaveOut",
    "Members",
    "ModelFile",
    "Overwrite",
    "RunOrRuns",
    "Runs",
    "Vote",
    "VoteName",
    "VoteOrNone",
    "a_share",
    "names_in",
    "on_this_machine",
]


class Images(StrEnum):
    """Images that runs have predicted."""

    test = "test"
    val = "val"


class Vote(StrEnum):
    """How members are combined."""

    majority = "majority"
    soft = "soft"


def _device(name: str) -> str:
    if not is_device_name(name):
        raise typer.BadParameter(f"expected {DEVICE_NAMES}; got {name!r}")
    return name


def a_share(value: float) -> float:
    """Refuse what does not lie strictly between 0 and 1; NaN does not."""
    if not 0 < value < 1:
        raise typer.BadParameter(f"expected a share strictly between 0 and 1, such as 0.01; got {value}")
    return value


DeviceName = Annotated[str, typer.Option("--device", callback=_device, help=f"{DEVICE_NAMES}.")]
LeaveOut = Annotated[str, typer.Option(help="Classes to leave out, with commas between.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there, once the new one is whole.")
]
RunOrRuns = Annotated[
    str,
    typer.Argument(
        metavar="RUN|RUNS",
        help="A run folder, a folder of them, or the URL of such a folder (s3://bucket/runs).",
    ),
]
Runs = Annotated[
    str, typer.Argument(metavar="RUNS", help="A folder of run folders, or its URL (s3://bucket/runs).")
]
VoteName = Annotated[
    Vote, typer.Option("--vote", help="majority of predictions, or soft: mean of probabilities.")
]
VoteOrNone = Annotated[
    Vote | None,
    typer.Option(
        "--vote",
        help="majority of predictions, or soft: mean of probabilities. Default: of what evaluate --out wrote as it voted "
        "there, else majority.",
    ),
]
Members = Annotated[
    str,
    typer.Option(
        help="auto (the four best on validation), paper (its four, with its recipe where there are several), "
        "greedy, exhaustive, or names with commas between."
    ),
]


def names_in(listed: str) -> list[str]:
    """Return the names of a list with commas between them.

    >>> names_in("a, b c,")
    ['a', 'b c']
    """
    return [name.strip() for name in listed.split(",") if name.strip()]


def on_this_machine(device: str) -> None:
    """Refuse a device that is not there before any data are read; imports torch.

    Raises:
        ConfigError: As `choose_device`.
    """
    from hemoscope.training.device import choose_device
    from hemoscope.training.ranks import ranks_here

    choose_device(ranks_here().device_name(device))
