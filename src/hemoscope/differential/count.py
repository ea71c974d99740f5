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

from hemoscope.differential.reference import ReferenceClass, ReferenceTable, Role
from hemoscope.errors import ShapeError
from hemoscope.evaluation.intervals import clopper_pearson
from hemoscope.records import FloatArray

__all__ = ["CellShare", "Differential", "Doubt", "composition", "differential"]

ENOUGH_WHITE = 200  # one reader's part of the 400 cells of CLSI's H20
ENOUGH_VAL = 30  # validation cells of a class, to know how the model errs on it
SURE = 0.95
MUCH_REVIEW = 0.1
DRAWS = 2000
SWEEPS = 60


@dataclass(frozen=True, slots=True)
class CellShare:
    """One class of cells in a smear.

    Attributes:
        name: The model's class.
        label: Its name on a report.
        role: What it counts among.
        counted: Cells predicted as this class.
        to_review: Those of them that a person should look at.
        per_white: Cells for each white cell; for a white cell its share. NaN without white cells.
        sampling: 95 % interval of `per_white` from counting so few cells.
        corrected: `per_white` after the model's confusion is taken out, posterior median.
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
        remarks: What a reader has to know before trusting the figures, as sentences.
    """

    shares: tuple[CellShare, ...]
    n_white: int
    review: int
    unknown: int
    error: int
    remarks: tuple[str, ...]

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


def composition(
    counts: ArrayLike,
    confusion: ArrayLike,
    *,
    known: ArrayLike | None = None,
    draws: int = DRAWS,
    sweeps: int = SWEEPS,
    seed: int = 0,
) -> FloatArray:
    """Draw the true composition of what a model counted, given how it errs.

    How the model errs is drawn once a chain from the validation counts alone, p(predicted | true) ~
    Dirichlet(row + 1/C): what is counted must not teach it (a cut model). Then cells are dealt back to
    their true classes and the composition, with Jeffreys' prior Dirichlet(1/2), is drawn again, in turn.

    Args:
        counts: Predicted cells a class, shape (C,).
        confusion: Validation counts[true, predicted], shape (C, C).
        known: Further cells whose true class is known, shape (C,); none by default.
        draws: Independent chains.
        sweeps: Steps of each chain; its last is the draw.
        seed: Of the draws.

    Returns:
        Compositions, shape (draws, C), rows sum to 1.

    Raises:
        ShapeError: If the shapes differ, or the counts are not whole and non-negative.
    """
    predicted, errs = np.asarray(counts), np.asarray(confusion)
    c = predicted.size
    if predicted.shape != (c,) or errs.shape != (c, c):
        raise ShapeError(f"{c} counts need a confusion matrix of shape ({c}, {c}); got {errs.shape}")
    sure = np.zeros_like(predicted) if known is None else np.asarray(known)
    if sure.shape != (c,):
        raise ShapeError(f"{c} counts need as many known ones; got shape {sure.shape}")
    for array in (predicted, errs, sure):
        if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
            raise ShapeError(f"a composition needs whole counts that are not negative; got {array.dtype}")
    rng = np.random.default_rng(seed)
    said = _dirichlet(rng, np.broadcast_to(errs + 1 / c, (draws, c, c)))  # p(predicted | true)
    first = predicted + sure + 0.5
    share = np.broadcast_to(first / first.sum(), (draws, c))
    for _ in range(sweeps):
        origin = (share[:, :, None] * said).transpose(0, 2, 1)  # (draws, predicted, true)
        origin = origin / origin.sum(axis=2, keepdims=True)
        true = rng.multinomial(predicted, origin).sum(axis=1)  # (draws, true)
        share = _dirichlet(rng, true + sure + 0.5)
    return np.asarray(share)


