"""Choosing the members of an ensemble, by validation predictions and nothing else: no test side comes in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hemoscope.ensemble.vote import STEPS, How, align, blocks, check_name, winner
from hemoscope.errors import ConfigError, RunError
from hemoscope.evaluation.metrics import SMALLEST_PROB
from hemoscope.paper import ENSEMBLE_MEMBERS
from hemoscope.records import FloatArray, IntArray, Predictions

__all__ = [
    "MAX_SUBSETS",
    "MOST_MEMBERS",
    "Choice",
    "Strategy",
    "choose_members",
    "paper_members",
]


Strategy = Literal["top", "greedy", "exhaustive"]


MAX_SUBSETS = 2_000_000
MOST_MEMBERS = 4  # as the paper's ensemble has


@dataclass(frozen=True, slots=True)
class Choice:
    """The members that did best on validation.

    Attributes:
        members: Their names; best first for `top`, in order of joining for `greedy`, sorted for
            `exhaustive`.
        strategy: How they were looked for.
        how: The vote they were chosen for.
        val_errors: Validation images their vote gets wrong.
        val_log_loss: Mean of -log of their mean probability of the true class.
        n_considered: Ensembles that were scored on the way.
    """

    members: tuple[str, ...]
    strategy: Strategy
    how: How
    val_errors: int
    val_log_loss: float
    n_considered: int


def choose_members(
    val: Mapping[str, Predictions], *, strategy: Strategy, size: int = MOST_MEMBERS, how: How = "majority"
) -> Choice:
    """Choose the members of an ensemble by their validation predictions.

    `top` takes the `size` best networks. `greedy` starts with the best one and adds whichever helps
    most, until none does. `exhaustive` scores every subset of 1 to `size` networks. Fewer errors are
    better, then a lower log-loss of the mean probability (to 12 decimals), then fewer members, then
    the earlier names.

    Args:
        val: Validation predictions by the name of their run.
        strategy: How to look for members.
        size: Most members to take; all of `val` when it holds fewer.
        how: The vote that the members are for.

    Raises:
        ConfigError: If `size` is below 1, or `exhaustive` would score over `MAX_SUBSETS` subsets.
        RunError: If the predictions do not fit together, or hold no image.
        UnknownNameError: If there is no such strategy or vote.
    """
    check_name("member selection", strategy, get_args(Strategy))
    check_name("vote", how, get_args(How))
    if size < 1:
        raise ConfigError(f"an ensemble needs at least 1 member; got size={size}")
    names = sorted(val)
    pool = _Pool.of(align([val[name] for name in names], names=names), how)
    if not len(pool.target):
        raise RunError("choosing members needs validation predictions; these runs hold 0 validation images")
    size = min(size, len(names))
    members, considered = {"top": _top, "greedy": _greedy, "exhaustive": _exhaustive}[strategy](pool, size)
    errors, log_loss = pool.value(members)
    return Choice(
        members=tuple(names[i] for i in members),
        strategy=strategy,
        how=how,
        val_errors=errors,
        val_log_loss=log_loss,
        n_considered=considered,
    )


def paper_members(runs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the runs of the paper's four ensemble members, in the paper's order.

    Args:
        runs: Run name by architecture.

    Raises:
        RunError: If a member's architecture has no run; the message lists all that are missing.
    """
    missing = [arch for arch in ENSEMBLE_MEMBERS if arch not in runs]
    if missing:
        raise RunError(
            f"the paper's ensemble is {', '.join(ENSEMBLE_MEMBERS)}; there is no run of {', '.join(missing)}. "
            f"Train the missing: hemoscope benchmark --data DIR --arch {','.join(missing)}"
        )
    return tuple(runs[arch] for arch in ENSEMBLE_MEMBERS)


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """K aligned candidates. For a soft vote nobody has a vote, so that probabilities decide alone."""

    candidates: Sequence[Predictions]
    how: How
    target: IntArray  # (N,)
    said: IntArray  # (K, N): the class each candidate stands for by itself
    true_steps: FloatArray  # (K, N): probability of the true class in whole steps

    @classmethod
    def of(cls, aligned: Sequence[Predictions], how: How) -> _Pool:
        target = aligned[0].target
        images = np.arange(len(target))
        said = np.stack([m.pred if how == "majority" else _argmax(m) for m in aligned])
        true = np.rint(np.stack([m.probs[images, target] for m in aligned]) * STEPS)
        return cls(aligned, how, target, said, true)

    def ballots(self, chosen: Sequence[int], rows: slice | IntArray) -> tuple[NDArray[np.int16], FloatArray]:
        """Return the votes and the probabilities in whole steps of some candidates on some images, (K, N, C)."""
        steps = np.rint(np.stack([self.candidates[i].probs[rows] for i in chosen]) * STEPS)
        if self.how == "soft":
            return np.zeros(steps.shape, dtype=np.int16), steps
        said = self.said[list(chosen)][:, rows]
        return (said[..., None] == np.arange(steps.shape[-1])).astype(np.int16), steps

    def value(self, members: Sequence[int]) -> tuple[int, float]:
        """Return errors and log-loss of one ensemble; the lesser pair is the better ensemble."""
        errors = 0
        for rows in blocks(len(self.target), len(members) * len(self.candidates[0].classes)):
            votes, steps = self.ballots(members, rows)
            pred = winner(votes.sum(axis=0), steps.sum(axis=0))
            errors += int((pred != self.target[rows]).sum())
        loss = _log_loss(self.true_steps[list(members)].sum(axis=0), len(members))
        return errors, float(loss)


