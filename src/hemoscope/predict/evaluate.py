"""Anything that answers on labelled cells: its answers to all classes, and to those alone that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.camera import some_of
from hemoscope.data.class_map import ClassMap, match_classes
from hemoscope.data.scan.npz import npz_images
from hemoscope.data.scan.scan import usable
from hemoscope.data.split_file import read_split
from hemoscope.ensemble.vote import How, combine
from hemoscope.errors import DataError
from hemoscope.predict.scorable import Scorable
from hemoscope.progress import Progress
from hemoscope.records import SIDES, CellImage, FloatArray, IntArray, Manifest, Predictions
from hemoscope.training.scanned import scan_cached

__all__ = ["STATUSES", "Evaluated", "limited_vote", "pixels_of", "predict_labelled", "scanned", "seen_before"]

STATUSES = ("accepted", "review", "unknown")


@dataclass(frozen=True)
class Evaluated:
    """What something says of a labelled data set.

    Attributes:
        manifest: The data.
        class_map: Which class of the model each of the data's is.
        predictions: Of the images of the model's classes, all classes open, ordered by path.
        members: The same of each member by itself.
        limited: The answer limited to the classes that are there; None where all of the model's are.
        status: `accepted`, `review` or `unknown` of each; None where nothing gives verdicts.
        strangers: Images that are of none of the classes, by status; by `not judged` where nothing gives verdicts.
        seen: How many of the images were on each side of its split, by their bytes; None where that is not known.
    """

    manifest: Manifest
    class_map: ClassMap
    predictions: Predictions
    members: tuple[Predictions, ...]
    limited: Predictions | None
    status: tuple[str, ...] | None
    strangers: Mapping[str, int]
    seen: Mapping[str, int] | None


def scanned(root: Path, progress: Progress | None = None) -> Manifest:
    """Return a labelled data set, one class of which is enough.

    Raises:
        DataError: If it holds errors.
    """
    return usable(scan_cached(root, progress), skip_bad=None, at_least=1)


def predict_labelled(
    what: Scorable,
    manifest: Manifest,
    *,
    split_file: Path | None = None,
    given: ClassMap | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Ask about every image of a labelled data set.

    Args:
        what: Whom to ask.
        manifest: A folder of class folders (one is enough), a CSV of labels or an `.npz`.
        split_file: Ask only about the test side of this split.
        given: What a person has decided of the data's classes.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If the name of a class does not say which of the model's it is, no image is of one of these, or images
            cannot be read.
    """
    class_map = match_classes(manifest.classes, what.classes, given)
    wanted = {r.path for r in read_split(split_file, manifest).side("test")} if split_file else None
    images = [image for image in manifest.images if wanted is None or image.path in wanted]
    n_all = len(images)
    if all(class_map[image.class_name] is None for image in images):
        raise DataError(
            f"expected images of {', '.join(what.classes)} on the test side of {split_file or manifest.source or manifest.root}; none of its "
            f"{n_all:,} images is of one. Name another split, or say which class is which: --classes MAP.toml"
        )
    if not what.judges:  # nothing is said of what is none of the classes
        images = [image for image in images if class_map[image.class_name] is not None]
    probs, said, status = _ask_all(what, manifest, images, progress)
    target = np.array([_target(what, class_map[image.class_name]) for image in images], dtype=np.int64)
    cells = target >= 0
    kept = [image for image, cell in zip(images, cells, strict=True) if cell]
    paths = tuple(image.path for image in kept)
    known = probs[:, cells]
    pred, mean, _ = combine(known, what.vote)
    if said is not None:  # a bundle's own probabilities are calibrated
        mean = said[cells]
    there = np.isin(np.arange(len(what.classes)), target[cells])

    def of(pred: IntArray, probs: FloatArray) -> Predictions:
        return Predictions(what.classes, paths, target[cells], probs, pred)

    return Evaluated(
        manifest=manifest,
        class_map=class_map,
        predictions=of(pred, mean),
        members=tuple(of(one.argmax(axis=1), one) for one in known),
        limited=None if there.all() else of(*limited_vote(known, there, what.vote)),
        status=None if status is None else tuple(np.array(status)[cells].tolist()),
        strangers=Counter(np.array(status)[~cells].tolist())
        if status is not None
        else {"not judged": n_all - len(images)},
        seen=seen_before(what, kept),
    )


def limited_vote(probs: FloatArray, there: NDArray[np.bool_], how: How) -> tuple[IntArray, FloatArray]:
    """Let members vote on the classes that are there alone, as if they had never known the others.

    Args:
        probs: Softmax probabilities, shape (K, N, C).
        there: Which classes are, shape (C,).
        how: The vote.

    Returns:
        Predicted class, shape (N,), and mean probabilities, shape (N, C), 0 for a class that is not there. A
        member that gives all of them nothing gives each the same.

    >>> pred, mean = limited_vote(np.array([[[0.7, 0.1, 0.2]]]), np.array([False, True, True]), "soft")
    >>> int(pred[0]), mean.round(3).tolist()
    (2, [[0.0, 0.333, 0.667]])
    """
    inside = probs[..., there]
    total = inside.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        inside = np.where(total > 0, inside / total, 1 / there.sum())
    pred, mean, _ = combine(inside, how)
    whole = np.zeros(probs.shape[1:])
    whole[:, there] = mean
    return np.flatnonzero(there)[pred], whole


def _ask_all(
    what: Scorable, manifest: Manifest, images: list[CellImage], progress: Progress | None
) -> tuple[FloatArray, FloatArray | None, list[str] | None]:
    """Return the members' probabilities, shape (K, N, C), and a bundle's own, shape (N, C), and its statuses."""
    rows = {image.path: row for row, image in enumerate(images)}
    probs = np.empty((len(what.members), len(images), len(what.classes)))
    said = np.empty(probs.shape[1:]) if what.judges else None
    status = [""] * len(images) if what.judges else None
    asked: list[str] = []  # paths in the order of the answers
    problems: list[str] = []
    ask = what.at_camera(some_of(manifest, list(rows)))
    for i, (answer, verdict) in enumerate(ask(pixels_of(manifest, rows, asked))):
        row = rows[asked[i]]
        if answer.probs is None:
            problems.append(f"{asked[i]}: {answer.error}")
        else:
            probs[:, row] = answer.probs
            if verdict and verdict.probs is not None and said is not None and status is not None:
                said[row], status[row] = verdict.probs, verdict.status
        if progress:
            progress("predicting", i + 1, len(images))
    if problems:
        listing = "\n  ".join(problems[:20])
        raise DataError(f"{len(problems)} images changed while they were read; run again:\n  {listing}")
    return probs, said, status


def _target(what: Scorable, class_name: str | None) -> int:
    return -1 if class_name is None else what.classes.index(class_name)


def seen_before(what: Scorable, images: Sequence[CellImage]) -> dict[str, int] | None:
    """Return how many images were on each side of its split, by their bytes; None where that is not known."""
    side_of = what.sides()
    if side_of is None:
        return None
    found = Counter(side_of.get(image.hash) for image in images)
    return {side: found[side] for side in SIDES}


def pixels_of(
    manifest: Manifest, wanted: Collection[str], asked: list[str]
) -> Iterator[Path | NDArray[np.uint8]]:
    """Yield every wanted image, a file or its pixels, and note its path in `asked`."""
    if manifest.is_npz:
        for path, pixels in npz_images(manifest.root):  # in the order of the file
            if path in wanted:
                asked.append(path)
                yield pixels
        return
    for path in wanted:
        asked.append(path)
        yield manifest.root / path
