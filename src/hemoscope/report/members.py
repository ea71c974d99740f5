"""The ensemble of a report: which runs, chosen how, with which votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from hemoscope.ensemble import Choice, How, Strategy, choose_members, paper_members, vote
from hemoscope.errors import UnknownNameError
from hemoscope.evaluation.summary import Scores, score
from hemoscope.records import Predictions
from hemoscope.report.networks import Entry

__all__ = ["Ensemble", "combine"]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Several runs that vote.

    Attributes:
        members: The runs, best first where they were ranked.
        how: The vote.
        chosen: One sentence on how the members came to be.
        choice: What was found on validation; None where the members were named.
        val_errors: Wrong validation images of the vote.
        predictions: What the vote says on the test side.
        scores: Its test scores.
        unanimous: Test images on which all members agree.
        tied: Test images on which the most votes went to several classes.
    """

    members: tuple[Entry, ...]
    how: How
    chosen: str
    choice: Choice | None
    val_errors: int
    predictions: Predictions
    scores: Scores
    unanimous: int
    tied: int


def combine(entries: Sequence[Entry], *, members: str, how: How) -> tuple[Ensemble | None, str]:
    """Return the ensemble that is asked for, or None and the reason why there is none.

    `auto` takes the four runs with the fewest validation errors, as the paper took its four best; it
    never ends with one member, as a search over subsets may.

    Args:
        entries: Runs of one split.
        members: `auto`, `paper`, a strategy of `choose_members`, or names with commas between.
        how: `majority` or `soft`.

    Raises:
        RunError: If the paper's members are asked for and not there.
        UnknownNameError: If a name is no run, no architecture, or no vote.
    """
    if how not in get_args(How):
        raise UnknownNameError("vote", how, get_args(How))
    if len(entries) == 1 and members == "auto":
        return None, "There is one run, and an ensemble of one is that run."
    names, chosen, choice = _choose(entries, members, how)
    by_name = {entry.name: entry for entry in entries}
    picked = tuple(by_name[name] for name in names)
    if len(picked) == 1:
        return None, f"{chosen} That is one run, {picked[0].label}, and an ensemble of one is that run."
    predictions = vote([entry.test for entry in picked], how=how, names=names)
    votes = _votes(picked)
    most = votes.max(axis=1)
    ensemble = Ensemble(
        members=picked,
        how=how,
        chosen=chosen,
        choice=choice,
        val_errors=vote([entry.val for entry in picked], how=how, names=names).n_errors,
        predictions=predictions,
        scores=score(predictions),
        unanimous=int((most == len(picked)).sum()),
        tied=int(((votes == most[:, None]).sum(axis=1) > 1).sum()),
    )
    return ensemble, ""


def _choose(entries: Sequence[Entry], members: str, how: How) -> tuple[tuple[str, ...], str, Choice | None]:
    if members == "paper":
        names = paper_members(_first_of_each_arch(entries))
        return names, "The paper's four architectures, taken as they are; the lowest seed of each.", None
    strategy: Strategy | None = next((s for s in get_args(Strategy) if s == members), None)
    if members == "auto" or strategy is not None:
        choice = choose_members({e.name: e.val for e in entries}, strategy=strategy or "top", how=how)
        return choice.members, _sentence(choice, len(entries)), choice
    return _named(entries, members), "Named by the person who made this report.", None


def _sentence(choice: Choice, candidates: int) -> str:
    if len(choice.members) == candidates:
        return f"All {candidates} runs there are."
    looked = {
        "top": f"The {len(choice.members)} best of {candidates} runs on the validation images",
        "greedy": f"Added one by one from {candidates} runs while the validation errors of the vote went down",
        "exhaustive": f"The best on validation of all {choice.n_considered:,} subsets of {candidates} runs",
    }[choice.strategy]
    return f"{looked}: fewest errors first, then the lower log-loss. The test images played no part."


def _named(entries: Sequence[Entry], members: str) -> tuple[str, ...]:
    """Resolve names of runs or architectures; of an architecture with several runs, the lowest seed."""
    runs = {entry.name: entry.name for entry in entries}
    known = _first_of_each_arch(entries) | runs
    names: dict[str, None] = {}
    for name in (part.strip() for part in members.split(",")):
        if name not in known:
            raise UnknownNameError("run or architecture", name, known)
        names[known[name]] = None
    return tuple(names)


def _first_of_each_arch(entries: Sequence[Entry]) -> dict[str, str]:
    ordered: Mapping[str, str] = {
        entry.arch: entry.name for entry in sorted(entries, key=lambda e: (e.seed, e.name), reverse=True)
    }
    return dict(ordered)


def _votes(members: Sequence[Entry]) -> np.ndarray:
    """Count the members' votes; all runs of a report predict the same images in the same order, (N, C)."""
    said = np.stack([entry.test.pred for entry in members])  # (K, N)
    return (said[..., None] == np.arange(len(members[0].test.classes))).sum(axis=0)
