"""Whether an adaptation is to be trusted: signals that need no label, and one rule over them.

A wrong adaptation looks sure of itself. What tells it apart is that another seed ends elsewhere, that cells and answers
have little to do with each other, that the cells fall into no groups, or that hardly an answer stayed what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from hemoscope.adapt.recipe import ADAPT, RULES, AdaptRecipe
from hemoscope.records import FloatArray, IntArray

__all__ = [
    "LEAST_CLASSES",
    "Signals",
    "balanced_accuracy",
    "doubts",
    "loosened",
    "mutual_information",
    "neighbourhood_density",
    "shares_moved",
    "way_on",
]

TEMPERATURE = 0.05  # Saito et al.'s
TINY = 1e-12
ALIKE = 1e-9  # two means of the same shares in another order differ by less
LEAST_CLASSES = 2  # with labels: of those of one class nothing is learnt about another


@dataclass(frozen=True, slots=True)
class Signals:
    """What can be known of an adaptation without labels, and with a few; None where it is not known, or not yet.

    Attributes:
        cells: Different cells without a label.
        nuclei: Share of the cells in which a nucleus is found.
        unknown_before: Share that the model before calls unknown; None where it never does.
        sure_before: Mean probability of the answers of the model before.
        kept: Share of the answers that were the same before any step, with new batch statistics.
        seeds_agree: Share of the cells that every other seed answers alike; None where there is none.
        shares_moved: Half the sum of the differences of the estimated class shares, before and after.
        information_before: Mutual information of cells and answers in nats, before any step.
        information: The same after.
        density_before: Entropy of the neighbours of a cell among features in nats, before any step.
        density: The same after.
        labelled_cells: Cells with a label; None without any.
        labelled_classes: How many classes they are of.
        labelled_before: Balanced accuracy of the model before on them.
        labelled: The same after, each cell answered by networks that learnt without its label.
        labelled_won: Labelled cells that were wrong before and are right after.
        labelled_lost: Labelled cells that were right before and are wrong after.
    """

    cells: int
    nuclei: float
    unknown_before: float | None = None
    sure_before: float | None = None
    kept: float | None = None
    seeds_agree: float | None = None
    shares_moved: float | None = None
    information_before: float | None = None
    information: float | None = None
    density_before: float | None = None
    density: float | None = None
    labelled_cells: int | None = None
    labelled_classes: int | None = None
    labelled_before: float | None = None
    labelled: float | None = None
    labelled_won: int | None = None
    labelled_lost: int | None = None

    @property
    def neighbours(self) -> float | None:
        """Share of the other cells among which the neighbours of a cell are spread, after; 1 where all look alike."""
        return None if self.density is None else float(np.exp(self.density)) / (self.cells - 1)

    def to_json(self) -> dict[str, float | None]:
        """Return the signals by name."""
        return asdict(self)


def doubts(signals: Signals, recipe: AdaptRecipe) -> tuple[str, ...]:
    """Return why an adaptation is not to be trusted, in sentences; none where it is.

    This is the whole rule. Enough labels decide alone but for what tells that these are no cells, or of one kind.
    """
    rules = [_with_labels(signals, recipe), *_whatever_labels_say(signals, recipe)]
    if not _labels_decide(signals, recipe):
        rules += _without_labels(signals, recipe)
    return tuple(why for holds, why in rules if holds)


def way_on(signals: Signals, recipe: AdaptRecipe) -> str:
    """Return what to do after doubts, in a sentence; empty where these were no cells to learn from, which no label changes."""
    if any(holds for holds, _ in _whatever_labels_say(signals, recipe)):
        return ""
    if _sure(signals, recipe) and not _labels_decide(signals, recipe):
        return "Use it as it is; hemoscope evaluate tells on labelled cells of yours how often it is right"
    more = "More" if signals.labelled_cells else "Ten"
    return f"{more} labelled cells of each class can settle it: --labelled DIR"


def loosened(signals: Signals, recipe: AdaptRecipe) -> str:
    """Return by which other rules than the usual it was trusted, and what these hold against it; empty where by none."""
    other = {name: getattr(ADAPT, name) for name in RULES if getattr(recipe, name) != getattr(ADAPT, name)}
    if not other:
        return ""
    told = ", ".join(
        f"{name} {getattr(recipe, name):g} in place of {usual:g}" for name, usual in other.items()
    )
    against = doubts(signals, recipe.model_copy(update=other))
    return f"It was written by other rules than the usual ones: {told}." + (
        f" By those it is not to be trusted: {'; '.join(against)}." if against else ""
    )


def _labels_decide(signals: Signals, recipe: AdaptRecipe) -> bool:
    enough = (signals.labelled_cells or 0) >= recipe.least_labelled
    return enough and (signals.labelled_classes or 0) >= LEAST_CLASSES


def _sure(signals: Signals, recipe: AdaptRecipe) -> bool:
    return signals.sure_before is not None and signals.sure_before > recipe.most_sure


def _with_labels(signals: Signals, recipe: AdaptRecipe) -> tuple[bool, str]:
    return (
        _below(signals.labelled, (signals.labelled_before or 0) - recipe.most_lost - ALIKE),
        (
            f"on {signals.labelled_cells} labelled cells, answered without their own labels, its balanced accuracy is "
            f"{_percent(signals.labelled)} and was {_percent(signals.labelled_before)}: {signals.labelled_lost} that were right are "
            f"wrong, {signals.labelled_won} the other way round"
        ),
    )


def _whatever_labels_say(signals: Signals, recipe: AdaptRecipe) -> list[tuple[bool, str]]:
    return [
        (
            signals.nuclei < recipe.least_nuclei,
            f"a nucleus is found in {_percent(signals.nuclei)} of the images only; expected single stained cells",
        ),
        (
            _below(signals.information, recipe.least_information),
            (
                f"its answers hardly differ from cell to cell (mutual information {signals.information or 0:.2f} nats, expected "
                f"at least {recipe.least_information:g}): all cells are of one class, or it cannot tell them apart"
            ),
        ),
    ]


def _without_labels(signals: Signals, recipe: AdaptRecipe) -> list[tuple[bool, str]]:
    return [
        (
            _sure(signals, recipe),
            (
                f"the model before is sure of these cells (mean probability {_percent(signals.sure_before)}, expected at most "
                f"{_percent(recipe.most_sure)}): it knows such cells, and learning from its own answers would rather cost some"
            ),
        ),
        (
            _below(signals.seeds_agree, recipe.least_seeds_agree),
            (
                f"another seed ends with the same answer for {_percent(signals.seeds_agree)} of the cells only; "
                f"expected at least {_percent(recipe.least_seeds_agree)}"
            ),
        ),
        (
            _below(signals.kept, recipe.least_kept),
            (
                f"only {_percent(signals.kept)} of the answers stayed what they were; expected at least "
                f"{_percent(recipe.least_kept)}"
            ),
        ),
        (
            signals.neighbours is not None and signals.neighbours > recipe.most_neighbours,
            (
                f"what it sees falls into no groups: {_percent(signals.neighbours)} of the other cells look like a cell, as a mean; "
                f"expected at most {_percent(recipe.most_neighbours)}"
            ),
        ),
    ]


def mutual_information(probs: FloatArray) -> float:
    """Return the entropy of the mean answer less the mean entropy of an answer, in nats; 0 where all are alike.

    Args:
        probs: Shape (N, C).

    >>> round(mutual_information(np.array([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    return _entropy(probs.mean(axis=0)) - float(np.mean([_entropy(row) for row in probs]))


def neighbourhood_density(features: Tensor) -> float:
    """Return the mean entropy of a cell's similarities to the other cells, in nats: high where cells lie in dense groups.

    Args:
        features: Of length 1, shape (N, F), N at least 2.

    Source:
        Saito et al., Tune it the right way, ICCV 2021 (soft neighbourhood density).
    """
    cosine = (features @ features.T).double()
    cosine.fill_diagonal_(-torch.inf)
    log_near = (cosine / TEMPERATURE).log_softmax(dim=1)
    near = log_near.exp()
    return float(-(near * log_near.masked_fill(near == 0, 0)).sum(dim=1).mean())


def shares_moved(before: FloatArray, after: FloatArray) -> float:
    """Return half the sum of the differences of two sets of shares, 0 to 1.

    >>> shares_moved(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    0.5
    """
    return float(np.abs(before - after).sum() / 2)


def balanced_accuracy(pred: IntArray, target: IntArray) -> float:
    """Return the mean share of right answers over the classes that are there.

    >>> balanced_accuracy(np.array([0, 0, 1]), np.array([0, 0, 0])).__round__(3)
    0.667
    """
    return float(np.mean([(pred[target == c] == c).mean() for c in np.unique(target)]))


def _below(value: float | None, least: float) -> bool:
    return value is not None and not value >= least  # NaN is


def _entropy(probs: Sequence[float] | FloatArray) -> float:
    held = np.asarray(probs, dtype=np.float64)
    return float(-(held * np.log(np.maximum(held, TINY))).sum())


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"
