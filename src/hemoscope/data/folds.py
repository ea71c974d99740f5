"""Several splits of one data set whose test sides share it out: so that every image is answered by a network that was not trained on it.

Folds are stratified by class and drawn by a seed, and never part one content or one group. A split is drawn
again whenever it is asked for, from names and contents alone: all splits of a million images would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from hemoscope.data.groups import Group, content_groups, merged
from hemoscope.data.split import check_sizes, row_of, with_drawn_side
from hemoscope.errors import ConfigError
from hemoscope.records import IntArray, Manifest, Split, collected_later

__all__ = ["fold_split", "is_fold", "policy_of"]

_TWO_SIDES = 4  # different images of a class that leave one for each side beside either of two folds


def policy_of(fold: int, folds: int) -> str:
    """Return what a run card calls the split of a fold.

    >>> policy_of(2, 5), is_fold(policy_of(2, 5)), is_fold("paper")
    ('fold 2 of 5', True, False)
    """
    return f"fold {fold} of {folds}"


def is_fold(policy: str) -> bool:
    """Whether this is the policy of a fold's split."""
    return policy.startswith("fold ")


@collected_later()
def fold_split(manifest: Manifest, *, folds: int, fold: int, seed: int) -> Split:
    """Return the split whose test side is one of several folds.

    Validation images are drawn from the others, in the proportion that `make_split` has them to training images.
    Where the data bring a split, it is left aside.

    Args:
        manifest: Images without errors.
        folds: How many there are, at least 2.
        fold: Which one, from 1.
        seed: Seed of all draws, at least 0.

    Returns:
        Rows of every image, ordered by path. Single images of a class are dealt so that its folds differ by one at
        most, as far as images that have to stay together allow it.

    Raises:
        ConfigError: If a number does not hold.
        SplitError: If a class is too small, listing all of them.
    """
    if folds < 2 or not 1 <= fold <= folds or seed < 0:
        raise ConfigError(
            f"expected at least 2 folds, one of them from 1, and a seed of at least 0; got fold {fold} of {folds}, "
            f"seed {seed}"
        )
    groups = merged(content_groups(manifest.images))
    least = max(folds, _TWO_SIDES if folds == 2 else 0)
    check_sizes(groups, manifest.classes, least, f"for {folds} folds")
    dealt = _dealt(groups, folds, np.random.default_rng([seed, folds]))
    test = [group for group, place in zip(groups, dealt.tolist(), strict=True) if place == fold - 1]
    rest = [group for group, place in zip(groups, dealt.tolist(), strict=True) if place != fold - 1]
    rows = [row_of(image, "test") for group in test for image in group]
    rows += with_drawn_side(rest, "val", np.random.default_rng([seed, folds, fold]))
    return Split(rows=tuple(sorted(rows, key=attrgetter("path"))), policy=policy_of(fold, folds), seed=seed)


def _dealt(groups: Sequence[Group], folds: int, rng: np.random.Generator) -> IntArray:
    """Return the fold of every group, from 0: those of several images first, each to where its classes are rarest."""
    number = {name: i for i, name in enumerate(sorted({image.class_name for g in groups for image in g}))}
    counts = np.zeros((len(number), folds), dtype=np.int64)
    found = np.full(len(groups), -1, dtype=np.int64)
    shuffled = rng.permutation(len(groups))
    alone = np.array([len(group) == 1 for group in groups], dtype=bool)[shuffled]
    for i in sorted(shuffled[~alone].tolist(), key=lambda i: -len(groups[i])):
        classes = np.array([number[image.class_name] for image in groups[i]])
        # The fullest of its classes decides, then the images in all, then the first of the folds.
        found[i] = np.lexsort((counts.sum(axis=0), counts[np.unique(classes)].max(axis=0)))[0]
        np.add.at(counts, (classes, found[i]), 1)
    rest = shuffled[alone]
    classes = np.array([number[groups[i][0].class_name] for i in rest.tolist()], dtype=np.int64)
    for c in range(len(number)):
        own = rest[classes == c]
        free = _filled(counts[c], len(own), counts.sum(axis=0))
        found[own] = np.repeat(np.arange(folds), free)
        counts[c] += free
    return found


def _filled(counts: IntArray, n: int, totals: IntArray) -> IntArray:
    """Return how many of `n` images go to each fold so that all are as full as they can be, shape (K,).

    What does not go evenly goes to the folds with the fewest images in all.
    """
    low, high = int(counts.min()), int(counts.max()) + n + 1  # the level is in [low, high)
    while high - low > 1:
        level = (low + high) // 2
        low, high = (level, high) if np.maximum(level - counts, 0).sum() <= n else (low, level)
    free = np.maximum(low - counts, 0)
    open_to = np.flatnonzero(counts <= low)
    order = open_to[np.argsort(totals[open_to], kind="stable")]
    free[order[: n - free.sum()]] += 1
    return free
