"""Several networks' predictions of the same images: aligning them, and letting them vote.

Nothing here sees a network or an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import RunError, UnknownNameError
from hemoscope.records import FloatArray, IntArray, Predictions

__all__ = ["STEPS", "How", "align", "blocks", "check_name", "combine", "vote", "winner"]


How = Literal["majority", "soft"]


# Probabilities count in steps of 2**-48. Sums of up to 32 members are then exact, so that the order
# in which members are added can never decide a tie; float32 probabilities above 3e-8 do not change.
STEPS = 2.0**48

_IN_HAND = 2**20  # numbers of all members at once; a million images of a thousand classes are 8 GB a member


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
    aligned = [_in_order(member) for member in members]
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
    check_name("vote", how, get_args(How))
    aligned = align(members, names=names)
    first = aligned[0]
    pred, probs = np.empty_like(first.target), np.empty(first.probs.shape)
    for rows in blocks(len(first), len(aligned) * len(first.classes)):
        steps = np.rint(np.stack([member.probs[rows] for member in aligned]) * STEPS)
        pred[rows], _, sums = _tally(np.stack([member.pred[rows] for member in aligned]), steps, how)
        probs[rows] = sums / (len(aligned) * STEPS)
    return Predictions(classes=first.classes, paths=first.paths, target=first.target, probs=probs, pred=pred)


def blocks(n: int, numbers: int) -> Iterator[slice]:
    """Yield slices of `n` images, few enough that `numbers` an image fit into memory."""
    step = max(1, _IN_HAND // numbers)
    for start in range(0, n, step):
        yield slice(start, start + step)


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
    check_name("vote", how, get_args(How))
    steps = np.rint(probs * STEPS)
    pred, votes, sums = _tally(steps.argmax(axis=-1), steps, how)
    return pred, sums / (len(probs) * STEPS), votes / len(probs)


def _tally(said: IntArray, steps: FloatArray, how: How) -> tuple[IntArray, NDArray[np.integer], FloatArray]:
    """Return the winners, shape (N,), the votes of every class and the sums of its steps, shape (N, C)."""
    votes = (said[..., None] == np.arange(steps.shape[-1])).sum(axis=0)
    sums = steps.sum(axis=0)
    return winner(votes if how == "majority" else np.zeros_like(votes), sums), votes, sums


def winner(votes: NDArray[np.integer], sums: FloatArray) -> IntArray:
    """Return the class with most votes, then the largest sum, then the lowest index; (..., C) to (...)."""
    tied = votes == votes.max(axis=-1, keepdims=True)
    return np.where(tied, sums, -1.0).argmax(axis=-1)


def _in_order(predictions: Predictions) -> Predictions:
    """Return predictions ordered by path; the very same, and no copy, where they are."""
    paths = predictions.paths
    if all(a <= b for a, b in pairwise(paths)):
        return predictions
    return predictions.take(sorted(range(len(paths)), key=paths.__getitem__))


def check_name(kind: str, name: str, known: Sequence[str]) -> None:
    """Raise `UnknownNameError` where a name is none of the known ones."""
    if name not in known:
        raise UnknownNameError(kind, name, known)
