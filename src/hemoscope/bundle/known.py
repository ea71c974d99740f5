"""Is it like anything the model knows? The distance to the nearest of some known cells answers.

Features are what a network's last layer is given. Of energy and this distance, this one told noise,
photographs and a class left out better: docs/results/2026-11-refusal. It is the nearest neighbour of
Sun et al., ICML 2022, with k = 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hemoscope.records import IntArray

__all__ = ["PER_CLASS", "choose", "distances", "left_out"]

PER_CLASS = 128  # cells to remember


def distances(features: Tensor, known: Tensor | None) -> Tensor:
    """Return one minus the cosine with the nearest known cell, shape (N,); NaN without known cells.

    Args:
        features: Shape (N, F), of length 1.
        known: Shape (M, F), of length 1.
    """
    if known is None:
        return torch.full_like(features[:, 0], torch.nan)
    return 1 - (features @ known.T).amax(dim=1)


def left_out(features: Tensor, known: Tensor) -> Tensor:
    """Return each remembered cell's distance to the nearest other one, shape (M,).

    Args:
        features: Of the remembered cells as they are looked at now, perhaps turned, shape (M, F).
        known: Of the same cells as they are remembered, in the same order, shape (M, F).
    """
    cosine = features @ known.T
    cosine.fill_diagonal_(-torch.inf)
    return 1 - cosine.amax(dim=1)


def choose(target: IntArray, *, per_class: int = PER_CLASS, seed: int = 0) -> IntArray:
    """Return the rows of the cells to remember: at most so many a class, in order."""
    order = np.random.default_rng(seed).permutation(len(target))
    rows = [order[target[order] == c][:per_class] for c in np.unique(target)]
    return np.sort(np.concatenate(rows)).astype(np.int64)
