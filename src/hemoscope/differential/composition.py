"""What a smear is truly made of, drawn from its posterior: a model confuses classes, and a person has perhaps looked at some cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray, IntArray

__all__ = ["Drawn", "composition", "drawn", "endless", "is_known"]

DRAWS = 2000
SWEEPS = 60
STEPS = 40
LEAST = 1e-12  # of a probability that is divided by


class Drawn(NamedTuple):
    """Draws from what may be true of a slide; one row a draw.

    Attributes:
        shares: The composition of what the cells are a sample of, shape (N, C), rows sum to 1.
        true: True cells a class among those counted, shape (N, C).
        wrong: Cells among those that nobody has looked at whose prediction is wrong, shape (N,).
    """

    shares: FloatArray
    true: IntArray
    wrong: IntArray


def is_known(confusion: ArrayLike) -> bool:
    """Whether a confusion tells how a model errs: it counted a cell of every class.

    Of a class without one nobody knows what it is taken for. Drawn from the prior alone it would be taken for every
    class alike, and most of the cells of the others could be of it.

    Args:
        confusion: Validation counts[true, predicted], shape (C, C).
    """
    return bool(np.asarray(confusion).any(axis=1).all())


def composition(
    counts: ArrayLike,
    confusion: ArrayLike,
    *,
    draws: int = DRAWS,
    sweeps: int = SWEEPS,
    seed: int = 0,
) -> FloatArray:
    """Draw the true composition of what a model counted, given how it errs: `drawn` without known cells.

    Returns:
        Compositions, shape (draws, C), rows sum to 1.

    Raises:
        ShapeError: If the shapes differ, or the counts are not whole and non-negative.
    """
    return drawn(counts, confusion, draws=draws, sweeps=sweeps, seed=seed).shares


def drawn(
    counts: ArrayLike,
    confusion: ArrayLike,
    *,
    known: ArrayLike | None = None,
    left: ArrayLike | None = None,
    draws: int = DRAWS,
    sweeps: int = SWEEPS,
    keep: int = 1,
    seed: int = 0,
) -> Drawn:
    """Draw the true composition of what a model and perhaps a person counted, given how the model errs.

    How the model errs is drawn once a chain from the validation counts alone, p(predicted | true) ~
    Dirichlet(row + 1/C): what is counted must not teach it (a cut model). Then cells are dealt back to
    their true classes and the composition, with Jeffreys' prior Dirichlet(1/2), is drawn again, in turn.

    A person who looks at doubtful cells first leaves those on which the model errs less. So what is dealt back has the
    probability p(predicted and not yet looked at | true) = p(predicted | true) * left.

    Args:
        counts: Predicted cells a class that nobody has looked at, shape (C,).
        confusion: Validation counts[true, predicted], shape (C, C).
        known: Further cells, whose true class is known, shape (C,); none by default.
        left: Share of the cells of a true class and a prediction that nobody has looked at, in [0, 1], shape
            (C, C), [true, predicted]; by default the same for all.
        draws: Independent chains.
        sweeps: Steps of each chain.
        keep: How many of its last steps are kept, at most `sweeps`.
        seed: Of the draws.

    Raises:
        ShapeError: If the shapes differ, or the counts are not whole and non-negative.
    """
    predicted, errs = np.asarray(counts), np.asarray(confusion)
    c = predicted.size
    if predicted.shape != (c,) or errs.shape != (c, c):
        raise ShapeError(f"{c} counts need a confusion matrix of shape ({c}, {c}); got {errs.shape}")
    sure = np.zeros_like(predicted) if known is None else np.asarray(known)
    stays = np.ones((c, c)) if left is None else np.asarray(left, dtype=np.float64)
    if sure.shape != (c,) or stays.shape != (c, c):
        raise ShapeError(
            f"{c} counts need {c} known ones and shares of shape ({c}, {c}); got {sure.shape} and {stays.shape}"
        )
    for array in (predicted, errs, sure):
        if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
            raise ShapeError(f"a composition needs whole counts that are not negative; got {array.dtype}")
    if not ((stays >= 0) & (stays <= 1)).all():
        raise ShapeError("shares that nobody has looked at lie between 0 and 1; got others")
    rng = np.random.default_rng(seed)
    said = _dirichlet(rng, np.broadcast_to(errs + 1 / c, (draws, c, c))) * np.maximum(stays, LEAST)
    share = _near(rng, said, predicted, sure)
    kept = []
    for sweep in range(sweeps):
        origin = (share[:, :, None] * said).transpose(0, 2, 1)  # (draws, predicted, true)
        origin = origin / origin.sum(axis=2, keepdims=True)
        dealt = rng.multinomial(predicted, origin)
        true = dealt.sum(axis=1) + sure  # (draws, true)
        share = _dirichlet(rng, true + 0.5)
        if sweep >= sweeps - keep:
            wrong = predicted.sum() - dealt.diagonal(axis1=1, axis2=2).sum(axis=1)
            kept.append((share, true, wrong))
    shares, trues, wrongs = (np.concatenate(each) for each in zip(*kept, strict=True))
    return Drawn(shares, trues, wrongs)


def endless(counts: ArrayLike, confusion: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> FloatArray:
    """Draw the composition that endless cells would show if the model went on predicting in these proportions.

    How the model errs is drawn as in `drawn`; nothing else differs from draw to draw.

    Args:
        counts: Predicted cells a class, shape (C,).
        confusion: Validation counts[true, predicted], shape (C, C).
        draws: Rows.
        seed: Of the draws.

    Returns:
        Compositions, shape (draws, C), rows sum to 1.

    Source:
        Expectation maximisation of the weights of a mixture, from the predicted proportions on.
    """
    predicted, errs = np.asarray(counts, dtype=np.float64) + 1e-9, np.asarray(confusion)
    c = predicted.size
    said = _dirichlet(np.random.default_rng(seed), np.broadcast_to(errs + 1 / c, (draws, c, c)))
    share = np.broadcast_to((predicted + 0.5) / (predicted + 0.5).sum(), (draws, c))
    for _ in range(STEPS):
        joint = share[:, :, None] * said
        share = (joint / joint.sum(axis=1, keepdims=True) * (predicted / predicted.sum())).sum(axis=2)
    return share


def _near(rng: np.random.Generator, said: FloatArray, predicted: IntArray, sure: IntArray) -> FloatArray:
    """Return where each chain begins, shape (draws, C): from anywhere, and then near what is likeliest for how it errs.

    Begun at the counts as they are, chains would not come far in a few sweeps where two classes are much confused.
    """
    share = _dirichlet(rng, np.full(said.shape[:2], 0.5))
    for _ in range(STEPS):
        joint = share[:, :, None] * said
        share = (joint / joint.sum(axis=1, keepdims=True) * predicted).sum(axis=2) + sure + LEAST
        share = share / share.sum(axis=1, keepdims=True)
    return share


def _dirichlet(rng: np.random.Generator, alpha: FloatArray) -> FloatArray:
    gamma = rng.standard_gamma(alpha)
    return gamma / gamma.sum(axis=-1, keepdims=True)
