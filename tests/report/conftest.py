"""Run folders written as training writes them, with predictions drawn from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemoscope.evaluation.summary import score
from hemoscope.files import write_json, write_text
from hemoscope.records import Predictions
from hemoscope.runs import CARD, DONE, HISTORY, PREDICTIONS, EpochRow, format_history, write_predictions

PBC = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
PBC_TEST = (147, 375, 187, 348, 146, 171, 400, 282)
PREFIX = ("BA", "EO", "ERB", "MMY", "LY", "MO", "BNE", "PLATELET")


@dataclass(frozen=True)
class Side:
    """The true classes and file names of one side, the same for every run."""

    classes: tuple[str, ...]
    support: Sequence[int]
    name: str
    rename: Callable[[str, int], str] | None = None
    target: np.ndarray = field(init=False)
    paths: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        target = np.repeat(np.arange(len(self.classes)), self.support)
        named = self.rename or (lambda c, i: f"{c}/{self.name}_{i:05d}.jpg")
        paths = [named(self.classes[c], i) for i, c in enumerate(target)]
        order = np.argsort(np.array(paths, dtype=object))
        object.__setattr__(self, "target", target[order])
        object.__setattr__(self, "paths", tuple(paths[i] for i in order))

    def predict(self, rng: np.random.Generator, error_rate: float) -> Predictions:
        n, c = len(self.paths), len(self.classes)
        logits = rng.normal(size=(n, c))
        logits[np.arange(n), self.target] += 9
        # Half of the errors fall on images that are hard for every network.
        hard = np.random.default_rng(n).random(n) < error_rate
        wrong = np.where(hard, rng.random(n) < 0.7, rng.random(n) < 0.5 * error_rate)
        other = (self.target + 1 + (np.arange(n) * 7) % (c - 1)) % c
        logits[np.flatnonzero(wrong), other[wrong]] += rng.uniform(8, 14, wrong.sum())
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        # As in the file: probabilities are stored as float32.
        probs = probs.astype(np.float32).astype(np.float64)
        return Predictions(self.classes, self.paths, self.target, probs, probs.argmax(axis=1))


def pbc_file(class_name: str, i: int) -> str:
    return f"{class_name}/{PREFIX[PBC.index(class_name)]}_{100000 + i}.jpg"


@dataclass
class Runs:
    """Writes run folders below one root; `sides` decides classes, sizes and the split's identity."""

    root: Path

    def add(
        self,
        arch: str,
        *,
        seed: int = 0,
        error_rate: float = 0.02,
        classes: tuple[str, ...] = PBC,
        test: Sequence[int] = PBC_TEST,
        rename: Callable[[str, int], str] | None = pbc_file,
        name: str | None = None,
        epochs: int = 6,
        history: bool = True,
        done: bool = True,
        predictions: dict[str, Predictions] | None = None,
        **card: Any,
    ) -> Path:
        identity = repr((classes, tuple(test), rename and rename.__name__, card.pop("split", "a")))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        rng = np.random.default_rng([seed, int(hashlib.sha256(arch.encode()).hexdigest()[:8], 16)])
        sides = predictions or {
            "val": Side(classes, [2 * n for n in test], "val", rename).predict(rng, error_rate),
            "test": Side(classes, test, "test", rename).predict(rng, error_rate),
        }
        folder = self.root / (name or f"{arch}-paper-s{seed}-{digest[:8]}")
        folder.mkdir(parents=True)
        write_predictions(folder / PREDICTIONS, sides)
        epochs = card.get("recipe", {}).get("epochs", epochs)
        if history:
            write_text(folder / HISTORY, format_history(_history(rng, epochs)))
        write_json(folder / CARD, run_card(arch, seed, digest, sides, epochs=epochs, name=folder.name) | card)
        if done:
            write_text(folder / DONE, "")
        return folder


def run_card(
    arch: str, seed: int, digest: str, sides: dict[str, Predictions], *, epochs: int, name: str
) -> dict[str, Any]:
    classes = sides["test"].classes
    tally = {s: dict(zip(classes, score(p).support.tolist(), strict=True)) for s, p in sides.items()}
    counts = {"train": {c: 3 * n for c, n in tally["val"].items()}, **tally}
    return {
        "schema": 1,
        "name": name,
        "status": "done",
        "arch": arch,
        "seed": seed,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "recipe": {"name": "paper", "epochs": epochs, "batch_size": 32, "lr": 0.001, "weights": "imagenet"},
        "data": {
            "root": "data/pbc",
            "digest": "1" * 64,
            "classes": list(classes),
            "counts": counts,
            "left_out": [],
        },
        "split": {"digest": digest, "policy": "paper", "seed": 0},
        "weights": {"source": "imagenet", "origin": "hub", "sha256": "2" * 64, "note": ""},
        "parameters": 11_180_616,
        "versions": {"python": "3.11.2", "torch": "2.11.0", "hemoscope": "0.1.0"},
        "machine": {"system": "Linux", "cores": 2, "memory_gib": 15.6, "device": "cpu", "precision": "bf16"},
        "timings": {"elapsed_s": 1312.4, "images_per_s": 73.9, "resumed": 0},
        "peak_memory_mib": 1893,
        "metrics": {s: score(p).to_json() for s, p in sides.items()},
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:25:57+00:00",
        "command": f"hemoscope train {arch} --data data/pbc --seed {seed} --set epochs={epochs}",
    }


def _history(rng: np.random.Generator, epochs: int) -> list[EpochRow]:
    rows = []
    for epoch in range(1, epochs + 1):
        fall = np.exp(-epoch / 3)
        train_loss, val_loss = 0.9 * fall + 0.04 * rng.random(), 0.6 * fall + 0.05 * rng.random()
        rows.append(
            EpochRow(
                epoch, 0.001, train_loss, 0.99 - 0.3 * fall, val_loss, 0.985 - 0.2 * fall, 70 + rng.random()
            )
        )
    return rows


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="session")
def make_runs() -> type[Runs]:
    return Runs
