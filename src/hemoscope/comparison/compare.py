"""From a folder of runs to what can be said of their differences: intervals, paired tests, groups. Predictions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hemoscope.ensemble.candidates import LeftOut
from hemoscope.ensemble.members import CHOICES, Assembly, assemble, form_ensemble
from hemoscope.ensemble.vote import How, vote
from hemoscope.errors import RunError
from hemoscope.evaluation.auroc import macro_auroc
from hemoscope.evaluation.bootstrap import DRAWS, STATISTICS, Estimate, balanced_estimate, intervals_of
from hemoscope.evaluation.paired import chance_better, discordant, holm, mcnemar, together
from hemoscope.evaluation.seeds import Spread, spread_of
from hemoscope.evaluation.summary import Scores, score
from hemoscope.records import Predictions

__all__ = ["ENSEMBLE", "LEVEL", "Comparison", "Pair", "Seeds", "Subject", "compare"]

ENSEMBLE = "ensemble"
"""Stands for the name of a run where the ensemble is meant."""

LEVEL = 0.05
"""Of the tests, after Holm: how often one of all differences may be called real that is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A run or the ensemble. `estimates` are scores by name with their intervals."""

    label: str
    name: str
    predictions: Predictions
    scores: Scores
    estimates: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two subjects, the better one first.

    Attributes:
        first: Its place in the ranking.
        second: That of the other.
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.
        p: Of McNemar's exact test.
        p_holm: The same, adjusted for all pairs.
        chance: Probability that the first is the better one.
    """

    first: int
    second: int
    only_first: int
    only_second: int
    p: float
    p_holm: float
    chance: float


@dataclass(frozen=True, slots=True)
class Seeds:
    """A network that was trained with several seeds, or votes of networks each of which has one seed throughout."""

    label: str
    n_seeds: int
    spread: Spread


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Subjects on the same images, best first.

    Attributes:
        side: `test` or `val`.
        subjects: In order of accuracy.
        pairs: Every two of them.
        preferred: Place of the one that validation prefers; without validation images of the ensemble, else of the first run.
        by_validation: Whether there are some.
        groups: First and last place of each longest stretch in which no two can be told apart.
        seeds: Networks with several seeds; at last the votes, one a seed, if several networks share seeds. None on one image.
        left_out: Runs that could not be compared, and why.
    """

    side: str
    subjects: tuple[Subject, ...]
    pairs: tuple[Pair, ...]
    preferred: int
    by_validation: bool
    groups: tuple[tuple[int, int], ...]
    seeds: tuple[Seeds, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `hemoscope compare --json` prints."""
        return {
            "side": self.side,
            "n": self.subjects[0].scores.n,
            "runs": [_subject(subject) for subject in self.subjects],
            "pairs": [
                {
                    "first": self.subjects[pair.first].name,
                    "second": self.subjects[pair.second].name,
                    **{
                        key: getattr(pair, key)
                        for key in ("only_first", "only_second", "p", "p_holm", "chance")
                    },
                    "distinguishable": pair.p_holm < LEVEL,
                }
                for pair in self.pairs
            ],
            "preferred": self.subjects[self.preferred].name,
            "groups": [[subject.name for subject in self.subjects[a : b + 1]] for a, b in self.groups],
            "seeds": [
                {
                    "network": one.label,
                    "seeds": one.n_seeds,
                    **{
                        key: getattr(one.spread, key)
                        for key in ("mean", "sd", "sd_seed", "sd_images", "sd_both")
                    },
                }
                for one in self.seeds
            ],
            "left_out": [{"name": item.name, "reason": item.reason} for item in self.left_out],
        }


