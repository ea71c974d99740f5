"""Runs that may vote together: those below a folder that share a split, every other with the reason why not.

Runs of one split belong in one report and one ensemble. Others under the same folder are named, never mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hemoscope.errors import HemoscopeError, RunError
from hemoscope.evaluation.metrics import log_loss
from hemoscope.evaluation.summary import Scores, score
from hemoscope.records import Predictions
from hemoscope.runs import EVALUATED, EpochRow, Run, find_runs
from hemoscope.training.recipe import identity_of

__all__ = ["Entry", "LeftOut", "configuration", "read_runs"]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One finished run with its predictions and test scores. `label` is what tables call it."""

    name: str
    path: Path
    arch: str
    seed: int
    card: Mapping[str, Any] = field(repr=False)
    history: tuple[EpochRow, ...] = field(repr=False)
    val: Predictions = field(repr=False)
    test: Predictions = field(repr=False)
    scores: Scores = field(repr=False)
    label: str = ""

    @property
    def split_digest(self) -> str:
        """Identity of the split it was trained and tested on."""
        return str(self.card["split"]["digest"])

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Every field of its recipe."""
        return self.card["recipe"]

    @property
    def val_accuracy(self) -> float:
        """Fraction of validation images it got right; NaN without any."""
        return 1 - self.val.n_errors / len(self.val) if len(self.val) else float("nan")

    @property
    def val_loss(self) -> float:
        """Mean of -log of the probability of the true class on validation."""
        return log_loss(self.val.probs, self.val.target)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that is not in the report, and why."""

    name: str
    reason: str


def read_runs(runs_root: Path) -> tuple[list[Entry], tuple[LeftOut, ...]]:
    """Return the largest group of finished runs of one split, each run once, and the runs that are not in it.

    Raises:
        RunError: If no finished run can be read.
    """
    damaged: list[LeftOut] = []
    found = find_runs(
        runs_root, done_only=False, on_damage=lambda name, error: damaged.append(LeftOut(name, str(error)))
    )
    read, left_out = _read_all(found)
    left_out += damaged
    if not read:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in left_out)
        raise RunError(
            f"expected at least 1 finished run in {runs_root}; {reasons}. "
            f"Train some: hemoscope benchmark --data DIR --out {runs_root}"
        )
    chosen, others = _largest_group(read)
    return chosen, (*left_out, *others)


def configuration(entry: Entry) -> str:
    """Return what seeds of one network share, recipe and pretrained weights, as a key."""
    weights = (entry.card.get("weights") or {}).get("sha256")
    return json.dumps([identity_of(entry.recipe), weights], sort_keys=True, default=str)


def _read_all(runs: Sequence[Run]) -> tuple[list[Entry], list[LeftOut]]:
    """Read every finished run; one that cannot be used is listed with its reason."""
    read: list[Entry] = []
    left_out: list[LeftOut] = []
    for run in runs:
        if not run.done:
            left_out.append(LeftOut(run.name, _unfinished(run.card)))
            continue
        try:
            read.append(_entry(run))
        except HemoscopeError as error:
            left_out.append(LeftOut(run.name, str(error)))
    return read, left_out


def _entry(run: Run) -> Entry:
    val, test = run.predictions("val"), run.predictions("test")
    return Entry(
        name=run.name,
        path=run.path,
        arch=str(run.arch),
        seed=int(run.seed),
        card=run.card,
        history=run.history,
        val=val,
        test=test,
        scores=score(test),
    )


def _unfinished(card: Mapping[str, Any]) -> str:
    if card.get("status") == "failed":
        return f"failed: {card.get('reason', 'no reason given')}"
    return "not finished; the same command that started it goes on with it"


def _largest_group(entries: Sequence[Entry]) -> tuple[list[Entry], list[LeftOut]]:
    """Return the largest group of runs that predicted the same images, each once, and why the others are out."""
    groups: dict[Any, dict[str, Entry]] = {}
    copies: list[LeftOut] = []
    for entry in entries:
        key = (entry.split_digest, entry.test.classes, *(_images(p) for p in (entry.val, entry.test)))
        same = groups.setdefault(key, {}).setdefault(_identity(entry), entry)
        if same is not entry:
            copies.append(LeftOut(entry.name, f"the same run as {same.name}; it counts once"))
    each = [list(group.values()) for group in groups.values()]
    kept = max(each, key=lambda group: (len(group), max(str(e.card.get("finished_at")) for e in group)))
    digest = kept[0].split_digest
    size = "1 run" if len(kept) == 1 else f"{len(kept)} runs"
    why = {
        True: "same split, but it predicted other images than the runs that were taken",
        False: f"another split than the one taken, {digest[:12]}, of {size}",
    }
    out = [
        LeftOut(entry.name, f"{why[entry.split_digest == digest]}; its own is {entry.split_digest[:12]}")
        for group in each
        if group is not kept
        for entry in group
    ]
    return kept, [*copies, *out]


def _identity(entry: Entry) -> str:
    """Return what a run and its copies share, whatever their folders are called."""
    # What an adapted bundle answered has the digest of the run that it was adapted from.
    if entry.card["split"].get("policy") == EVALUATED:
        return entry.name
    return str(entry.card.get("digest") or entry.name)


def _images(predictions: Predictions) -> int:
    return hash((predictions.paths, predictions.target.tobytes()))
