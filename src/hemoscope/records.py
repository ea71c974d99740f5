"""The frozen values that pass between the parts: images, manifests, splits, predictions.

Records hold and check; they never read images and never touch a network. Only `Predictions` and
`Split` know their file format elsewhere (`runs`, `data.split`).
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import ShapeError

__all__ = [
    "LEVELS",
    "SIDES",
    "SIDE_NAMES",
    "CellImage",
    "FloatArray",
    "IntArray",
    "Level",
    "Manifest",
    "Predictions",
    "Problem",
    "Side",
    "Split",
    "SplitRow",
    "collected_later",
    "sorted_by_level",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Side = Literal["train", "val", "test"]
Level = Literal["error", "warning", "note"]

SIDES: tuple[Side, ...] = get_args(Side)
LEVELS: tuple[Level, ...] = get_args(Level)

SIDE_NAMES: Mapping[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of sides, in small letters, as people write them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should know about one file or folder.

    An `error` stops training; a `warning` does not, but may bend the scores; a `note` is counted.
    """

    level: Level
    path: str
    what: str


class CellImage(NamedTuple):
    """One readable image of a data set; a tuple, of which a million are made in a second.

    Attributes:
        path: POSIX path below the data folder, or `train/00017` inside an `.npz`.
        class_name: Name of its class.
        subtype: Prefix of a PBC file name (`SNE`, `BNE`, `MMY`, ...), otherwise empty.
        width_px: Width after EXIF orientation.
        height_px: Height after EXIF orientation.
        hash: SHA-256 of the file's bytes (of the pixels inside an `.npz`), 64 hex digits.
        pixel_hash: SHA-256 of the decoded RGB pixels and their shape, 64 hex digits.
        phash: Perceptual hash, 64 bits.
        background: Median RGB of the image's brightest quarter, which is the slide's background.
        given_side: The side a published split puts it on, where there is one.
        group: What it belongs to, as a patient or a slide; empty where nobody says. Not part of the digest.
    """

    path: str
    class_name: str
    subtype: str
    width_px: int
    height_px: int
    hash: str
    pixel_hash: str = ""
    phash: int = 0
    background: tuple[int, int, int] = (0, 0, 0)
    given_side: Side | None = None
    group: str = ""


@dataclass(frozen=True)
class Manifest:
    """Everything known about a data set before training.

    Attributes:
        root: The folder of class folders, the folder of a CSV of labels, or the `.npz` file.
        classes: Class names in alphabetical order; a target is an index into them.
        images: Readable images, ordered by path.
        problems: Everything found while scanning, errors first.
        not_images: Files that are no images and were passed over.
        converted: How many images had to be converted to upright 8-bit RGB, by reason.
        left_out: Errors that were passed over, on demand.
        source: What was scanned, where that is not `root`: a CSV of labels, a zip or Parquet.
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[CellImage, ...] = field(repr=False)
    problems: tuple[Problem, ...] = ()
    not_images: int = 0
    converted: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[Problem, ...] = ()
    source: Path | None = None

    @property
    def is_npz(self) -> bool:
        """Whether the images lie in one BloodMNIST file."""
        return self.root.suffix.lower() == ".npz"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over path, class and content of every image: the identity of the data."""
        return _digest(f"{i.path}\0{i.class_name}\0{i.hash}" for i in self.images)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images a class, in class order."""
        tally = Counter([image.class_name for image in self.images])
        return {name: tally[name] for name in self.classes}

    @property
    def short_sides_px(self) -> tuple[int, int] | None:
        """The shorter sides of the smallest and of the largest image; None without images."""
        sides = [min(image.width_px, image.height_px) for image in self.images]
        return (min(sides), max(sides)) if sides else None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop training."""
        return tuple(p for p in self.problems if p.level == "error")


class SplitRow(NamedTuple):
    """One image and the side it is on."""

    path: str
    class_name: str
    subtype: str
    hash: str
    side: Side


