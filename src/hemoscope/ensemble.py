"""Ensembles from predictions alone: aligning members, voting, and choosing members on validation.

Nothing here sees a network, an image, or a test side while choosing: `choose_members` takes
validation predictions and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import ConfigError, RunError, UnknownNameError
from hemoscope.paper import ENSEMBLE_MEMBERS
from hemoscope.records import FloatArray, IntArray, Predictions

__all__ = [
    "MAX_SUBSETS",
    "Choice",
    "How",
    "Strategy",
    "align",
    "choose_members",
    "combine",
    "paper_members",
    "vote",
]

How = Literal["majority", "soft"]
Strategy = Literal["top", "greedy", "exhaustive"]
MAX_SUBSETS = 2_000_000

# Probabilities count in steps of 2**-48. Sums of up to 32 members are then exact, so that the order
# in which members are added can never decide a tie; float32 probabilities above 3e-8 do not change.
_STEPS = 2.0**48
_SMALLEST_PROB = 1e-15


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


def align(members: Sequence[Predictions], *, names: Sequence[str] | None = None) -> list[Predictions]:
    """Return the members' predictions of the same images in the same order, by path.

    Args:
        members: Predictions of one side by several networks.
        names: What messages call them; by default `member 1`, `member 2`, ...

    Raises:
        RunError: If there is no member, or they differ in classes, images or true classes, or one is
            damaged. The message names every member that lacks images, how many, and one of them.
    """
    if not members:
        raise RunError("an ensemble needs at least 1 member; got none")
    names = [f"member {i}" for i in range(1, len(members) + 1)] if names is None else names
    named = list(zip(names, members, strict=True))
    first_name, first = named[0]
    for name, member in named:
        if member.classes != first.classes:
            raise RunError(
                f"members of an ensemble must know the same classes in the same order; {name} knows "
                f"{', '.join(member.classes)} and {first_name} knows {', '.join(first.classes)}"
            )
        if problem := member.problem():
            raise RunError(f"{name} {problem}; it is damaged: run it again")
    everything = {path for member in members for path in member.paths}
    lacks = [
        f"{name} lacks {len(missing)} of {len(everything)}, for example {min(missing)!r}"
        for name, member in named
        if (missing := everything.difference(member.paths))
    ]
    if lacks:
        raise RunError(
            f"members of an ensemble must have predicted the same images; {'; '.join(lacks)}. "
            "Choose runs that share one split"
        )
    aligned = [m.take(sorted(range(len(m)), key=m.paths.__getitem__)) for m in members]
    reference = aligned[0]
    for name, member in zip(names, aligned, strict=True):
        differ = np.flatnonzero(member.target != reference.target)
        if differ.size:
            i = differ[0]
            raise RunError(
                f"members of an ensemble must agree on the true classes; {name} and {first_name} differ on "
                f"{differ.size} of {len(member)} images, for example {member.paths[i]!r}: "
                f"{member.classes[member.target[i]]} against {member.classes[reference.target[i]]}"
            )
    return aligned


def vote(
    members: Sequence[Predictions], *, how: How = "majority", names: Sequence[str] | None = None
) -> Predictions:
    """Combine the predictions of several networks into one.

    `majority` takes the class that most members predict; among tied classes the one with the largest
    mean probability, then the lowest index. `soft` takes the class with the largest mean probability,
    then the lowest index. The order of the members does not matter.

    Args:
        members: Predictions of the same images, in any order.
        how: The vote.
        names: What messages call the members.

    Returns:
        Predictions ordered by path; `probs` is the members' mean, to within 2**-48.

    Raises:
        RunError: If the members do not fit together; see `align`.
        UnknownNameError: If there is no such vote.

    >>> said = [[0.9, 0.1], [0.4, 0.6]]  # one image, two networks, one vote each
    >>> members = [
    ...     Predictions(("ig", "platelet"), ("a.jpg",), np.array([0]), np.array([p]), np.array([np.argmax(p)]))
    ...     for p in said
    ... ]
    >>> combined = vote(members)
    >>> combined.pred, combined.probs
    (array([0]), array([[0.65, 0.35]]))
    """
    _check_name("vote", how, get_args(How))
    pool = _Pool.of(align(members, names=names), how)
    sums = pool.steps.sum(axis=0)
    return Predictions(
        classes=members[0].classes,
        paths=pool.paths,
        target=pool.target,
        probs=sums / (len(members) * _STEPS),
        pred=_winner(pool.votes.sum(axis=0), sums),
    )


def combine(probs: FloatArray, how: How) -> tuple[IntArray, FloatArray, FloatArray]:
    """Let K networks vote on images, by the rules of `vote`.

    Args:
        probs: Softmax probabilities, shape (K, N, C).
        how: The vote.

    Returns:
        Predicted class, shape (N,); mean probabilities, shape (N, C); and the share of the members that
        predict each class, shape (N, C).

    Raises:
        UnknownNameError: If there is no such vote.
    """
    _check_name("vote", how, get_args(How))
    steps = np.rint(probs * _STEPS)
    said = steps.argmax(axis=-1)
    votes = (said[..., None] == np.arange(steps.shape[-1])).sum(axis=0)  # (N, C)
    sums = steps.sum(axis=0)
    pred = _winner(votes if how == "majority" else np.zeros_like(votes), sums)
    return pred, sums / (len(probs) * _STEPS), votes / len(probs)


def choose_members(
    val: Mapping[str, Predictions], *, strategy: Strategy, size: int = 4, how: How = "majority"
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
    _check_name("member selection", strategy, get_args(Strategy))
    _check_name("vote", how, get_args(How))
    if size < 1:
        raise ConfigError(f"an ensemble needs at least 1 member; got size={size}")
    names = sorted(val)
    pool = _Pool.of(align([val[name] for name in names], names=names), how)
    if not pool.paths:
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
    """K aligned candidates. For a soft vote `votes` is all zero, so that probabilities decide alone."""

    paths: tuple[str, ...]
    target: IntArray  # (N,)
    said: IntArray  # (K, N): the class each candidate stands for by itself
    votes: NDArray[np.int16]  # (K, N, C)
    steps: FloatArray  # (K, N, C): probabilities in whole steps

    @classmethod
    def of(cls, aligned: Sequence[Predictions], how: How) -> _Pool:
        steps = np.rint(np.stack([m.probs for m in aligned]) * _STEPS)
        if how == "majority":
            said = np.stack([m.pred for m in aligned])
            votes = (said[..., None] == np.arange(steps.shape[-1])).astype(np.int16)
        else:
            said, votes = steps.argmax(axis=-1), np.zeros(steps.shape, dtype=np.int16)
        return cls(aligned[0].paths, aligned[0].target, said, votes, steps)

    def true_steps(self) -> FloatArray:
        """Return every candidate's probability of the true class in steps, shape (K, N)."""
        return np.take_along_axis(self.steps, self.target[None, :, None], axis=-1)[..., 0]

    def value(self, members: Sequence[int]) -> tuple[int, float]:
        """Return errors and log-loss of one ensemble; the lesser pair is the better ensemble."""
        chosen = list(members)
        pred = _winner(self.votes[chosen].sum(axis=0), self.steps[chosen].sum(axis=0))
        loss = _log_loss(self.true_steps()[chosen].sum(axis=0), len(chosen))
        return int((pred != self.target).sum()), float(loss)


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
    # Images on which all candidates agree come out the same in every subset: count them once.
    open_ = (pool.said != pool.said[0]).any(axis=0)  # (N,)
    fixed = int((pool.said[0] != pool.target)[~open_].sum())
    votes, steps, target = pool.votes[:, open_], pool.steps[:, open_], pool.target[open_]
    true_steps = pool.true_steps()
    best: tuple[int, float, int, tuple[int, ...]] = (len(pool.target) + 1, np.inf, 0, ())
    for prefix, last in _prefixes(count, size):
        chosen = list(prefix)
        pred = _winner(votes[chosen].sum(axis=0) + votes[last], steps[chosen].sum(axis=0) + steps[last])
        errors = fixed + (pred != target).sum(axis=-1)  # (T,), one ensemble for each last member
        near = np.flatnonzero(errors <= min(best[0], errors.min()))
        losses = _log_loss(true_steps[chosen].sum(axis=0) + true_steps[last][near], len(chosen) + 1)
        trials = [
            (int(errors[t]), float(loss), len(chosen) + 1, (*prefix, last.start + int(t)))
            for t, loss in zip(near, losses, strict=True)
        ]
        best = min([best, *trials])
    return best[3], considered


def _prefixes(count: int, size: int) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Yield every subset of up to `size`, as all but its last member and the range of last members."""
    for m in range(size):
        for prefix in combinations(range(count - 1), m):
            first = prefix[-1] + 1 if prefix else 0
            yield prefix, slice(first, count)


def _count_subsets(count: int, size: int) -> int:
    return sum(comb(count, m) for m in range(1, size + 1))


def _winner(votes: NDArray[np.integer], sums: FloatArray) -> IntArray:
    """Return the class with most votes, then the largest sum, then the lowest index; (..., C) to (...)."""
    tied = votes == votes.max(axis=-1, keepdims=True)
    return np.where(tied, sums, -1.0).argmax(axis=-1)


def _log_loss(true_steps: FloatArray, n_members: int) -> NDArray[np.float64]:
    mean = np.maximum(true_steps / (n_members * _STEPS), _SMALLEST_PROB)
    return np.round(-np.log(mean).mean(axis=-1), 12)


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UnknownNameError(kind, name, known)
