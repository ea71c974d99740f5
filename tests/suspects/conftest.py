"""Runs of folds as benchmark leaves them, with answers drawn from what the images are, whatever their labels say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hemoscope.data.folds import fold_split
from hemoscope.data.split_file import write_split
from hemoscope.files import sha256_of, write_json
from hemoscope.records import Manifest, Predictions, Split
from hemoscope.runs import CARD, DONE, PREDICTIONS, write_predictions

SURE = 8.0


def answers(
    split: Split, side: str, true: Mapping[str, str], classes: tuple[str, ...], seed: int
) -> Predictions:
    """Return what a good network says of one side: the true class, given no label."""
    rows = split.side(side)  # type: ignore[arg-type]
    logits = np.zeros((len(rows), len(classes)))
    is_of = [classes.index(true.get(row.path, row.class_name)) for row in rows]
    logits[np.arange(len(rows)), is_of] = SURE + seed
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.array([classes.index(row.class_name) for row in rows], dtype=np.int64)
    return Predictions(classes, tuple(row.path for row in rows), target, probs, probs.argmax(axis=1))


def write_run(
    folder: Path, manifest: Manifest, split: Split, true: Mapping[str, str], *, seed: int = 0, name: str = ""
) -> Path:
    """Write a finished run of a split below `folder`, and the split beside it."""
    run = folder / (name or f"net-s{seed}-{split.digest[:8]}")
    run.mkdir(parents=True)
    classes = manifest.classes
    sides = {side: answers(split, side, true, classes, seed) for side in ("val", "test")}
    write_predictions(run / PREDICTIONS, sides)
    card = {
        "arch": "net",
        "seed": seed,
        "recipe": {},
        "data": {
            "root": manifest.root,
            "digest": manifest.digest,
            "classes": classes,
            "counts": split.counts,
        },
        "split": {"digest": split.digest, "policy": split.policy, "seed": split.seed},
        "files": {PREDICTIONS: sha256_of(run / PREDICTIONS)},
    }
    write_json(run / CARD, card)
    (run / DONE).touch()
    write_split(split, folder / "splits" / f"{split.digest[:16]}.csv")
    return run


def write_folds(
    folder: Path, manifest: Manifest, true: Mapping[str, str], *, folds: int = 3, seed: int = 0
) -> list[Path]:
    """Write a run of every fold."""
    splits = [fold_split(manifest, folds=folds, fold=k, seed=0) for k in range(1, folds + 1)]
    return [write_run(folder, manifest, split, true, seed=seed) for split in splits]
