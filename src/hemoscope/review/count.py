"""The differential of a slide under review: counts, intervals and flags, before and after.

The model's confusion acts only on cells that no person has looked at; reviewed cells are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from hemoscope.differential.count import Differential, composition, differential
from hemoscope.differential.reference import ReferenceTable
from hemoscope.review.cells import NOT_CLASSED, REVIEW, UNIDENTIFIED, Cell
from hemoscope.review.log import State, start

__all__ = ["CorrectedWhite", "ReviewedDifferential", "Settles", "count"]


@dataclass(frozen=True, slots=True)
class CorrectedWhite:
    """A white count without the erythroblasts that an analyser takes for white cells.

    Attributes:
        value: Corrected, 10^9/L.
        given: As stated, 10^9/L.
        erythroblasts: For every 100 white cells.
        working: How it came about, as text.
    """

    value: float
    given: float
    erythroblasts: float
    working: str


@dataclass(frozen=True, slots=True)
class Settles:
    """What would settle a class whose interval straddles a limit of its range.

    Attributes:
        name: The class.
        limit: The limit, cells for each white cell.
        more_cells: White cells to count beyond those there are, read by the model alone; None where no number would do.
        more_reviewed: The same where a person looks at every cell, the present ones too; None where no number would do.
    """

    name: str
    limit: float
    more_cells: int | None
    more_reviewed: int | None


@dataclass(frozen=True, slots=True)
class ReviewedDifferential:
    """A slide's count, by the model alone and after what readers did.

    Attributes:
        before: By the model alone.
        after: With reviewed cells where readers put them, and the others as the model says.
        percents: Of the white classes after review, rounded so that they add up to 100.
        erythroblasts: For every 100 white cells after review; None without white cells.
        corrected_white: The corrected white count; None where no white count is stated.
        cells: Cells of the slide.
        reviewed: Cells that a person has confirmed or moved.
        waiting: Cells in `review`.
        unidentified: Cells in `unidentified`, in no count.
        not_classed: Cells in `not_classed`, in no count.
        settles: What would settle each interval that straddles a limit.
        by_review: Share of each class's variance that reviewing every cell would take away.
        only_sampling_left: Reviewing more would change nothing beyond sampling.
    """

    before: Differential
    after: Differential
    percents: Mapping[str, float]
    erythroblasts: float | None
    corrected_white: CorrectedWhite | None
    cells: int
    reviewed: int
    waiting: int
    unidentified: int
    not_classed: int
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
    unknown_share: float | None = None,
    seed: int = 0,
) -> ReviewedDifferential:
    """Count a slide.

    Args:
        cells: Of the slide.
        state: Where they lie, and which a person has looked at.
        confusion: Validation counts[true, predicted] of the model, shape (C, C), in the order of `state.classes`.
        reference: Roles and ranges of the classes.
        error: Files that could not be read.
        unknown_share: Share of images like the validation images that the model calls unknown.
        seed: Of the posterior draws.

    Raises:
        ConfigError: If the table does not know a class.
        ShapeError: If shapes differ.
    """
    before = _count(cells, start(state.classes, cells), confusion, reference, error, unknown_share, seed)
    after = _count(cells, state, confusion, reference, error, unknown_share, seed)
    places = Counter(held.place for held in state.held.values())
    white = {s.name: s.counted for s in after.shares if s.role == "white"}
    red = sum(s.counted for s in after.shares if s.role == "erythroblast")
    per_100 = 100 * red / after.n_white if after.n_white else None
    return ReviewedDifferential(
        before=before,
        after=after,
        percents={name: 100 * n / after.n_white if after.n_white else 0.0 for name, n in white.items()},
        erythroblasts=per_100,
        corrected_white=None,
        cells=len(state.held),
        reviewed=len(state.reviewed),
        waiting=places[REVIEW],
        unidentified=places[UNIDENTIFIED],
        not_classed=places[NOT_CLASSED],
        settles=(),
        by_review={},
        only_sampling_left=False,
    )


def _count(
    cells: Sequence[Cell],
    state: State,
    confusion: ArrayLike,
    reference: ReferenceTable,
    error: int,
    unknown_share: float | None,
    seed: int,
) -> Differential:
    classes = state.classes
    known, said, doubtful = Counter(), Counter(), Counter()
    for cell in cells:
        held = state.held[cell.cell]
        if held.reviewed:
            known[held.place] += 1
        elif held.place == REVIEW:
            said[cell.pred] += 1
            doubtful[cell.pred] += 1
        elif held.place != UNIDENTIFIED:
            said[held.place] += 1
    draws = composition(
        [said[name] for name in classes],
        confusion,
        known=[known[name] for name in classes],
        draws=400,
        sweeps=15,
        seed=seed,
    )
    return differential(
        classes,
        [said[name] + known[name] for name in classes],
        [doubtful[name] for name in classes],
        confusion,
        reference,
        unknown=sum(held.place == UNIDENTIFIED for held in state.held.values()),
        error=error,
        unknown_share=unknown_share,
        draws=draws,
        seed=seed,
    )