@dataclass(frozen=True)
class Split:
    """Which image is for fitting, which for choosing, which for reporting once.

    Attributes:
        rows: Ordered by path.
        policy: `paper`, `clean`, `acquisition`, or `given` for a split made elsewhere.
        seed: Seed of the draw; None for a given split.
    """

    rows: tuple[SplitRow, ...] = field(repr=False)
    policy: str
    seed: int | None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over path, class, content and side of every row, ordered by path."""
        return _digest(f"{r.path}\0{r.class_name}\0{r.hash}\0{r.side}" for r in self.rows)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in alphabetical order."""
        return tuple(sorted({r.class_name for r in self.rows}))

    def side(self, side: Side) -> tuple[SplitRow, ...]:
        """Return the rows of one side, in path order."""
        return tuple(r for r in self.rows if r.side == side)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Images a side and class."""
        tally = Counter([(r.side, r.class_name) for r in self.rows])
        return {s: {c: tally[s, c] for c in self.classes} for s in SIDES}


@dataclass(frozen=True)
class Predictions:
    """What one network, or an ensemble, said about one side's images.

    Attributes:
        classes: Class names, length C.
        paths: Image paths, length N.
        target: True class, shape (N,), in [0, C).
        probs: Softmax probabilities, shape (N, C).
        pred: Predicted class, shape (N,). It is the argmax of `probs`, except for a majority vote,
            where the vote decides.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...] = field(repr=False)
    target: IntArray = field(repr=False)
    probs: FloatArray = field(repr=False)
    pred: IntArray = field(repr=False)

    def __post_init__(self) -> None:
        n, c = len(self.paths), len(self.classes)
        shapes = (self.target.shape, self.probs.shape, self.pred.shape)
        if shapes != ((n,), (n, c), (n,)):
            raise ShapeError(
                f"predictions of {n} images and {c} classes need target ({n},), probs ({n}, {c}) "
                f"and pred ({n},); got {shapes}"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def problem(self) -> str:
        """Return what makes the values no predictions, as the end of a sentence; empty if nothing does."""
        if len(set(self.paths)) != len(self.paths):
            twice = next(path for path, n in sorted(Counter(self.paths).items()) if n > 1)
            return f"must predict every image once; it holds {twice!r} more than once"
        if self.probs.size and not (self.probs.min() >= 0 and self.probs.max() <= 1):  # NaN fails both
            return "must hold probabilities from 0 to 1"
        indices = np.concatenate([self.target, self.pred])
        if ((indices < 0) | (indices >= len(self.classes))).any():
            return f"must hold class indices below {len(self.classes)}"
        return ""

    @property
    def n_errors(self) -> int:
        """Images whose predicted class is not the true one."""
        return int((self.pred != self.target).sum())

    def take(self, order: Sequence[int] | IntArray) -> Predictions:
        """Return the chosen images in the given order."""
        index = np.asarray(order, dtype=np.int64)
        return Predictions(
            classes=self.classes,
            paths=tuple(self.paths[i] for i in index),
            target=self.target[index],
            probs=self.probs[index],
            pred=self.pred[index],
        )


@contextmanager
def collected_later() -> Iterator[None]:
    """Look for no garbage while millions of records are made: among so many it takes as long as making them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # or another's would thaw
            gc.freeze()
            gc.unfreeze()  # all of them are old now, and not the first to be looked through
        if was:
            gc.enable()


def sorted_by_level(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems with errors first, each level by path."""
    return tuple(sorted(problems, key=lambda p: (LEVELS.index(p.level), p.path, p.what)))


def _digest(lines: Iterable[str]) -> str:
    sha, rest = hashlib.sha256(), iter(lines)
    while block := list(islice(rest, 4096)):
        sha.update("\n".join([*block, ""]).encode("utf-8", "surrogateescape"))
    return sha.hexdigest()
