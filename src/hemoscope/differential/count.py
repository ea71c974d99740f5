"""A differential count with its uncertainty: few cells were counted, and the model confuses some.

Two intervals stand side by side. The first is Rümke's: what counting so few cells leaves open, if every
cell were recognised. The second adds the model's own confusion, as its validation images showed it: it
is drawn from the posterior of the true composition, given what was predicted. That one takes for granted
that the model errs here as it did there; on another laboratory's cells it may err more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.differential.composition import composition, is_known
from hemoscope.differential.reference import ReferenceClass, ReferenceTable, Role
from hemoscope.differential.remarks import Remark, remark
from hemoscope.errors import ShapeError
from hemoscope.evaluation.intervals import clopper_pearson, surely_more
from hemoscope.records import FloatArray

__all__ = ["CellShare", "Differential", "Doubt", "differential"]

ENOUGH_WHITE = 200  # one reader's part of the 400 cells of CLSI's H20
ENOUGH_VAL = 30  # validation cells of a class, to know how the model errs on it
SURE = 0.95
MUCH_REVIEW = 0.1


@dataclass(frozen=True, slots=True)
class CellShare:
    """One class of cells in a smear.

    Attributes:
        name: The model's class.
        label: Its name on a report.
        role: What it counts among.
        counted: Cells predicted as this class.
        to_review: Those of them that a person should look at.
        per_white: Cells for each white cell; for a white cell its share. NaN without white cells, and as all that follows
            from it for what is in no percentage, the role `other`.
        sampling: 95 % interval of `per_white` from counting so few cells.
        corrected: `per_white` after the model's confusion is taken out, posterior median. NaN, as what follows from it,
            where nobody knows the confusion.
        interval: 95 % interval of it, sampling and confusion together.
        reference: Expected range of `per_white`, or None.
        p_below: Posterior probability of being below that range.
        p_above: Posterior probability of being above it.
        finding: What to say of it; empty if nothing.
    """

    name: str
    label: str
    role: Role
    counted: int
    to_review: int
    per_white: float
    sampling: tuple[float, float]
    corrected: float
    interval: tuple[float, float]
    reference: tuple[float, float] | None
    p_below: float
    p_above: float
    finding: str


@dataclass(frozen=True, slots=True)
class Differential:
    """A smear's differential count.

    Attributes:
        shares: A line a class, in the reference table's order.
        n_white: White cells counted, those to review among them.
        review: Cells counted that a person should look at.
        unknown: Images unlike every class; not counted.
        error: Files that could not be read; not counted.
        remarks: What a reader has to know before trusting the figures.
    """

    shares: tuple[CellShare, ...]
    n_white: int
    review: int
    unknown: int
    error: int
    remarks: tuple[Remark, ...]

    @property
    def counted(self) -> int:
        """Cells of every class."""
        return sum(share.counted for share in self.shares)


@dataclass(frozen=True, slots=True)
class Doubt:
    """An image that a person should look at first.

    Attributes:
        path: Its name, as in cells.csv.
        pred: Predicted class.
        prob: Its probability.
        unknown: It is like none of the classes; otherwise the classes are close.
        candidates: The classes that it may be.
    """

    path: str
    pred: str
    prob: float
    unknown: bool
    candidates: tuple[str, ...]


def differential(
    classes: Sequence[str],
    counts: Sequence[int],
    to_review: Sequence[int],
    confusion: ArrayLike,
    reference: ReferenceTable,
    *,
    unknown: int = 0,
    error: int = 0,
    usually_unknown: tuple[int, int] | None = None,
    draws: FloatArray | None = None,
    seed: int = 0,
) -> Differential:
    """Return the differential count of a smear.

    Args:
        classes: Class names, length C.
        counts: Cells predicted as each class, those to review among them, length C.
        to_review: Those of them that a person should look at, length C.
        confusion: Validation counts[true, predicted], shape (C, C). Where a class has no cell in it, nobody knows how
            the model errs on it, and nothing is corrected.
        reference: Roles and ranges of the classes.
        unknown: Images unlike every class.
        error: Files that could not be read.
        usually_unknown: How many of how many images like those it knows the model calls unknown; None: never any.
        draws: Compositions drawn otherwise than from the counts and the confusion, shape (draws, C).
        seed: Of the posterior draws.

    Raises:
        ConfigError: If the table does not know a class.
        ShapeError: If lengths or shapes differ.
    """
    entries = reference.of(classes)
    if not len(classes) == len(counts) == len(to_review):
        raise ShapeError(
            f"{len(classes)} classes need as many counts; got {len(counts)} and {len(to_review)}"
        )
    matrix = np.asarray(confusion)
    if draws is None and is_known(matrix):
        draws = composition(counts, matrix, seed=seed)
    white = [i for i, entry in enumerate(entries) if entry.role == "white"]
    n_white = sum(counts[i] for i in white)
    corrected = draws is not None
    if draws is None:
        draws = np.full((1, len(classes)), np.nan)
    ratios = draws / draws[:, white].sum(axis=1, keepdims=True)
    order = sorted(range(len(classes)), key=lambda i: list(reference.classes).index(classes[i]))
    shares = tuple(
        _share(classes[i], entries[i], int(counts[i]), int(to_review[i]), int(n_white), ratios[:, i])
        for i in order
    )
    found = Differential(shares, int(n_white), int(sum(to_review)), unknown, error, ())
    n_val = {classes[i]: int(matrix[i].sum()) for i in order}
    remarks = _remarks(found, n_val, usually_unknown, corrected=corrected)
    return Differential(shares, found.n_white, found.review, unknown, error, tuple(remarks))


def _share(
    name: str, entry: ReferenceClass, counted: int, to_review: int, n_white: int, ratio: FloatArray
) -> CellShare:
    if entry.role == "other":
        return _uncounted(name, entry, counted, to_review)
    if entry.role == "white":
        sampling = clopper_pearson(counted, n_white)
    else:  # odds of this class against a white cell
        low, high = clopper_pearson(counted, counted + n_white)
        sampling = (low / (1 - low) if low < 1 else np.inf, high / (1 - high) if high < 1 else np.inf)
    middle, low, high = (float(q) for q in np.quantile(ratio, [0.5, 0.025, 0.975]))
    per_white = counted / n_white if n_white else float("nan")
    reference = (entry.percent[0] / 100, entry.percent[1] / 100) if entry.percent else None
    told = not np.isnan(middle)
    p_below = float((ratio < reference[0]).mean() if told else np.nan) if reference else 0.0
    p_above = float((ratio > reference[1]).mean() if told else np.nan) if reference else 0.0
    finding = ""
    if reference and n_white:
        above = "present" if entry.present else "high"
        if p_above >= SURE:
            finding = above
        elif p_below >= SURE:
            finding = "low"
        elif per_white > reference[1]:
            finding = f"possibly {above}"
        elif per_white < reference[0]:
            finding = "possibly low"
    return CellShare(
        name,
        entry.label,
        entry.role,
        counted,
        to_review,
        per_white,
        sampling,
        middle,
        (low, high),
        reference,
        p_below,
        p_above,
        finding,
    )


def _uncounted(name: str, entry: ReferenceClass, counted: int, to_review: int) -> CellShare:
    """A class in no percentage: its cells are told, and nothing of them."""
    nan = float("nan")
    ends = (nan, nan)
    return CellShare(
        name, entry.label, entry.role, counted, to_review, nan, ends, nan, ends, None, 0.0, 0.0, ""
    )


def _remarks(
    found: Differential, n_val: dict[str, int], usually: tuple[int, int] | None, *, corrected: bool
) -> list[Remark]:
    remarks = []
    if found.n_white < ENOUGH_WHITE:
        remarks.append(remark("few_white", counted=found.n_white, enough=ENOUGH_WHITE))
    if found.counted and found.review / found.counted > MUCH_REVIEW:
        remarks.append(remark("much_review", review=found.review, counted=found.counted))
    seen = found.counted + found.unknown
    if usually is None:
        remarks.append(remark("knows_no_unknown"))
    elif surely_more(found.unknown, seen, usually):
        share = round(100 * usually[0] / usually[1], 1)
        remarks.append(remark("much_unknown", unknown=found.unknown, seen=seen, share=share))
    if found.error:
        remarks.append(remark("unreadable", error=found.error))
    untried = [] if corrected else [s.label.lower() for s in found.shares if not n_val[s.name]]
    if untried:
        every = len(untried) == len(found.shares)
        remarks.append(remark("not_corrected") if every else remark("some_untried", names=", ".join(untried)))
    least = 1 if untried else 0  # those are named already
    few = [
        share.label.lower()
        for share in found.shares
        if least <= n_val[share.name] < ENOUGH_VAL and share.role != "other"
    ]
    if few:
        remarks.append(remark("little_tried", enough=ENOUGH_VAL, names=", ".join(few)))
    return remarks
