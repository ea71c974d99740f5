"""The macro AUROC of softmax probabilities, one class against the rest, with its stratified bootstrap interval.

A good network puts nearly every cell of a class above all others. Such cells lose nothing whatever is drawn; what is
left is a small table of who stands below whom, in which many cells are alike: a draw needs one of each kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.evaluation.bootstrap import DRAWS, Estimate, bca
from hemoscope.records import FloatArray, IntArray

__all__ = ["macro_auroc"]

_IN_HAND = 2**22  # counts of the draws that are looked at together
_MOST = 2**26  # pairs of cells in the wrong order; where there are more, there is no interval


@dataclass(frozen=True, slots=True, eq=False)
class _Lost:
    """Cells of a class below some other, those others, and by how much: 1, or half in a tie; and all pairs there are."""

    own: IntArray
    others: IntArray
    table: FloatArray
    pairs: int


def macro_auroc(probs: FloatArray, target: IntArray, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the mean area under the ROC curve over the classes that have images and others beside them.

    The area of a class is the chance that a cell of it has a higher probability for it than a cell of another class;
    a tie counts half.

    Args:
        probs: Softmax probabilities, shape (N, C).
        target: True classes, shape (N,).
        draws: Of the bootstrap, images being drawn within their classes.
        seed: Of the draws.

    Returns:
        The mean and its BCa interval. All NaN where no class has images and others beside them; NaN bounds also where
        more than 67 million pairs of cells stand in the wrong order.

    Source:
        J. A. Hanley, B. J. McNeil, Radiology 143 (1982) 29-36.
    """
    n = np.bincount(target, minlength=probs.shape[1])
    classes = [c for c in range(probs.shape[1]) if 0 < n[c] < len(target)]
    if not classes:
        return Estimate(float("nan"), float("nan"), float("nan"))
    value = float(np.mean([_area(probs[:, c], target == c) for c in classes]))
    candidates = [_crossing(probs[:, c], target == c) for c in classes]
    if sum(len(own) * len(others) for own, others in candidates) > _MOST:
        return Estimate(value, float("nan"), float("nan"))
    lost = [
        _lost(probs[:, c], *crossing, int(n[c]) * (len(target) - int(n[c])))
        for c, crossing in zip(classes, candidates, strict=True)
    ]
    influence = np.zeros(len(target))
    for one in lost:
        influence[one.own] -= one.table.sum(axis=1) / (one.pairs * len(classes))
        influence[one.others] -= one.table.sum(axis=0) / (one.pairs * len(classes))
    influence -= (np.bincount(target, influence, len(n)) / np.maximum(n, 1))[target]
    return bca(value, _draw(lost, target, n, draws, np.random.default_rng(seed)), influence, weights=1)


def _area(scores: FloatArray, own: NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    mine = int(own.sum())
    return float((rankdata(scores)[own].sum() - mine * (mine + 1) / 2) / (mine * (len(own) - mine)))


def _crossing(scores: FloatArray, own: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return the cells of a class that do not stand above all others, and the others that do not stand below all of it."""
    return (
        np.flatnonzero(own & (scores <= scores[~own].max())),
        np.flatnonzero(~own & (scores >= scores[own].min())),
    )


def _lost(scores: FloatArray, own: IntArray, others: IntArray, pairs: int) -> _Lost:
    mine, theirs = scores[own][:, None], scores[others][None, :]
    return _Lost(own, others, (theirs > mine) + 0.5 * (theirs == mine), pairs)


def _draw(
    lost: list[_Lost], target: IntArray, n: IntArray, draws: int, rng: np.random.Generator
) -> FloatArray:
    """Return the mean areas of images drawn again within their classes, shape (B,)."""
    images, sizes = _alike(lost, target)
    tables = []
    for one in lost:  # of one image of each kind
        own, others = np.isin(images, one.own), np.isin(images, one.others)
        rows = np.searchsorted(one.own, images[own])
        columns = np.searchsorted(one.others, images[others])
        tables.append((own, others, one.table[np.ix_(rows, columns)] / (one.pairs * len(lost))))
    found = np.ones(draws)
    step = max(1, _IN_HAND // (len(images) + 1))
    for start in range(0, draws, step):
        part = found[start : start + step]
        times = np.zeros((len(part), len(images)))
        for c in np.unique(target[images]):
            mine = np.flatnonzero(target[images] == c)
            shares = np.append(sizes[mine], n[c] - sizes[mine].sum()) / n[c]
            times[:, mine] = rng.multinomial(n[c], shares, len(part))[:, :-1]
        for own, others, table in tables:
            part -= ((times[:, own] @ table) * times[:, others]).sum(axis=1)
    return found


def _alike(lost: list[_Lost], target: IntArray) -> tuple[IntArray, IntArray]:
    """Return one image of each kind that some table holds, ascending, and how many are of the kind.

    Images of a class are of one kind if they stand above and below the same images in every table. As each table
    follows one order, how many these are, and how many tie, says which.
    """
    place = np.zeros((len(target), 2 * len(lost) + 1))
    place[:, 0] = target
    for k, one in enumerate(lost):
        above, tied = one.table == 1, one.table == 0.5
        for images, axis in ((one.own, 1), (one.others, 0)):
            place[images, 2 * k + 1] = above.sum(axis=axis)
            place[images, 2 * k + 2] = tied.sum(axis=axis)
    counted = np.flatnonzero(place[:, 1:].any(axis=1))
    _, first, sizes = np.unique(place[counted], axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    return counted[first[order]], sizes[order]