def differential(
    classes: Sequence[str],
    counts: Sequence[int],
    to_review: Sequence[int],
    confusion: ArrayLike,
    reference: ReferenceTable,
    *,
    unknown: int = 0,
    error: int = 0,
    unknown_share: float | None = None,
    draws: FloatArray | None = None,
    seed: int = 0,
) -> Differential:
    """Return the differential count of a smear.

    Args:
        classes: Class names, length C.
        counts: Cells predicted as each class, those to review among them, length C.
        to_review: Those of them that a person should look at, length C.
        confusion: Validation counts[true, predicted], shape (C, C).
        reference: Roles and ranges of the classes.
        unknown: Images unlike every class.
        error: Files that could not be read.
        unknown_share: Share of images like the validation images that the model calls unknown.
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
    if draws is None:
        draws = composition(counts, matrix, seed=seed)
    white = [i for i, entry in enumerate(entries) if entry.role == "white"]
    n_white = sum(counts[i] for i in white)
    ratios = draws / draws[:, white].sum(axis=1, keepdims=True)
    order = sorted(range(len(classes)), key=lambda i: list(reference.classes).index(classes[i]))
    shares = tuple(
        _share(classes[i], entries[i], int(counts[i]), int(to_review[i]), int(n_white), ratios[:, i])
        for i in order
    )
    found = Differential(shares, int(n_white), int(sum(to_review)), unknown, error, ())
    n_val = {classes[i]: int(matrix[i].sum()) for i in order}
    return Differential(
        shares, found.n_white, found.review, unknown, error, tuple(_remarks(found, n_val, unknown_share))
    )


def _share(
    name: str, entry: ReferenceClass, counted: int, to_review: int, n_white: int, ratio: FloatArray
) -> CellShare:
    if entry.role == "white":
        sampling = clopper_pearson(counted, n_white)
    else:  # odds of this class against a white cell
        low, high = clopper_pearson(counted, counted + n_white)
        sampling = (low / (1 - low) if low < 1 else np.inf, high / (1 - high) if high < 1 else np.inf)
    middle, low, high = (float(q) for q in np.quantile(ratio, [0.5, 0.025, 0.975]))
    per_white = counted / n_white if n_white else float("nan")
    reference = (entry.percent[0] / 100, entry.percent[1] / 100) if entry.percent else None
    p_below = float((ratio < reference[0]).mean()) if reference else 0.0
    p_above = float((ratio > reference[1]).mean()) if reference else 0.0
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


def _remarks(found: Differential, n_val: dict[str, int], unknown_share: float | None) -> list[str]:
    remarks = []
    if found.n_white < ENOUGH_WHITE:
        remarks.append(
            f"Only {found.n_white} white cells were counted; {ENOUGH_WHITE} or more are customary, and the "
            "intervals are wide."
        )
    if found.counted and found.review / found.counted > MUCH_REVIEW:
        remarks.append(
            f"{found.review} of {found.counted} cells are doubtful to the model and should be looked at by a person."
        )
    seen = found.counted + found.unknown
    if unknown_share is None:
        remarks.append(
            "This model cannot tell what is no cell it knows; whatever is in the images is counted."
        )
    elif clopper_pearson(found.unknown, seen)[0] > unknown_share:
        remarks.append(
            f"{found.unknown} of {seen} images are unlike the cells the model learned from, more than the "
            f"{100 * unknown_share:.1f} % expected: stain, camera or cells differ, and the intervals do not cover that."
        )
    if found.error:
        remarks.append(f"{found.error} files could not be read and are not counted.")
    few = [
        share.label.lower()
        for share in found.shares
        if n_val[share.name] < ENOUGH_VAL and share.role != "other"
    ]
    if few:
        remarks.append(
            f"The model was tried on fewer than {ENOUGH_VAL} validation cells each of: {', '.join(few)}."
        )
    return remarks


def _dirichlet(rng: np.random.Generator, alpha: FloatArray) -> FloatArray:
    gamma = rng.standard_gamma(alpha)
    return gamma / gamma.sum(axis=-1, keepdims=True)
