"""The differential of a slide under review: counts, intervals and flags, before and after.

The model's confusion acts only on cells that no person has looked at; where a person put a cell is taken as true. So
the interval shrinks with the review, down to what counting so few cells leaves open. Where nobody knows the confusion,
nothing is corrected until a person has looked at every cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.differential.composition import Drawn, is_known
from hemoscope.differential.count import Differential, differential
from hemoscope.differential.reference import ReferenceTable
from hemoscope.differential.remarks import Remark, remark
from hemoscope.errors import ShapeError
from hemoscope.records import IntArray
from hemoscope.review.cells import NOT_CLASSED, REVIEW, UNIDENTIFIED, Cell
from hemoscope.review.rounding import percents
from hemoscope.review.settles import Settles, taken_by_review, what_settles
from hemoscope.review.state import State, start
from hemoscope.review.unreviewed import Sides, counted, draw_slide, posterior_probs, sides_of
from hemoscope.review.white_count import CorrectedWhite, corrected_white

__all__ = ["ReviewedDifferential", "count"]

NEGLIGIBLE = 0.05  # of a share's variance; its interval would become a fortieth narrower
SURPRISE = 0.01


@dataclass(frozen=True, slots=True)
class ReviewedDifferential:
    """A slide's count, by the model alone and after what readers did.

    Attributes:
        before: By the model alone.
        after: With reviewed cells where readers put them, and the others as the model says.
        percents: Of the white classes after review, rounded so that they add up to 100.
        erythroblasts: For every 100 white cells after review; None without white cells.
        corrected_white: The corrected white count; None where no white count is stated, or without white cells.
        cells: Cells of the slide.
        reviewed: Cells that a person has confirmed or moved.
        moved: Those of them that the model had called another class.
        moved_expected: As many let the model's probabilities expect among them; NaN where nobody knows how it errs.
        waiting: Cells in `review`.
        unidentified: Cells in `unidentified`, in no count.
        not_classed: Cells in `not_classed`, in no count.
        wrong_left: Cells counted as the model says that are expected to be wrong; NaN where nobody knows how it errs.
        settles: What would settle each interval that straddles a limit; empty where nobody knows how the model errs.
        by_review: Share of each class's variance that reviewing every cell would take away; empty where nothing is
            corrected.
        only_sampling_left: No cell is open, and reviewing the others would make no interval narrower to speak of.
    """

    before: Differential
    after: Differential
    percents: Mapping[str, float]
    erythroblasts: float | None
    corrected_white: CorrectedWhite | None
    cells: int
    reviewed: int
    moved: int
    moved_expected: float
    waiting: int
    unidentified: int
    not_classed: int
    wrong_left: float
    settles: tuple[Settles, ...]
    by_review: Mapping[str, float]
    only_sampling_left: bool


def count(
    cells: Sequence[Cell],
    state: State,
    confusion: ArrayLike,
    reference: ReferenceTable,
    *,
    error: int = 0,
    usually_unknown: tuple[int, int] | None = None,
    seed: int = 0,
) -> ReviewedDifferential:
    """Count a slide.

    Args:
        cells: Those that the state holds.
        state: Where they lie, and which a person has looked at.
        confusion: Validation counts[true, predicted] of the model, shape (C, C), in the order of `state.classes`; a row
            of 0 where nobody knows how it errs on that class.
        reference: Roles and ranges of the classes.
        error: Files that could not be read.
        usually_unknown: How many of how many images like those it knows the model calls unknown; None: never any.
        seed: Of the posterior draws.

    Raises:
        ConfigError: If the table does not know a class.
        ShapeError: If shapes differ.
    """
    matrix = np.asarray(confusion, dtype=np.int64)
    if matrix.shape != (len(state.classes),) * 2:
        raise ShapeError(
            f"{len(state.classes)} classes need a confusion matrix of as many rows and columns; got {matrix.shape}"
        )
    untouched = start(state.classes, cells, blind=state.blind)
    sides = sides_of(cells, state)
    first = replace(sides, reviewed=np.zeros_like(sides.reviewed), place=np.full_like(sides.place, -1))
    draws_before, draws_after = draw_slide(first, matrix, seed=seed), draw_slide(sides, matrix, seed=seed)

    def counts(side: Sides, of: State, draws: Drawn | None) -> Differential:
        places = Counter(held.place for held in of.held.values())
        waits = side.unreviewed & np.array([of.held[int(cell)].place == REVIEW for cell in side.cells], bool)
        return differential(
            state.classes,
            counted(side).tolist(),
            np.bincount(side.pred[waits], minlength=len(state.classes)).tolist(),
            matrix,
            reference,
            unknown=places[UNIDENTIFIED],
            error=error,
            usually_unknown=usually_unknown,
            draws=None if draws is None else draws.shares,
        )

    before, after = counts(first, untouched, draws_before), counts(sides, state, draws_after)
    moved, expected = _moved(sides, matrix)
    surprise = _surprise(moved, expected, int((sides.called & (sides.place >= 0)).sum()))
    after = replace(after, remarks=(*after.remarks, *surprise))
    white = [share for share in after.shares if share.role == "white"]
    red = sum(share.counted for share in after.shares if share.role == "erythroblast")
    n_white = after.n_white
    places = Counter(held.place for held in state.held.values())
    by_review = {} if draws_after is None else taken_by_review(after, state.classes, draws_after)
    settles = ()
    if draws_before is not None and draws_after is not None:
        settles = what_settles(after, state.classes, sides, matrix, draws_before, draws_after)
    return ReviewedDifferential(
        before=before,
        after=after,
        percents=dict(zip((s.name for s in white), percents([s.counted for s in white]), strict=True)),
        erythroblasts=100 * red / n_white if n_white else None,
        corrected_white=None
        if state.white_count is None
        else corrected_white(state.white_count, red, n_white),
        cells=len(state.held),
        reviewed=int(sides.reviewed.sum()),
        moved=moved,
        moved_expected=expected,
        waiting=places[REVIEW],
        unidentified=places[UNIDENTIFIED],
        not_classed=places[NOT_CLASSED],
        wrong_left=float("nan") if draws_after is None else float(draws_after.wrong.mean()),
        settles=settles,
        by_review=by_review,
        only_sampling_left=bool(by_review and cells)
        and not state.open
        and max(by_review.values()) <= NEGLIGIBLE,
    )


def _moved(sides: Sides, confusion: IntArray) -> tuple[int, float]:
    """Cells that a person put into another class than the model, and how many its probabilities let expect.

    Without the confusion nobody knows for which shares of the classes they are probabilities.
    """
    rows = np.flatnonzero(sides.called & (sides.place >= 0))
    probs = posterior_probs(sides, confusion)[rows]
    pred = sides.pred[rows]
    expected = float((1 - probs[np.arange(len(rows)), pred]).sum()) if is_known(confusion) else float("nan")
    return int((sides.place[rows] != pred).sum()), expected


def _surprise(moved: int, expected: float, n: int) -> list[Remark]:
    from scipy.special import pdtrc

    if not moved or not isfinite(expected) or pdtrc(moved - 1, expected) > SURPRISE:
        return []
    return [remark("much_moved", moved=moved, called=n, expected=round(expected))]
