"""Labels that a network gives itself: the nearest class centroid among its features, where its probabilities agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hemoscope.records import FloatArray, IntArray

__all__ = ["PseudoLabels", "pseudo_labels"]

ROUNDS = 2  # centroids by probabilities, then by the labels found with these


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """What cells are taken for.

    Attributes:
        target: Class numbers, shape (N,).
        used: Which of them are learnt from, shape (N,).
    """

    target: IntArray
    used: NDArray[np.bool_]


def pseudo_labels(features: Tensor, posterior: FloatArray, *, confidence: float) -> PseudoLabels:
    """Return the class of the nearest centroid of every cell.

    Args:
        features: What the head is given, of length 1, shape (N, F).
        posterior: Probabilities under the estimated shares, shape (N, C).
        confidence: A label is used where both ways agree and its posterior is above this.

    Source:
        Liang, Hu and Feng, Do we really need to access the source data? ICML 2020 (SHOT), self-supervised
        pseudo-labelling; a class that is nobody's likeliest has no centroid.
    """
    probs = torch.from_numpy(posterior).float()
    best = probs.argmax(dim=1)
    there = best.bincount(minlength=probs.shape[1]) > 0
    shares, label = probs, best
    for _ in range(ROUNDS):
        centroids = functional.normalize(shares.T @ features, dim=1)
        cosine = features @ centroids.T
        label = cosine.masked_fill(~there, -torch.inf).argmax(dim=1)
        shares = functional.one_hot(label, probs.shape[1]).float()
    used = (label == best) & (probs.amax(dim=1) > confidence)
    return PseudoLabels(label.numpy(), used.numpy())
