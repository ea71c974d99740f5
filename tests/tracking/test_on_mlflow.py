"""What MLflow holds of a run, in a database of its own; what an unreachable server costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemoscope.errors import MissingPackageError, TrackingError
from hemoscope.runs import Run
from hemoscope.tracking.on_mlflow import OnMlflow
from hemoscope.tracking.record import record_of
from tests.tracking.conftest import EPOCHS, Training
from tests.tracking.servers import free_port

pytest.importorskip("mlflow", reason="the extra `track` is not installed")

Store = Callable[[], Any]
CURVES = {"lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_s"}


def held(store: Store, experiment: str = "hemoscope") -> list[dict[str, Any]]:
    """Return everything that MLflow holds of every run, doubled figures twice."""
    client = store()
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return [
        {
            "name": run.info.run_name,
            "id": run.info.run_id,
            "status": run.info.status,
            "began": run.info.start_time,
            "ended": run.info.end_time,
            "params": dict(run.data.params),
            "tags": dict(run.data.tags),
            "curves": {
                name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
                for name in run.data.metrics
            },
            "files": {item.path: item.file_size for item in client.list_artifacts(run.info.run_id)},
        }
        for run in found
    ]


def bring(run: Run, *, weights: bool = False):
    return OnMlflow().bring(record_of(run), weights=weights)


def test_a_finished_run_is_there_with_all_that_is_told(training: Training, store: Store):
    run = training.at(EPOCHS, done=True)
    record = record_of(run)
    brought = bring(run)
    assert brought.new
    assert brought.points == len(record.points)
    assert set(brought.files) == {"run.json", "history.csv", "predictions.parquet"}
    (there,) = held(store)
    assert there["name"] == run.name
    assert there["status"] == "FINISHED"
    assert there["began"] == 1_767_323_045_000  # 2026-01-02T03:04:05 UTC
    assert there["ended"] - there["began"] == 1000 * (21 * 60 + 52)
    assert there["params"] == {key: str(value) for key, value in record.settings.items()}
    assert record.facts.items() <= there["tags"].items()
    for name in {p.name for p in record.points}:
        points = [(p.epoch, p.value) for p in record.points if p.name == name]
        assert there["curves"].pop(name) == points
    assert not there["curves"]
    assert there["files"] == {name: path.stat().st_size for name, path in record.files.items()}


def test_telling_twice_changes_nothing_and_the_weights_are_told_when_asked_for(
    training: Training, store: Store
):
    run = training.at(EPOCHS, done=True)
    bring(run)
    before = held(store)
    again = bring(run)
    assert (again.new, again.points, again.files) == (False, 0, ())
    assert held(store) == before
    assert bring(run, weights=True).files == ("model.safetensors",)
    (there,) = held(store)
    assert there.pop("files") == {**before[0].pop("files"), "model.safetensors": len(b"weights")}
    assert there == before[0]
    assert bring(run, weights=True).files == ()


def test_epochs_that_are_trained_again_after_a_kill_are_told_once(training: Training, store: Store):
    for epochs, rate in ((1, 70.0), (3, 70.0), (2, 80.0), (4, 80.0)):
        bring(training.at(epochs, rate=rate))
        (there,) = held(store)
        assert there["status"] == "RUNNING"
    bring(training.at(EPOCHS, done=True, rate=90.0))
    (there,) = held(store)
    assert there["status"] == "FINISHED"
    assert {len(there["curves"][name]) for name in CURVES} == {EPOCHS}
    assert there["curves"]["images_per_s"] == [(1, 70.0), (2, 70.0), (3, 70.0), (4, 80.0), (5, 90.0)]


def test_a_run_that_failed_and_then_went_on_is_one_run(training: Training, store: Store):
    bring(training.at(2, failed="the disk is full"))
    (there,) = held(store)
    assert there["status"] == "FAILED"
    assert there["tags"]["hemoscope.reason"] == "the disk is full"
    bring(training.at(3))
    (there,) = held(store)
    assert there["status"] == "RUNNING"
    assert "hemoscope.reason" not in there["tags"]
    bring(training.at(1, began="01-03"))  # deleted and begun anew
    assert len(held(store)) == 2


def test_what_was_half_told_is_completed(training: Training, store: Store):
    record = record_of(training.at(EPOCHS, done=True))
    client, of = store(), OnMlflow()
    run = client.create_run(client.create_experiment("hemoscope"), tags=dict(record.identity))
    client.log_metric(run.info.run_id, "val_loss", record.points[3].value, step=1)
    client.log_param(run.info.run_id, "lr", "0.001")
    client.log_text(run.info.run_id, "half", "history.csv")
    brought = of.bring(record)
    assert (brought.new, brought.points) == (False, len(record.points) - 1)
    (there,) = held(store)
    assert there["files"] == {name: path.stat().st_size for name, path in record.files.items()}
    assert len(there["curves"]["val_loss"]) == EPOCHS


def test_where_two_processes_began_to_tell_of_one_run_the_first_is_taken(training: Training, store: Store):
    record = record_of(training.at(2))
    client = store()
    experiment = client.create_experiment("hemoscope")
    both = sorted(client.create_run(experiment, tags=dict(record.identity)).info.run_id for _ in range(2))
    OnMlflow().bring(record)
    told = [run for run in held(store) if run["curves"]]
    assert [run["id"] for run in told] == both[:1]


def test_runs_go_where_mlflow_s_own_variables_say(
    training: Training, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "blood")
    bring(training.at(1))
    assert len(held(store, "blood")) == 1
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    bring(training.at(1))
    assert len(held(store, "Default")) == 1


def test_a_server_that_is_not_there_is_an_error_without_its_password(
    training: Training, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    who = "me:secret"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{who}@127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:\d+ failed: ") as caught:
        bring(training.at(1))
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hemoscope\[track\]'"):
        OnMlflow()


def test_nobody_is_told_that_mlflow_is_used(tmp_path: Path):
    import os
    import subprocess
    import sys

    probe = (
        "from hemoscope.tracking.on_mlflow import import_mlflow\n"
        "import_mlflow()\n"
        "try: from mlflow.telemetry.client import get_telemetry_client\n"
        "except ModuleNotFoundError: print(None)  # an MLflow from before there was any\n"
        "else: print(get_telemetry_client())"
    )
    hidden = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["None"], done.stderr