def compare(
    runs_root: Path,
    *,
    side: Literal["test", "val"] = "test",
    members: str = "auto",
    how: How | None = None,
    draws: int = DRAWS,
) -> Comparison:
    """Compare the runs below a folder, and their ensemble, on the images of one side.

    Args:
        runs_root: A folder of run folders, or one run folder.
        side: Which images.
        members: Of the ensemble; see `assemble`.
        how: Its vote; see `assemble`.
        draws: Of the bootstrap.

    Raises:
        RunError: If no finished run can be read, or the side holds no image.
    """
    found = assemble(runs_root, members=members, how=how)
    said = [(entry.label, entry.name, entry.val if side == "val" else entry.test) for entry in found.entries]
    if found.ensemble:
        voters = [entry.val if side == "val" else entry.test for entry in found.ensemble.members]
        said.append((f"{found.ensemble.label}, {found.how}", ENSEMBLE, vote(voters, how=found.how)))
    if not len(said[0][2]):
        raise RunError(
            f"the {side} side of the runs in {runs_root} holds no image; there is nothing to compare"
        )
    ranked = sorted(said, key=lambda one: (one[2].n_errors, one[1]))
    right = np.stack([one.pred == one.target for _, _, one in ranked])
    pairs = _pairs(right)
    differ = np.zeros((len(ranked), len(ranked)), dtype=bool)
    for pair in pairs:
        differ[pair.first, pair.second] = differ[pair.second, pair.first] = pair.p_holm < LEVEL
    return Comparison(
        side=side,
        subjects=tuple(_judged(*one, draws=draws) for one in ranked),
        pairs=tuple(pairs),
        by_validation=all(len(entry.val) for entry in found.entries),
        preferred=[name for _, name, _ in ranked].index(
            ENSEMBLE if found.ensemble_leads else found.best.name
        ),
        groups=tuple(together(range(len(ranked)), differ)),
        seeds=(*_seeds(found, side), *_votes(found, side, members)) if right.shape[1] > 1 else (),
        left_out=found.left_out,
    )


def _pairs(right: NDArray[np.bool_]) -> list[Pair]:
    counts = discordant(right)
    places = list(combinations(range(len(right)), 2))
    only_first = np.array([counts[a, b] for a, b in places], dtype=np.int64)
    only_second = np.array([counts[b, a] for a, b in places], dtype=np.int64)
    p = mcnemar(only_first, only_second)
    columns: Sequence[Any] = (only_first, only_second, p, holm(p), chance_better(only_first, only_second))
    return [
        Pair(*place, *values)
        for place, values in zip(
            places, zip(*(column.tolist() for column in columns), strict=True), strict=True
        )
    ]


def _judged(label: str, name: str, predictions: Predictions, *, draws: int) -> Subject:
    scores = score(predictions)
    estimates = intervals_of(scores.confusion, STATISTICS, draws=draws)
    estimates["balanced_accuracy"] = balanced_estimate(scores.confusion, draws=draws)
    estimates["auroc"] = macro_auroc(predictions.probs, predictions.target, draws=draws)
    return Subject(label, name, predictions, scores, estimates)


def _seeds(found: Assembly, side: str) -> list[Seeds]:
    several = [network for network in found.networks if len(network.entries) > 1]
    said = [[e.val if side == "val" else e.test for e in network.entries] for network in several]
    return [
        Seeds(network.label, len(seeds), spread_of(np.stack([one.pred == one.target for one in seeds])))
        for network, seeds in zip(several, said, strict=True)
    ]


def _votes(found: Assembly, side: str, members: str) -> list[Seeds]:
    """Let the runs of every seed vote by themselves, chosen as the ensemble is: an ensemble trained again has other seeds throughout."""
    several = [network for network in found.networks if len(network.entries) > 1]
    if members not in CHOICES or len(several) < 2:
        return []
    shared = sorted(set.intersection(*({entry.seed for entry in network.entries} for network in several)))
    if len(shared) < 2:
        return []
    right = []
    for seed in shared:
        entries = [e for network in several for e in network.entries if e.seed == seed]
        voters, _, _ = form_ensemble(entries, members=members, how=found.how)
        said = vote([e.val if side == "val" else e.test for e in voters], how=found.how)
        right.append(said.pred == said.target)
    label = f"Votes of networks of one seed, {found.how}"
    return [Seeds(label, len(shared), spread_of(np.stack(right)))]


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "label": subject.label,
        "errors": subject.scores.errors,
        "accuracy": subject.scores.accuracy,
        "accuracy_ci": list(subject.scores.accuracy_ci),
        **{
            key: value
            for name, estimate in subject.estimates.items()
            for key, value in ((name, estimate.value), (f"{name}_ci", [estimate.low, estimate.high]))
        },
    }
