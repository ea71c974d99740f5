"""What adapted networks say of the cells they learnt: remembered cells, distances, and what stands in for labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemoscope.adapt.look import Looked
from hemoscope.bundle.known import choose, distances, left_out
from hemoscope.ensemble.vote import How, combine
from hemoscope.records import FloatArray, IntArray

__all__ = ["Voted", "distance_of", "remembered", "stand_in", "voted"]


@dataclass(frozen=True, slots=True, eq=False)
class Voted:
    """What several networks say of N cells together.

    Attributes:
        pred: Shape (N,).
        probs: The members' mean, shape (N, C).
    """

    pred: IntArray
    probs: FloatArray

    @property
    def certainty(self) -> FloatArray:
        """Probability of the predicted class, shape (N,)."""
        return self.probs[np.arange(len(self.pred)), self.pred]


def voted(looked: Sequence[Looked], how: How, *, tta: bool = False) -> Voted:
    """Return the vote of the members, of cells as they are or averaged over all views."""
    pred, mean, _ = combine(np.stack([one.mean_probs if tta else one.probs[0] for one in looked]), how)
    return Voted(pred, mean)


def remembered(
    looked: Sequence[Looked], pred: IntArray, sure: NDArray[np.bool_]
) -> tuple[IntArray, tuple[Tensor, ...]]:
    """Return which cells are remembered, and each network's features of them as a bundle keeps them.

    Args:
        looked: Of each network.
        pred: What the cells are taken for, shape (N,).
        sure: Which of them may be remembered, shape (N,).
    """
    candidates = np.flatnonzero(sure)
    if not len(candidates):
        return candidates, ()
    rows = candidates[choose(pred[candidates])]
    return rows, tuple(one.features[0, torch.from_numpy(rows)].half() for one in looked)


def distance_of(
    looked: Sequence[Looked], rows: IntArray, known: Sequence[Tensor], *, tta: bool = False
) -> FloatArray:
    """Return the mean distance of every cell from the nearest remembered one, a remembered cell's from the others, shape (N,)."""
    each: list[Tensor] = []
    for one, cells in zip(looked, known, strict=True):
        for view in one.features if tta else one.features[:1]:
            far = distances(view, cells.float())
            far[torch.from_numpy(rows)] = left_out(view[torch.from_numpy(rows)], cells.float())
            each.append(far)
    return torch.stack(each).double().mean(dim=0).numpy()


def stand_in(pred: IntArray, others: Sequence[IntArray]) -> IntArray:
    """Return what stands in for the labels of N cells: the answer of the first other seed that differs, else the same.

    So an answer counts as wrong wherever another seed contradicts it. Errors that all seeds make alike are not seen.

    Source:
        Jiang et al., Assessing generalization via disagreement, ICLR 2022.

    >>> stand_in(np.array([0, 1, 1]), [np.array([0, 1, 0]), np.array([1, 1, 0])]).tolist()
    [1, 1, 0]
    """
    target = pred.copy()
    for other in others:
        target = np.where(target == pred, other, target)
    return target