def _argmax(member: Predictions) -> IntArray:
    """Return the class of the most steps; two probabilities may differ by less than one."""
    parts = [
        np.rint(member.probs[rows] * STEPS).argmax(axis=-1)
        for rows in blocks(len(member), len(member.classes))
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _top(pool: _Pool, size: int) -> tuple[tuple[int, ...], int]:
    candidates = range(len(pool.said))
    return tuple(sorted(candidates, key=lambda i: (*pool.value([i]), i))[:size]), len(candidates)


def _greedy(pool: _Pool, size: int) -> tuple[tuple[int, ...], int]:
    members: tuple[int, ...] = ()
    best = (len(pool.target) + 1, np.inf)
    considered = 0
    while len(members) < size:
        trials = [(*members, i) for i in range(len(pool.said)) if i not in members]
        considered += len(trials)
        *value, trial = min((*pool.value(trial), trial) for trial in trials)
        if tuple(value) >= best:
            break
        members, best = trial, tuple(value)
    return members, considered


def _exhaustive(pool: _Pool, size: int) -> tuple[tuple[int, ...], int]:
    count = len(pool.said)
    considered = _count_subsets(count, size)
    if considered > MAX_SUBSETS:
        fits = max((s for s in range(1, size) if _count_subsets(count, s) <= MAX_SUBSETS), default=0)
        smaller = f"size at most {fits}, " if fits else ""
        raise ConfigError(
            f"exhaustive search takes at most {MAX_SUBSETS:,} subsets; {count} runs up to size {size} "
            f"make {considered:,}. Choose {smaller}fewer runs, or strategy greedy"
        )
    errors = _errors(pool, size, considered)
    fewest = errors.min()
    best: tuple[float, int, tuple[int, ...]] = (np.inf, 0, ())
    start = 0
    for prefix, last in _prefixes(count, size):
        near = np.flatnonzero(errors[start : start + count - last.start] == fewest)
        start += count - last.start
        if near.size:
            sums = pool.true_steps[list(prefix)].sum(axis=0) + pool.true_steps[last][near]
            losses = _log_loss(sums, len(prefix) + 1).tolist()
            trials = [(*prefix, last.start + t) for t in near.tolist()]
            best = min(best, *((loss, len(t), t) for loss, t in zip(losses, trials, strict=True)))
    return best[2], considered


def _errors(pool: _Pool, size: int, considered: int) -> IntArray:
    """Return the errors of every subset in the order of `_prefixes`, shape (considered,).

    Images on which all candidates agree come out the same in every subset and are counted once; the others
    are taken by blocks, each for all subsets.
    """
    count = len(pool.said)
    open_ = np.flatnonzero((pool.said != pool.said[0]).any(axis=0))
    agreed = np.delete(pool.said[0] != pool.target, open_)
    errors = np.full(considered, agreed.sum(), dtype=np.int64)
    for rows in blocks(len(open_), count * len(pool.candidates[0].classes)):
        (votes, steps), target = pool.ballots(range(count), open_[rows]), pool.target[open_[rows]]
        start = 0
        for prefix, last in _prefixes(count, size):
            chosen = list(prefix)
            pred = winner(votes[chosen].sum(axis=0) + votes[last], steps[chosen].sum(axis=0) + steps[last])
            wrong = (pred != target).sum(axis=-1)  # (T,), one ensemble for each last member
            errors[start : start + len(wrong)] += wrong
            start += len(wrong)
    return errors


def _prefixes(count: int, size: int) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Yield every subset of up to `size`, as all but its last member and the range of last members."""
    for m in range(size):
        for prefix in combinations(range(count - 1), m):
            first = prefix[-1] + 1 if prefix else 0
            yield prefix, slice(first, count)


def _count_subsets(count: int, size: int) -> int:
    return sum(comb(count, m) for m in range(1, size + 1))


def _log_loss(true_steps: FloatArray, n_members: int) -> NDArray[np.float64]:
    mean = np.maximum(true_steps / (n_members * STEPS), SMALLEST_PROB)
    return np.round(-np.log(mean).mean(axis=-1), 12)
