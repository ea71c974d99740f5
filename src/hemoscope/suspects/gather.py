"""What the runs below a folder say of images that they were not trained on: one mean answer an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hemoscope.data.folds import is_fold
from hemoscope.data.split_file import recorded_split
from hemoscope.ensemble.candidates import LeftOut
from hemoscope.ensemble.vote import check_name
from hemoscope.errors import RunError
from hemoscope.records import FloatArray, IntArray, Predictions, Split
from hemoscope.runs import EVALUATED, Run, find_runs

__all__ = ["Answers", "Sides", "gather"]

Sides = Literal["test", "val", "both"]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers to N images, ordered by path.

    Attributes:
        classes: Class names, length C.
        paths: Length N.
        target: Their labels, shape (N,).
        probs: Mean over the runs that were asked, shape (N, C).
        asked: How many were, shape (N,).
        runs: Who answered, by name.
        side: Which of their sides.
        of_folds: Whether they are runs of folds.
        n_images: Images that the runs trained, chose or tested on.
        split: That of the first run, of the first fold where there are folds; None where it is not recorded.
        card: That of the same run.
        left_out: Runs that were not asked, and why.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    target: IntArray
    probs: FloatArray
    asked: IntArray
    runs: tuple[str, ...]
    side: Sides
    of_folds: bool
    n_images: int
    split: Split | None
    card: Mapping[str, Any]
    left_out: tuple[LeftOut, ...]

    @property
    def unanswered(self) -> int:
        """Images without an answer."""
        return self.n_images - len(self.paths)


def gather(runs_root: Path, *, side: Sides | None = None) -> Answers:
    """Read what finished runs of one data set said of images that they were not trained on.

    Where there are runs of folds, they alone are asked, on their test sides. Other runs are asked on validation: a test
    side whose labels its own network has corrected is no test any more.

    Args:
        runs_root: A folder of run folders, or one run folder.
        side: Which sides to read instead.

    Raises:
        RunError: If no finished run has such images, or two contradict each other in a label.
        UnknownNameError: If there is no such side.
    """
    if side:
        check_name("side", side, get_args(Sides))
    left_out: list[LeftOut] = []
    found = find_runs(runs_root, on_damage=lambda name, error: left_out.append(LeftOut(name, str(error))))
    runs, other_data = _of_one_data_set(found)
    folds = [run for run in runs if is_fold(str(run.card["split"].get("policy")))]
    of_folds = bool(folds)
    if folds:
        left_out += [LeftOut(run.name, "no run of a fold") for run in runs if run not in folds]
        runs = folds
    chosen: Sides = side or ("test" if of_folds else "val")
    mean = _mean([(run.name, part) for run in runs for part in _parts(run, chosen)])
    if not len(mean[0]):
        raise RunError(
            f"expected images on the {chosen} side of the runs in {runs_root}; there are none. Answers to all images come "
            f"from: hemoscope benchmark --data DIR --folds 5 --out {runs_root}"
        )
    first = min(runs, key=lambda run: str(run.card["split"].get("policy")))
    counts = (first.card["data"].get("counts") or {}).values()
    digest = str(first.card["split"]["digest"])
    return Answers(
        classes=first.classes,
        paths=mean[0],
        target=mean[1],
        probs=mean[2],
        asked=mean[3],
        runs=tuple(run.name for run in runs),
        side=chosen,
        of_folds=of_folds,
        n_images=max(len(mean[0]), sum(sum(side.values()) for side in counts)),
        split=recorded_split(first.path.parent / "splits" / f"{digest[:16]}.csv", digest),
        card=first.card,
        left_out=(*left_out, *other_data),
    )


def _of_one_data_set(runs: Sequence[Run]) -> tuple[list[Run], list[LeftOut]]:
    """Return the largest group of runs of the same images and classes, and why the others are out."""
    groups: dict[Any, list[Run]] = {}
    out: list[LeftOut] = []
    for run in runs:
        if run.card["split"].get("policy") == EVALUATED:
            out.append(
                LeftOut(run.name, "answers to cells that were scored later; it was not trained beside them")
            )
        else:
            groups.setdefault((run.card["data"].get("digest"), run.classes), []).append(run)
    if not groups:
        raise RunError(
            "expected runs with a split of their own; found only answers of hemoscope evaluate --out"
        )
    kept = max(groups.values(), key=len)
    out += [
        LeftOut(run.name, f"of other images or classes than {kept[0].name}")
        for group in groups.values()
        if group is not kept
        for run in group
    ]
    return kept, out


def _parts(run: Run, side: Sides) -> list[Predictions]:
    return [run.predictions("val"), run.predictions("test")] if side == "both" else [run.predictions(side)]


def _mean(
    parts: Sequence[tuple[str, Predictions]],
) -> tuple[tuple[str, ...], IntArray, FloatArray, IntArray]:
    """Return paths, labels, mean probabilities, shape (N, C), and how many answers each is the mean of."""
    paths = sorted({path for _, part in parts for path in part.paths})
    place = {path: i for i, path in enumerate(paths)}
    target = np.full(len(paths), -1, dtype=np.int64)
    total = np.zeros((len(paths), len(parts[0][1].classes)))
    asked = np.zeros(len(paths), dtype=np.int64)
    for name, part in parts:
        at = np.fromiter((place[path] for path in part.paths), dtype=np.int64, count=len(part))
        known = target[at]
        other = (known >= 0) & (known != part.target)
        if other.any():
            raise RunError(
                f"{name} has another label for {part.paths[int(np.argmax(other))]!r} than the runs before it, though their "
                "cards name the same images; delete the folder that was changed and run it again"
            )
        target[at] = part.target
        total[at] += part.probs
        asked[at] += 1
    return tuple(paths), target, total / np.maximum(asked, 1)[:, None], asked
