"""A run folder at any moment of its training, as training writes it; and MLflow's store in a folder of the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hemoscope.files import write_json, write_text
from hemoscope.runs import CARD, DONE, HISTORY, MODEL, PREDICTIONS, Run, format_history
from tests.report.conftest import Runs

CLASSES = ("band", "blast (atypical)", "lymphocyte")
EPOCHS = 5


class Training:
    """One run, whose folder is brought to any state."""

    def __init__(self, folder: Path, whole: Path) -> None:
        self.folder, self._whole = folder, whole
        self._rows = Run.open(whole).history
        self._card = json.loads((whole / CARD).read_text("utf-8"))

    def at(
        self, epochs: int, *, done: bool = False, failed: str = "", rate: float = 70.0, began: str = "01-02"
    ) -> Run:
        """Write the folder as it is after so many epochs; `rate` is that of those done now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / DONE).unlink(missing_ok=True)
        rows = [replace(row, images_per_s=rate) for row in self._rows[:epochs]]
        write_text(self.folder / HISTORY, format_history(rows))
        card = {**self._card, "status": "running", "started_at": f"2026-{began}T03:04:05+00:00"}
        del card["finished_at"], card["metrics"]
        if failed:
            card |= {"status": "failed", "reason": failed}
        if done:
            card |= {"status": "done", "finished_at": self._card["finished_at"]}
            shutil.copy(self._whole / PREDICTIONS, self.folder)
            (self.folder / MODEL).write_bytes(b"weights")
        write_json(self.folder / CARD, card)
        if done:
            write_text(self.folder / DONE, "")
        return Run.open(self.folder)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """A run of five epochs on three classes, one of whose names not every tracker takes."""
    return make(tmp_path)


def make(folder: Path, *, seed: int = 0) -> Training:
    whole = Runs(folder / "whole").add(
        "resnet18",
        seed=seed,
        epochs=EPOCHS,
        classes=CLASSES,
        test=(5, 4, 6),
        rename=None,
        digest=f"{seed}" * 64,
        recipe={
            "name": "paper",
            "epochs": EPOCHS,
            "batch_size": 32,
            "lr": 0.001,
            "hflip": True,
            "weights": "none",
            "image_px": None,
        },
    )
    return Training(folder / "runs" / whole.name, whole)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """MLflow's store in a database of the test's own; called, it gives a client to look into it."""
    monkeypatch.chdir(tmp_path)  # files go into mlruns of the working folder, as MLflow does it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)

    def client() -> object:
        from mlflow import MlflowClient

        return MlflowClient()

    return client
