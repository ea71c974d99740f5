"""A split without the images whose labels are doubted: a file beside the data, which stay as they are."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from hemoscope.errors import SplitError
from hemoscope.records import SIDES, Split

__all__ = ["Corrected", "without"]


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """A split and what was left out of it.

    Attributes:
        split: What is left.
        base: Digest of the split that it was made of.
        left_out: Images that are in no side any more.
        kept_on_test: Doubted images that stay on the test side.
    """

    split: Split
    base: str
    left_out: int
    kept_on_test: int


def without(split: Split, doubted: Set[str], *, also_test: bool) -> Corrected:
    """Leave doubted images out of training and validation, and out of the test side where that is asked for.

    By default they stay there: a test side without the images that a network finds hard flatters every network.

    Args:
        split: To start from.
        doubted: Paths.
        also_test: Leave them out of the test side, too.

    Raises:
        SplitError: If a class would have no training image any more, or a side no image.
    """
    out = [row for row in split.rows if row.path in doubted and (also_test or row.side != "test")]
    gone = {row.path for row in out}
    kept = Split(tuple(row for row in split.rows if row.path not in gone), policy="given", seed=None)
    empty = [name for name in split.classes if not kept.counts["train"].get(name)]
    bare = [side for side in SIDES if split.side(side) and not kept.side(side)]
    if empty or bare:
        lost = [
            *(f"class {name!r} without a training image" for name in empty),
            *(f"no {s} image" for s in bare),
        ]
        raise SplitError(
            f"leaving {len(out):,} doubted images out leaves {', '.join(lost)}: networks that doubt so much tell little "
            "of the labels. Train better ones, or look at the suspects one by one"
        )
    stay = sum(row.path in doubted for row in kept.rows)
    return Corrected(kept, split.digest, len(out), stay)
