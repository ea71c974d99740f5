"""What refusing the least certain answers would buy: errors among those kept, from one answer to all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ShapeError
from hemoscope.evaluation.checked import checked_scores
from hemoscope.records import FloatArray

__all__ = ["RiskCoverage", "risk_coverage"]


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Errors among the surest answers.

    Attributes:
        risk: Share of errors among the 1, 2, ... N surest answers, shape (N,); among answers of equal certainty in
            whatever order, on average.
        area: Mean of `risk` over all N: 0 without an error, the error rate where certainty says nothing.
        best: What `area` would be were every wrong answer less certain than every right one.
    """

    risk: FloatArray
    area: float
    best: float

    @property
    def coverage(self) -> FloatArray:
        """Share of answers kept, 1 / N to 1, shape (N,)."""
        return np.arange(1, len(self.risk) + 1) / len(self.risk)


def risk_coverage(certainty: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Return the risk-coverage curve of answers, kept from the surest on.

    Args:
        certainty: Of every answer, higher = surer, shape (N,).
        correct: Whether it is right, booleans, shape (N,).

    Raises:
        ShapeError: If there is no answer, or the two do not fit together.

    Source:
        Geifman, Uziel & El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.

    >>> found = risk_coverage([0.9, 0.8, 0.7, 0.6], [True, False, True, True])
    >>> found.risk.round(2).tolist(), round(found.area, 3), found.best
    ([0.0, 0.5, 0.33, 0.25], 0.271, 0.0625)
    """
    score, right = checked_scores("certainty", certainty), np.asarray(correct)
    if right.shape != score.shape or right.dtype != np.bool_:
        raise ShapeError(
            f"correct must hold one boolean a certainty, shape {score.shape}; got {right.dtype} of shape {right.shape}"
        )
    n = len(score)
    kept = np.arange(1, n + 1)
    order = np.argsort(-score, kind="stable")
    _, counts = np.unique(-score[order], return_counts=True)
    ends = np.cumsum(counts)
    at_ends = np.concatenate([[0], np.cumsum(~right[order])[ends - 1]])
    risk = np.interp(kept, np.concatenate([[0], ends]), at_ends) / kept
    wrong = int((~right).sum())
    return RiskCoverage(risk, float(risk.mean()), float((np.maximum(kept - (n - wrong), 0) / kept).mean()))
