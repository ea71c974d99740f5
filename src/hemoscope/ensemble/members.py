"""From a folder of runs to its ensemble: which runs vote, chosen how, and what their vote says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from hemoscope import paper
from hemoscope.ensemble.candidates import Entry, LeftOut, configuration, read_runs
from hemoscope.ensemble.choose import MOST_MEMBERS, Choice, Strategy, choose_members, paper_members
from hemoscope.ensemble.halves import halves
from hemoscope.ensemble.networks import Network, group_networks
from hemoscope.ensemble.vote import How, check_name, vote
from hemoscope.errors import RunError, UnknownNameError
from hemoscope.evaluation.metrics import log_loss
from hemoscope.evaluation.summary import Scores, score
from hemoscope.records import Predictions
from hemoscope.training.changes import describe, is_papers

__all__ = ["CHOICES", "Assembly", "Ensemble", "assemble", "form_ensemble", "is_choice", "leads"]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Several runs that vote.

    Attributes:
        members: The runs, best first where they were ranked.
        how: The vote.
        chosen: One sentence on how the members came to be.
        choice: What was found on validation; None where the members were named.
        selected: Whether validation had more runs to choose from than it took.
        val_errors: Wrong validation images of the vote.
        val_loss: Log-loss of the members' mean probability on validation.
        predictions: What the vote says on the test side.
        scores: Its test scores.
        unanimous: Test images on which all members agree.
        tied: Test images on which the most votes went to several classes.
    """

    members: tuple[Entry, ...]
    how: How
    chosen: str
    choice: Choice | None
    selected: bool
    val_errors: int
    val_loss: float
    predictions: Predictions
    scores: Scores
    unanimous: int
    tied: int

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"Ensemble of {len(self.members)}"

    @property
    def is_papers(self) -> bool:
        """Whether the paper's four architectures vote as the paper lets them."""
        archs = sorted(member.arch for member in self.members)
        return self.how == "majority" and archs == sorted(paper.ENSEMBLE_MEMBERS)


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """The runs of one split below a folder, and their ensemble.

    Attributes:
        networks: The runs, seeds of one configuration together.
        best: The run with the fewest errors on validation.
        voters: The runs that answer: the ensemble's members, or the one run that was picked.
        ensemble: The ensemble, or None.
        no_ensemble: Why there is none; empty where there is one.
        left_out: Runs that are not in here, and why.
        how: The vote.
        by_half: Whether more runs were there than vote, and only one half of the validation images chose.
    """

    networks: tuple[Network, ...]
    best: Entry
    voters: tuple[Entry, ...]
    ensemble: Ensemble | None
    no_ensemble: str
    left_out: tuple[LeftOut, ...]
    how: How
    by_half: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The runs in the order of the networks."""
        return tuple(entry for network in self.networks for entry in network.entries)

    @property
    def ensemble_leads(self) -> bool:
        """Whether the ensemble does better than the best run on validation; see `leads`."""
        return leads(self.ensemble, self.best)

    @property
    def chosen(self) -> str:
        """How the voters came to be; empty where there is one run."""
        if self.ensemble:
            return self.ensemble.chosen
        return self.no_ensemble if len(self.entries) > 1 else ""


def assemble(
    runs_root: Path, *, members: str = "auto", how: How | None = None, leave_half: bool = False
) -> Assembly:
    """Read the runs below a folder and let those that are asked for vote.

    Args:
        runs_root: A folder of run folders, or one run folder.
        members: `auto`, `paper`, `top`, `greedy`, `exhaustive`, or names of runs or architectures
            with commas between.
        how: `majority` or `soft`. None: as they voted when they were evaluated together, else `majority`.
        leave_half: Where there is something to choose, choose by one half of the validation images and leave the
            other for thresholds (`halves`). The entries then hold that half only.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        UnknownNameError: If a member or vote has no such name.
    """
    entries, left_out = read_runs(runs_root)
    how = how or _evaluated_vote(entries) or "majority"
    first, second = halves(entries[0].val.target)
    by_half = leave_half and is_choice(entries, members) and len(second) > 0
    if by_half:
        entries = [replace(entry, val=entry.val.take(first)) for entry in entries]
    networks = group_networks(entries)
    entries = [entry for network in networks for entry in network.entries]
    best = min(entries, key=lambda e: (e.val.n_errors / max(len(e.val), 1), e.val_loss, e.name))
    voters, ensemble, why = form_ensemble(entries, members=members, how=how)
    return Assembly(networks, best, voters, ensemble, why, left_out, how, by_half)


CHOICES = ("auto", *get_args(Strategy))
"""Ways in which validation images choose the members."""


def is_choice(entries: Sequence[Entry], members: str) -> bool:
    """Return whether `members` lets validation images decide which of several runs answer."""
    if members in ("greedy", "exhaustive"):
        return len(entries) > 1
    if members == "auto" and _evaluated_vote(entries):
        return False
    return members in ("auto", "top") and len(entries) > MOST_MEMBERS


def leads(ensemble: Ensemble | None, best: Entry) -> bool:
    """Return whether an ensemble does better than the best run on validation, and so makes the headline.

    Fewer errors are better, then the lower log-loss; equals go to the single run, which is simpler.
    Without validation images nothing is known, and the ensemble leads: no run is known to be better than another.
    """
    if ensemble is None or not len(best.val):
        return ensemble is not None
    return (ensemble.val_errors, ensemble.val_loss) < (best.val.n_errors, best.val_loss)


def form_ensemble(
    entries: Sequence[Entry], *, members: str, how: How
) -> tuple[tuple[Entry, ...], Ensemble | None, str]:
    """Return the runs that are asked for, and their ensemble, or None and the reason why there is none.

    `auto` takes the four runs with the fewest validation errors, as the paper took its four best, and all where
    there are no validation images or where they were evaluated together; it never ends with one member, as a search
    over subsets may.

    Args:
        entries: Runs of one split.
        members: `auto`, `paper`, a strategy of `choose_members`, or names with commas between.
        how: `majority` or `soft`.

    Raises:
        RunError: If the paper's members are asked for and not there, or an architecture was trained in
            several ways and it is not clear which is meant.
        UnknownNameError: If a name is no run, no architecture, or no vote.
    """
    check_name("vote", how, get_args(How))
    if len(entries) == 1 and members == "auto":
        return tuple(entries), None, "There is one run, and an ensemble of one is that run."
    names, chosen, choice = _choose(entries, members, how)
    by_name = {entry.name: entry for entry in entries}
    picked = tuple(by_name[name] for name in names)
    if len(picked) == 1:
        return (
            picked,
            None,
            f"{chosen} That is one run, {picked[0].label}, and an ensemble of one is that run.",
        )
    predictions = vote([entry.test for entry in picked], how=how, names=names)
    on_val = vote([entry.val for entry in picked], how=how, names=names)
    unanimous, tied = _agreement(picked)
    ensemble = Ensemble(
        members=picked,
        how=how,
        chosen=chosen,
        choice=choice,
        selected=choice is not None and len(picked) < len(entries),
        val_errors=on_val.n_errors,
        val_loss=log_loss(on_val.probs, on_val.target),
        predictions=predictions,
        scores=score(predictions),
        unanimous=unanimous,
        tied=tied,
    )
    return picked, ensemble, ""


def _evaluated_vote(entries: Sequence[Entry]) -> How | None:
    """Return how runs voted that were evaluated together; None of others."""
    votes = {(entry.card.get("evaluated") or {}).get("vote") for entry in entries}
    return votes.pop() if len(votes) == 1 else None


def _choose(entries: Sequence[Entry], members: str, how: How) -> tuple[tuple[str, ...], str, Choice | None]:
    if members == "paper":
        picked = _of_archs(entries, paper.ENSEMBLE_MEMBERS)
        return paper_members({arch: e.name for arch, e in picked.items()}), _papers(picked), None
    strategy: Strategy | None = next((s for s in get_args(Strategy) if s == members), None)
    if members == "auto" and not len(entries[0].val):
        return (
            tuple(e.name for e in entries),
            "All runs there are; none has validation images to choose by.",
            None,
        )
    if members == "auto" or strategy is not None:
        together = members == "auto" and _evaluated_vote(entries) is not None
        size = len(entries) if together else MOST_MEMBERS
        val = {e.name: e.val for e in entries}
        choice = choose_members(val, strategy=strategy or "top", size=size, how=how)
        return choice.members, _sentence(choice, len(entries)), choice
    return _named(entries, members), "Named by the person who made this report.", None


def _papers(picked: Mapping[str, Entry]) -> str:
    told = "The paper's four architectures, taken as they are; the lowest seed of each."
    other = [f"{e.label}: {describe(e.recipe)}" for e in picked.values() if not is_papers(e.recipe)]
    return f"{told} Not with the paper's recipe: {'; '.join(other)}." if other else told


def _sentence(choice: Choice, candidates: int) -> str:
    if len(choice.members) == candidates:
        return f"{'Both' if candidates == 2 else f'All {candidates}'} runs there are."
    looked = {
        "top": f"The {len(choice.members)} best of {candidates} runs on the validation images",
        "greedy": f"Added one by one from {candidates} runs while the validation errors of the vote went down",
        "exhaustive": f"The best on validation of all {choice.n_considered:,} subsets of {candidates} runs",
    }[choice.strategy]
    return f"{looked}: fewest errors first, then the lower log-loss. The test images played no part."


def _named(entries: Sequence[Entry], members: str) -> tuple[str, ...]:
    """Resolve names of runs or architectures."""
    runs, archs = {entry.name for entry in entries}, {entry.arch for entry in entries}
    names = list(dict.fromkeys(part.strip() for part in members.split(",")))
    for name in names:
        if name not in runs | archs:
            raise UnknownNameError("run or architecture", name, sorted(runs | archs))
    picked = _of_archs(entries, [name for name in names if name not in runs])
    return tuple(dict.fromkeys(name if name in runs else picked[name].name for name in names))


def _of_archs(entries: Sequence[Entry], archs: Iterable[str]) -> dict[str, Entry]:
    """Return the lowest seed of each architecture that has runs.

    Where an architecture was trained in several ways, the paper's recipe unchanged is meant.

    Raises:
        RunError: If none or several of these ways are the paper's recipe, with every run to choose from.
    """
    picked: dict[str, Entry] = {}
    unclear: list[str] = []
    for arch in archs:
        runs = [entry for entry in entries if entry.arch == arch]
        ways = {configuration(entry) for entry in runs}
        if len(ways) > 1:
            papers = {configuration(entry) for entry in runs if is_papers(entry.recipe)}
            if len(papers) != 1:
                unclear.append(_unclear(arch, runs, len(ways), len(papers)))
                continue
            runs = [entry for entry in runs if configuration(entry) in papers]
        if runs:
            picked[arch] = min(runs, key=lambda entry: (entry.seed, entry.name))
    if unclear:
        raise RunError(f"{'; '.join(unclear)}. Name the runs that should vote, with commas between")
    return picked


def _unclear(arch: str, runs: Sequence[Entry], ways: int, papers: int) -> str:
    many = "none is" if not papers else f"{papers} are"
    choices = ", ".join(f"{entry.name} ({describe(entry.recipe)})" for entry in runs)
    return f"{arch} was trained in {ways} ways and {many} the paper's recipe unchanged; there are {choices}"


def _agreement(members: Sequence[Entry]) -> tuple[int, int]:
    """Count the test images that have all votes, and those where the most votes are several classes'.

    All runs of a report predict the same images in the same order.
    """
    said = np.stack([entry.test.pred for entry in members])  # (K, N)
    with_me = np.stack([(said == one).sum(axis=0) for one in said])  # (K, N): votes for what each says
    most = with_me.max(axis=0)
    # A class with `most` votes is said by that many members: twice as many of them are two such classes.
    leading = (with_me == most).sum(axis=0)
    return int((most == len(members)).sum()), int((leading > most).sum())
