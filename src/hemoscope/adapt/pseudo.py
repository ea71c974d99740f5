"""Labels that a network gives itself: the surest cells of each class, as their neighbours see them.

A wrong answer among cells that look alike is outvoted by them. Each class gives the same share of its cells, or the one that
a network is surest of would take all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hemoscope.data.class_map import meaning
from hemoscope.records import FloatArray, IntArray

__all__ = ["EXPECTED", "PseudoLabels", "balanced_weights", "drawn", "pseudo_labels", "smoothed", "there"]

EXPECTED = {"neutrophil": 0.0, "lymphocyte": 0.0, "monocyte": 0.0, "eosinophil": 0.0, "basophil": 0.6}
"""How sure its surest cells have to be before a class is taken to be there: not at all for the white cells that are one of a hundred
or more in healthy blood (`differential/reference.toml`), and somewhat for the rarest. Others are not expected."""

SUREST = 10  # cells that say whether a class is there


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """What cells are taken for.

    Attributes:
        target: Class numbers, shape (N,).
        used: Which of them are learnt from, shape (N,).
    """

    target: IntArray
    used: NDArray[np.bool_]


def smoothed(features: Tensor, probs: FloatArray, neighbours: int) -> FloatArray:
    """Return the mean of each cell's probabilities and those of its nearest neighbours, shape (N, C).

    Args:
        features: What the head is given, of length 1, shape (N, F).
        probs: Shape (N, C); of labelled cells 1 for their class.
        neighbours: How many; 0 changes nothing.
    """
    cosine = features @ features.T
    cosine.fill_diagonal_(2.0)  # a cell is its own nearest, whatever rounding makes of it
    nearest = cosine.topk(min(neighbours + 1, len(features)), dim=1).indices.cpu().numpy()
    return probs[nearest].mean(axis=1)


def there(probs: FloatArray, classes: Sequence[str], *, sure: float, known: Sequence[int] = ()) -> list[int]:
    """Return the classes that are taken to be among the cells; all others are nobody's pseudo-label.

    A class that is not there would otherwise be given to whatever is odd, and learnt. Where no name means such a white cell, or none is
    found, all are taken to be there.

    Args:
        probs: Shape (N, C), before anything was learnt.
        classes: Names, C of them.
        sure: Least mean probability of its ten surest cells for a class that is not expected.
        known: Classes of which there are labelled cells.
    """
    top = -np.sort(-probs, axis=0)[:SUREST].mean(axis=0)
    least = [EXPECTED.get(meaning(name) or "") for name in classes]
    if all(one is None for one in least):
        return list(range(len(classes)))
    found = [c for c, one in enumerate(least) if c in known or top[c] >= (sure if one is None else one)]
    return found or list(range(len(classes)))


def pseudo_labels(probs: FloatArray, classes: Sequence[int], *, share: float, least: int) -> PseudoLabels:
    """Return the likeliest class of every cell among some, and the surest share of each class as those to learn from.

    Args:
        probs: Shape (N, C).
        classes: Numbers of those that are taken to be there.
        share: Of the cells of each class, in (0, 1].
        least: Cells of a class that are learnt from in any case, if it has so many.

    Source:
        Zou et al., Unsupervised domain adaptation for semantic segmentation via class-balanced self-training, ECCV 2018:
        the share, the same for every class, grows from epoch to epoch.
    """
    open_ = probs[:, classes]
    within = open_.sum(axis=1)
    target = np.asarray(classes, np.int64)[open_.argmax(axis=1)]
    sureness = open_.max(axis=1) / np.sqrt(
        np.maximum(within, 1e-12)
    )  # less where other classes are likely, too
    used = np.zeros(len(probs), bool)
    for c in classes:
        rows = np.flatnonzero(target == c)
        surest = rows[np.argsort(-sureness[rows], kind="stable")]
        used[surest[: max(least, round(share * len(rows)))]] = True
    return PseudoLabels(target, used)


def drawn(labels: PseudoLabels, n: int, *, balance: float, rng: np.random.Generator) -> IntArray:
    """Draw n cells to learn from, with replacement; their places, shape (n,).

    Args:
        labels: Of all cells; some are used.
        n: How many.
        balance: 0 draws all alike, 1 every class as often as any other.
        rng: Where the draw comes from.
    """
    rows = np.flatnonzero(labels.used)
    count = np.bincount(labels.target[rows])
    weight = count[labels.target[rows]].astype(np.float64) ** -balance
    return rng.choice(rows, n, p=weight / weight.sum())


def balanced_weights(posterior: FloatArray) -> FloatArray:
    """Return how often each cell is to count so that every class counts alike, shape (N,), sums to 1.

    Args:
        posterior: Under the estimated shares, shape (N, C). A class with less than 3 % of the cells counts as one of 3 %.
    """
    share = posterior.mean(axis=0)
    weight = (posterior / np.maximum(share, 0.03)).sum(axis=1)
    return weight / weight.sum()
