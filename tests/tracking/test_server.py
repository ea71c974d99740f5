"""Runs told to a real server of MLflow, which is killed in the middle of a training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hemoscope.runs import find_runs
from tests.tracking.servers import free_port, mlflow
from tests.tracking.test_on_mlflow import CURVES, held

pytest.importorskip("mlflow", reason="the extra `track` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills groups of processes"),
]
EPOCHS = 5
# The command line, which waits in its third epoch, before that is told, until a file is there.
HELD = """
import sys, time
from pathlib import Path
from hemoscope.cli import main, training
from hemoscope.training.loop import Watcher

go = Path(sys.argv.pop(1))

class Held(Watcher):
    def on_epoch(self, row, epochs):
        while row.epoch == 3 and not go.exists():
            time.sleep(0.05)

training._watcher = lambda *_: Held()
main()
"""


def train(discs: Path, out: Path) -> list[str]:
    quick = ["--recipe", "demo", "--set", "image_px=32", "--set", "canvas_px=36", "--epochs", str(EPOCHS)]
    where = [
        "--data",
        str(discs),
        "--out",
        str(out),
        "--device",
        "cpu",
        *quick,
        "--track",
        "mlflow",
        "--json",
    ]
    return ["train", "resnet18", *where]


def held_training(discs: Path, out: Path, go: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HELD, str(go), *train(discs, out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hemoscope(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hemoscope", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def server_words(tmp_path: Path) -> list[object]:
    store = ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    return ["server", *store, "--artifacts-destination", tmp_path / "artifacts"]


def epochs_told(client) -> int:
    there = client.get_experiment_by_name("hemoscope")
    found = client.search_runs([there.experiment_id]) if there else []
    return len(client.get_metric_history(found[0].info.run_id, "val_loss")) if found else 0


def test_a_server_that_is_killed_costs_a_run_nothing_and_the_verb_mends_it(
    discs: Path, tmp_path: Path, server_words: list[object], monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    port, out, log = free_port(), tmp_path / "runs", tmp_path / "server.log"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    go = tmp_path / "go"
    with (
        mlflow(*server_words, log=log, port=port) as server,
        held_training(discs, out, go) as training,
    ):
        while epochs_told(MlflowClient()) < 2:
            assert training.poll() is None, training.communicate()
            time.sleep(0.05)
        server.kill()
        go.touch()
        printed, said = training.communicate()
    assert training.returncode == 0, said
    assert '"accuracy"' in printed
    assert said.count("is not tracked any more") == 1
    (run,) = find_runs(out)
    assert len(run.history) == EPOCHS

    with mlflow(*server_words, log=log, port=port):
        (there,) = held(MlflowClient)
        assert there["status"] == "RUNNING"
        assert len(there["curves"]["val_loss"]) == 2
        mended = hemoscope("track", out, "--to", "mlflow", "--json")
        assert mended.returncode == 0, mended.stderr
        (whole,) = held(MlflowClient)
        assert whole["id"] == there["id"]
        assert whole["status"] == "FINISHED"
        for name in CURVES:
            assert whole["curves"][name] == [(row.epoch, getattr(row, name)) for row in run.history]
        assert set(whole["files"]) == {"run.json", "history.csv", "predictions.parquet"}
        again = hemoscope("track", out, "--to", "mlflow")
        assert again.returncode == 0, again.stderr
        assert "nothing new" in again.stdout
        assert held(MlflowClient) == [whole]


def test_a_run_that_is_killed_goes_on_as_the_same_run_there(
    discs: Path, tmp_path: Path, server_words: list[object], monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    with mlflow(*server_words, log=tmp_path / "server.log") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        client = MlflowClient()
        out = tmp_path / "runs"
        with held_training(discs, out, tmp_path / "never") as training:
            while epochs_told(client) < 2:
                assert training.poll() is None, training.communicate()
                time.sleep(0.05)
            training.kill()
        (there,) = held(MlflowClient)
        assert there["status"] == "RUNNING"
        done = hemoscope(*train(discs, out))
        assert done.returncode == 0, done.stderr
        assert "not tracked" not in done.stderr
        (whole,) = held(MlflowClient)
        assert (whole["id"], whole["status"]) == (there["id"], "FINISHED")
        (run,) = find_runs(out)
        assert run.card["timings"]["resumed"] == 1
        for name in CURVES:
            assert [step for step, _ in whole["curves"][name]] == list(range(1, EPOCHS + 1))
