"""What can be scored on labelled cells: a finished run, an ensemble of runs, a bundle. One way to ask each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.split_file import recorded_split
from hemoscope.ensemble.members import assemble
from hemoscope.ensemble.vote import How
from hemoscope.errors import ConfigError, DataError, RunError
from hemoscope.predict.model import Model, Verdict, load
from hemoscope.predict.network import Network, at_nucleus, load_run, seen_px
from hemoscope.predict.stream import Answer, stream
from hemoscope.records import Side
from hemoscope.runs import CARD, Run

__all__ = ["Member", "Scorable", "a_bundle", "a_run", "open_scorable", "some_runs"]

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")  # of a bundle's runs, whose names become folders


Image = Path | NDArray[np.uint8]
Ask = Callable[[Iterable[Image]], Iterator[tuple[Answer, Verdict | None]]]


@dataclass(frozen=True)
class Member:
    """One network: its name, what a run card says of it, and its run, which a bundle does not have."""

    name: str
    card: Mapping[str, Any]
    run: Run | None = None


@dataclass(frozen=True)
class Scorable:
    """Something that answers, ready to be scored.

    Attributes:
        name: What a person calls it.
        classes: Class names in the order of the answers.
        members: Its networks.
        vote: How they are combined.
        chosen: How the members came to be, in one sentence; empty for a single run.
        ask: Yields the members' answers to every image, in order, and a bundle's verdict.
        seen_px: Gives the diameter of the nuclei of some images; None where it frames none. See `Model.seen_px`.
        at_nucleus: Gives `ask` for cells with nuclei of a diameter; see `Model.at_nucleus`.
        judges: Whether there are verdicts.
    """

    name: str
    classes: tuple[str, ...]
    members: tuple[Member, ...]
    vote: How
    chosen: str
    ask: Ask
    seen_px: Callable[[Iterable[Image]], float | None]
    at_nucleus: Callable[[float | None], Ask]
    judges: bool = False

    def at_camera(self, images: Iterable[Image]) -> Ask:
        """Return `ask` for cells of the camera that took some images; see `Model.at_camera`."""
        return self.at_nucleus(self.seen_px(images))

    def sides(self) -> Mapping[str, Side] | None:
        """Return the side every image of its split was on, by the SHA-256 of its bytes; None where that is not known."""
        run = self.members[0].run  # members share one split
        if run is None:
            return None
        digest = str(run.card["split"]["digest"])
        split = recorded_split(run.path.parent / "splits" / f"{digest[:16]}.csv", digest)
        return {row.hash: row.side for row in split.rows} if split else None


def open_scorable(
    path: Path,
    *,
    members: str | None = None,
    vote: How | None = None,
    tta: bool = False,
    device: str = "auto",
) -> Scorable:
    """Open what lies at a path.

    Args:
        path: A run folder, a folder of them, or a bundle.
        members: Which runs of a folder vote; see `assemble`. `auto` where None.
        vote: How they do; `majority` where None.
        tta: Average a bundle's answers over eight flips and turns; a run's recipe says it itself.
        device: Where to compute.

    Raises:
        DataError: If there is nothing.
        RunError: If there is nothing finished, or no ensemble.
        BundleError: If the file is no bundle.
        ConfigError: If an option does not fit what lies there.
    """
    if not path.exists():
        raise DataError(f"there is no {path}; expected a run folder, a folder of runs, or a bundle")
    if path.is_file():
        if members or vote:
            raise ConfigError(
                f"{path} is a bundle: its members and its vote are settled; leave --members and --vote out"
            )
        return a_bundle(load(path, device=device), path.stem, tta=tta)
    if tta:
        raise ConfigError("--tta is for bundles; a run is asked as its recipe says (--set views=8)")
    if (path / CARD).is_file():
        if members or vote:
            raise ConfigError(f"{path} is one run; --members and --vote are for a folder of runs")
        return a_run(Run.open(path), device=device)
    return some_runs(path, members=members or "auto", vote=vote or "majority", device=device)


def a_run(run: Run, *, device: str = "auto") -> Scorable:
    """Return a finished run.

    Raises:
        RunError: If it is not finished, or its weights are missing or damaged.
    """
    if not run.done:
        raise RunError(
            f"{run.path} is not finished; the command that started it goes on with it: {run.card.get('command')}"
        )
    return _of_runs(run.name, [run], "majority", "", device)


def some_runs(
    folder: Path, *, members: str = "auto", vote: How = "majority", device: str = "auto"
) -> Scorable:
    """Return the ensemble of a folder of runs, chosen on their validation images.

    Raises:
        RunError: As `assemble`, and if there is no ensemble.
        UnknownNameError: If a member has no such name.
    """
    found = assemble(folder, members=members, how=vote)
    if found.ensemble is None:
        raise RunError(
            f"there is no ensemble in {folder}: {found.no_ensemble} Score the run: {found.best.path}"
        )
    runs = [Run.open(entry.path) for entry in found.ensemble.members]
    return _of_runs(f"ensemble of {len(runs)}", runs, vote, found.ensemble.chosen, device)


def a_bundle(model: Model, name: str, *, tta: bool = False) -> Scorable:
    """Return a loaded bundle.

    Raises:
        ConfigError: If it was not calibrated for `tta`.
    """
    model.trust(tta=tta)
    runs = [member.run for member in model.card.members]
    members = [
        Member(
            member.run if _SAFE.fullmatch(member.run) and runs.count(member.run) == 1 else f"member-{i}",
            {
                "arch": member.arch,
                "seed": member.seed,
                "recipe": {**member.recipe},
                "image_px": member.preprocessing.image_px,
                "parameters": member.parameters,
                "weights": dict(member.pretrained),
                "data": {"digest": str(model.card.data.get("digest", ""))},
            },
        )
        for i, member in enumerate(model.card.members)
    ]
    return Scorable(
        name=name,
        classes=model.card.classes,
        members=tuple(members),
        vote=model.card.vote,
        chosen=model.card.chosen,
        ask=partial(model.ask, tta=tta),
        seen_px=model.seen_px,
        at_nucleus=lambda px: partial(model.at_nucleus(px).ask, tta=tta),
        judges=True,
    )


def _of_runs(name: str, runs: Sequence[Run], vote: How, chosen: str, device: str) -> Scorable:
    networks = [load_run(run, device_name=device) for run in runs]
    turned = [run.card["recipe"].get("views", 1) > 1 for run in runs]  # as each was scored by itself

    def of(networks: Sequence[Network]) -> Ask:
        return lambda images: ((answer, None) for answer in stream(networks, images, tta=turned))

    return Scorable(
        name=name,
        classes=runs[0].classes,
        members=tuple(Member(run.name, run.card, run) for run in runs),
        vote=vote,
        chosen=chosen,
        ask=of(networks),
        seen_px=partial(seen_px, networks),
        at_nucleus=lambda px: of(at_nucleus(networks, px)),
    )
