"""Which fits an adaptation takes: the one that is kept, and others that say how far to trust it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hemoscope.adapt.cells import Cells
from hemoscope.adapt.recipe import AdaptRecipe
from hemoscope.adapt.trust import LEAST_CLASSES
from hemoscope.errors import DataError
from hemoscope.records import IntArray

__all__ = ["Fit", "check_enough", "digest_of", "fold_of", "plan_fits"]

LEAST_LABELLED = 2  # of a class: one to learn from while the other is answered


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One fit of every member.

    Attributes:
        name: What it is called while it is done.
        seed: Of everything drawn.
        labelled: Rows of the labelled cells it learns from.
        answers: Rows of the labelled cells that it answers without having learnt their labels.
    """

    name: str
    seed: int
    labelled: IntArray
    answers: IntArray


def check_enough(cells: Cells, classes: tuple[str, ...], recipe: AdaptRecipe) -> None:
    """Refuse too few cells, before any work.

    Raises:
        DataError: With what is missing.
    """
    n, rows = len(cells.unlabelled), cells.labelled
    if not len(rows):
        if n < recipe.least_cells:
            raise DataError(
                f"{n} different cells are too few to adapt to without labels; expected at least {recipe.least_cells}. Add "
                "cells, or say what some of them are: --labelled DIR"
            )
        return
    if not n and (len(rows) < recipe.least_labelled or len(np.unique(cells.target[rows])) < LEAST_CLASSES):
        raise DataError(
            f"all {len(rows)} different cells have a label, and so few, or of one class alone, cannot say whether adapting to them is to be "
            f"trusted; expected at least {recipe.least_labelled} of {LEAST_CLASSES} classes, or cells without a label beside them"
        )
    counts = {classes[c]: int((cells.target == c).sum()) for c in np.unique(cells.target[rows])}
    few = [f"{name} ({count})" for name, count in counts.items() if count < LEAST_LABELLED]
    if few:
        raise DataError(
            f"expected at least {LEAST_LABELLED} different labelled cells of every class that has any, one to learn from while "
            f"another is answered; got {', '.join(few)}. Add cells of these classes or leave their folders out"
        )


def plan_fits(cells: Cells, recipe: AdaptRecipe, seed: int) -> tuple[Fit, ...]:
    """Return the fit that is kept, then the others: another seed, or one a fold of the labelled cells."""
    labelled, none = cells.labelled, np.zeros(0, np.int64)
    if not len(labelled):
        return Fit("adapting", seed, none, none), Fit("another seed", seed + 1, none, none)
    fold = fold_of(cells.target[labelled], recipe.folds, seed=seed)
    folds = np.unique(fold)
    return (
        Fit("adapting", seed, labelled, none),
        *(
            Fit(f"fold {i + 1} of {len(folds)}", seed + 1 + i, labelled[fold != f], labelled[fold == f])
            for i, f in enumerate(folds)
        ),
    )


def fold_of(target: IntArray, folds: int, *, seed: int) -> IntArray:
    """Return the fold of every labelled cell, shape (N,): each class is dealt out evenly, and so are all together."""
    rng = np.random.default_rng(seed)
    found = np.empty(len(target), np.int64)
    dealt = 0
    for c in np.unique(target):
        rows = rng.permutation(np.flatnonzero(target == c))
        found[rows] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    return found


def digest_of(facts: Mapping[str, object]) -> str:
    """Return SHA-256 over all that a result follows from."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
