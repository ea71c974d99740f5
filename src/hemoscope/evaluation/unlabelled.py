"""What accuracy may be expected on cells that nobody has labelled. Both estimates can be far off on another laboratory's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray, IntArray

__all__ = ["agreement", "thresholded_confidence"]


def thresholded_confidence(certainty: FloatArray, right: NDArray[np.bool_], unlabelled: FloatArray) -> float:
    """Return the share of unlabelled answers that are as certain as the right ones were on labelled cells.

    The threshold is where as many labelled answers lie at or above it as are right; of answers that lie on it, as large a part counts as
    is needed for that.

    Args:
        certainty: Probability of the predicted class on labelled cells that were not trained on, shape (N,).
        right: Whether these answers are right, shape (N,).
        unlabelled: Probability of the predicted class on the others, shape (M,).

    Raises:
        ShapeError: If there is no labelled or no unlabelled answer.

    Source:
        Garg et al., Leveraging unlabeled data to predict out-of-distribution performance, ICLR 2022 (average
        thresholded confidence).

    >>> thresholded_confidence(np.array([0.9, 0.8, 0.6, 0.5]), np.array([1, 1, 1, 0], bool), np.array([0.7, 0.55]))
    0.5
    """
    if not len(certainty) or not len(unlabelled):
        raise ShapeError(
            f"expected answers on both sides; got {len(certainty)} labelled and {len(unlabelled)} others"
        )
    hits = int(right.sum())
    if not hits:
        return 0.0
    threshold = np.sort(certainty)[len(certainty) - hits]
    part = (hits - (certainty > threshold).sum()) / (certainty == threshold).sum()
    return float((unlabelled > threshold).mean() + part * (unlabelled == threshold).mean())


def agreement(preds: IntArray) -> float:
    """Return how often two members give one answer, the mean over pairs: near their accuracy where they are calibrated together.

    Args:
        preds: Predicted classes, shape (K, N), K at least 2 and N at least 1.

    Raises:
        ShapeError: If there are fewer.

    Source:
        Jiang et al., Assessing generalization via disagreement, ICLR 2022.

    >>> agreement(np.array([[0, 1, 1], [0, 1, 2]])).__round__(3)
    0.667
    """
    if preds.ndim != 2 or preds.shape[0] < 2 or not preds.shape[1]:
        raise ShapeError(f"expected answers of at least 2 members, shape (K, N); got shape {preds.shape}")
    return float(np.mean([(a == b).mean() for a, b in combinations(preds, 2)]))
