"""What share of some cells each class has, by a network's probabilities alone.

The probabilities of a network say what its training images were mixed of, too. How the mixture differs here is what makes
all of them together likeliest; it can be told as far as the network's errors are those its probabilities admit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ShapeError
from hemoscope.evaluation.checked import checked_probs
from hemoscope.evaluation.intervals import clopper_pearson
from hemoscope.records import FloatArray

__all__ = ["Shares", "estimate_shares", "share_intervals"]

STEPS = 2000
CLOSE = 1e-9  # no share moves further in a step: it is found
TINY = 1e-300
PSEUDO_COUNT = 1.0  # cells of each class beforehand; a class of which nothing is there keeps a share above 0


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Class shares, and what they make of the probabilities.

    Attributes:
        shares: Shape (C,), sums to 1.
        posterior: Probabilities under these shares, shape (N, C).
    """

    shares: FloatArray
    posterior: FloatArray


def estimate_shares(
    probs: ArrayLike,
    prior: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    pseudo_count: float = PSEUDO_COUNT,
) -> Shares:
    """Return the class shares that make the probabilities likeliest, by expectation maximisation.

    Args:
        probs: Softmax probabilities, shape (N, C).
        prior: Class shares that the probabilities assume, shape (C,), all above 0.
        weights: How often each cell counts, shape (N,); once by default.
        pseudo_count: Cells of each class that are added beforehand; 0 gives the maximum of the likelihood itself.

    Raises:
        ShapeError: If a row is no probabilities, or the prior does not fit.

    Source:
        Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
        Computation 14 (2002) 21-41.

    >>> estimate_shares([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], [0.5, 0.5], pseudo_count=0).shares.round(3)
    array([0.708, 0.292])
    """
    said, assumed = checked_probs(probs), np.asarray(prior, dtype=np.float64)
    if assumed.shape != said.shape[1:] or not (assumed > 0).all():
        raise ShapeError(f"expected {said.shape[1]} shares above 0 as the prior; got {assumed.tolist()}")
    counted = np.ones(len(said)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counted.shape != (len(said),):
        raise ShapeError(f"expected {len(said)} weights; got shape {counted.shape}")
    likelihood = said / (assumed / assumed.sum())
    shares = assumed / assumed.sum()
    for _ in range(STEPS):
        posterior = _posterior(likelihood, shares)
        new = counted @ posterior + pseudo_count
        new /= new.sum()
        moved, shares = np.abs(new - shares).max(), new
        if moved < CLOSE:
            break
    return Shares(shares, _posterior(likelihood, shares))


def share_intervals(
    probs: FloatArray, prior: FloatArray, *, draws: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return the 95 % bounds of the shares by counting so few cells, each shape (C,): percentiles over resampled cells.

    They are nowhere narrower than the exact interval of as many cells counted, which alone says something of a class without
    any. They hold nothing of what the network confuses.
    """
    rng = np.random.default_rng(seed)
    n = len(probs)
    found = np.stack(
        [
            estimate_shares(
                probs, prior, weights=rng.multinomial(n, np.full(n, 1 / n)), pseudo_count=0
            ).shares
            for _ in range(draws)
        ]
    )
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    counted = np.rint(n * estimate_shares(probs, prior, pseudo_count=0).shares).astype(np.int64)
    exact = np.array([clopper_pearson(count, n) for count in counted.tolist()])
    return np.minimum(low, exact[:, 0]), np.maximum(high, exact[:, 1])


def _posterior(likelihood: FloatArray, shares: FloatArray) -> FloatArray:
    joint = likelihood * shares
    # A class whose share has gone to 0 leaves nothing of a cell that was sure to be of it.
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), TINY)
