"""The thresholds of an adapted bundle: from labelled cells where they are enough, else an estimate without labels.

Without labels an answer counts as wrong where another seed contradicts it. That is an estimate and no promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemoscope.adapt.answers import Voted, stand_in
from hemoscope.adapt.recipe import AdaptRecipe
from hemoscope.bundle.card import Calibration
from hemoscope.evaluation.intervals import binomial_cdf
from hemoscope.packing.calibrate import Goals, calibrate, rate_of
from hemoscope.predict.verdict import decide, is_unknown
from hemoscope.records import FloatArray, IntArray, Predictions

__all__ = ["Evidence", "thresholds"]

DOUBT = 0.05  # that is left to a promise; `review_threshold` leaves as much


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What thresholds are chosen by.

    Attributes:
        classes: Class names.
        answers: Of the adapted bundle to all N cells.
        others: What other seeds predict, each shape (N,).
        distance: From the nearest remembered cell, shape (N,); None where nothing is remembered.
        sure: Cells that are known ones without much doubt, shape (N,).
        target: True classes, shape (N,), -1 where nobody knows.
        crossed: Answers to all cells, those to labelled ones by networks that learnt without their labels; None
            without labels.
        strange: Distances of images without a known cell, by kind.
    """

    classes: tuple[str, ...]
    answers: Voted
    others: Sequence[IntArray]
    distance: FloatArray | None
    sure: NDArray[np.bool_]
    target: IntArray
    crossed: Voted | None
    strange: Mapping[str, FloatArray]


def thresholds(found: Evidence, recipe: AdaptRecipe) -> tuple[Calibration, bool]:
    """Return what the bundle is to make of its answers, and whether labels have set it.

    Without labels nobody knows how often which class is taken for which: the confusion then counts no cell. With some
    it counts those; of a class without any, its row is 0.
    """
    least = 1.001 / (int(found.sure.sum()) + 1)  # of so few cells the furthest sets what is unknown
    goals = Goals(recipe.error_rate, recipe.coverage, max(recipe.unknown_share, min(least, 0.5)))
    by_labels = _by_labels(found, goals)
    n_labelled = int((found.target >= 0).sum())
    # So many say so, too, if no threshold keeps the error rate.
    enough = n_labelled == len(found.target) or binomial_cdf(0, n_labelled, goals.error_rate) <= DOUBT
    chosen = by_labels if by_labels and enough else _without(found, goals)
    labelled = chosen is by_labels
    if by_labels:
        chosen = chosen.model_copy(update={"confusion": by_labels.confusion})
    return chosen.model_copy(update={"measured": _measured(found, chosen, labelled=labelled)}), labelled


def _by_labels(found: Evidence, goals: Goals) -> Calibration | None:
    rows = np.flatnonzero(found.target >= 0)
    if found.crossed is None:
        return None
    distance = None if found.distance is None else found.distance[rows]
    return _calibrated(found, _predictions(found.classes, found.crossed, found.target, rows), distance, goals)


def _without(found: Evidence, goals: Goals) -> Calibration:
    """Let other seeds stand in for labels."""
    rows = np.flatnonzero(found.target < 0)  # other fits were told some of the labels
    said = _predictions(found.classes, found.answers, stand_in(found.answers.pred, found.others), rows)
    distance = None if found.distance is None else found.distance[rows]
    n = len(found.classes)
    chosen = _calibrated(found, said, distance, goals)
    return chosen.model_copy(update={"confusion": ((0,) * n,) * n})


def _calibrated(found: Evidence, said: Predictions, distance: FloatArray | None, goals: Goals) -> Calibration:
    """Choose by some answers; few of them, and none wrong, are no reason to make probabilities surer than they are."""
    near = None if found.distance is None else found.distance[found.sure]
    first = calibrate(said, distance, goals, near=near)
    return first if first.temperature >= 1 else calibrate(said, distance, goals, near=near, temperature=1.0)


def _measured(found: Evidence, trust: Calibration, *, labelled: bool) -> dict[str, Any]:
    """Return what the thresholds do on the cells adapted to, by name."""
    answers, n = found.answers, len(found.target)
    said = decide(answers.probs, answers.pred, found.distance, trust)
    differ = stand_in(answers.pred, found.others) != answers.pred
    n_accepted = int(said.accepted.sum())
    how = (
        "labelled cells, answered without their labels"
        if labelled
        else "an estimate: other seeds stand in for labels"
    )
    measured: dict[str, Any] = {
        "answers": f"this bundle's own (fp32), of the cells it was adapted to; thresholds from {how}",
        "n": n,
        "accepted": rate_of(n_accepted, n),
        "review": rate_of(int(said.review.sum()), n),
        "contradicted_among_accepted": rate_of(int((said.accepted & differ).sum()), n_accepted),
    }
    if found.crossed is not None:
        rows = np.flatnonzero(found.target >= 0)
        distance = None if found.distance is None else found.distance[rows]
        crossed = decide(found.crossed.probs[rows], found.crossed.pred[rows], distance, trust)
        wrong = found.crossed.pred[rows] != found.target[rows]
        measured["labelled_accepted"] = rate_of(int(crossed.accepted.sum()), len(rows))
        measured["errors_among_accepted"] = rate_of(
            int((crossed.accepted & wrong).sum()), int(crossed.accepted.sum())
        )
    if trust.unknown_above is not None:
        called = {kind: is_unknown(each, trust) for kind, each in found.strange.items()}
        measured["called_unknown"] = rate_of(int(said.unknown.sum()), n)
        measured["strange_called_unknown"] = {
            kind: rate_of(int(each.sum()), len(each)) for kind, each in called.items()
        }
    return measured


def _predictions(classes: tuple[str, ...], said: Voted, target: IntArray, rows: IntArray) -> Predictions:
    paths = tuple(f"{row:09d}" for row in rows)
    return Predictions(classes, paths, target[rows], said.probs[rows], said.pred[rows])
