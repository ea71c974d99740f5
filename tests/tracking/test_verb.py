"""`--track` and `hemoscope track` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hemoscope.cli.app import app
from hemoscope.runs import CARD, HISTORY, MODEL, find_runs
from tests.tracking.conftest import EPOCHS, Training, make
from tests.tracking.servers import free_port
from tests.tracking.test_on_mlflow import Store, held
from tests.tracking.test_on_tensorboard import shown

QUICK = [
    "--device",
    "cpu",
    "--recipe",
    "demo",
    "--epochs",
    "2",
    "--set",
    "image_px=32",
    "--set",
    "canvas_px=36",
]


def hemoscope(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words: object) -> Any:
    done = hemoscope(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_run_is_followed_one_tracker_is_gone_and_the_verb_mends_it(
    discs: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "runs"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    good = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    words = ("train", "resnet18", "--data", discs, "--out", out, *QUICK)
    trained = hemoscope(*words, "--track", "mlflow", "--track", "tensorboard", "--json")
    assert trained.exit_code == 0, trained.output
    json.loads(trained.stdout)
    (line,) = [line for line in trained.stderr.splitlines() if line.startswith("warning: resnet18")]
    assert "Training goes on; afterwards: hemoscope track" in line
    (run,) = find_runs(out)
    curves = shown(out / "tensorboard" / run.name)
    assert [step for step, _ in curves["val_loss"]] == [1, 2]
    assert curves["test/accuracy"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", good)
    mended = told("track", out, "--to", "mlflow")
    assert (mended["to"], mended["where"]) == ("mlflow", good)
    (row,) = mended["runs"]
    assert row["new"]
    assert row["figures"] > 2 * 6
    before = held(store)
    assert [step for step, _ in before[0]["curves"]["val_loss"]] == [1, 2]
    (row,) = told("track", run.path, "--to", "mlflow")["runs"]
    assert (row["new"], row["figures"], row["files"]) == (False, 0, [])
    assert hemoscope(*words, "--track", "mlflow").exit_code == 0  # it is done, and it is told
    assert held(store) == before
    (row,) = told("track", run.path, "--to", "tensorboard")["runs"]  # beside the run, where it was followed
    assert (row["new"], row["figures"]) == (False, 0)


@pytest.mark.slow
def test_runs_side_by_side_are_followed_and_those_that_fail_are_told_with_their_reason(
    discs: Path, store: Store, tmp_path: Path
):
    out = tmp_path / "runs"
    words = ("benchmark", "--data", discs, "--out", out, "--seeds", "0,1", "--jobs", 2, *QUICK)
    told = ("--track", "mlflow", "--track", "tensorboard")
    done = hemoscope(*words, "--arch", "resnet18", *told)
    assert done.exit_code == 0, done.stderr
    failing = hemoscope(*words, "--arch", "mobilenet_v2", "--set", "lr=1e20", *told)
    assert failing.exit_code == 1
    assert not any("not tracked" in each.stderr for each in (done, failing))
    runs = find_runs(out)
    assert {run.arch for run in runs} == {"resnet18"}
    there = {run["name"]: run for run in held(store)}
    failed = set(there) - {run.name for run in runs}
    assert {there[run.name]["status"] for run in runs} == {"FINISHED"}
    assert [there[name]["status"] for name in failed] == ["FAILED", "FAILED"]
    assert all("diverged" in there[name]["tags"]["hemoscope.reason"] for name in failed)
    assert {path.name for path in (out / "tensorboard").iterdir()} == set(there)
    for run in runs:
        curves = shown(out / "tensorboard" / run.name)
        assert [step for step, _ in curves["train_loss"]] == [1, 2]
        assert [step for step, _ in curves["test/accuracy"]] == [2]


def test_damaged_runs_are_left_out_and_the_others_told(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    for seed in range(3):
        make(tmp_path, seed=seed).at(EPOCHS, done=True)
    first, second, _ = sorted((tmp_path / "runs").iterdir())
    (first / CARD).write_text("{")
    (second / HISTORY).write_text("epoch\n")
    done = hemoscope("track", tmp_path / "runs", "--to", "tensorboard")
    assert done.exit_code == 1
    assert "1 runs are in tensorboard" in done.stderr
    assert done.stderr.count("left out: ") == 2
    assert done.stdout.count("new, ") == 1


def test_a_run_without_its_weights_is_left_out_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        make(tmp_path, seed=seed).at(EPOCHS, done=True)
    first, _ = sorted((tmp_path / "runs").iterdir())
    (first / MODEL).unlink()
    done = hemoscope("track", tmp_path / "runs", "--to", "mlflow", "--weights")
    assert done.exit_code == 1, done.stderr
    assert f"left out: {first.name}: expected {MODEL} in" in done.stderr
    assert done.stdout.count("new, ") == 1


def test_a_failing_server_is_exit_1(training: Training, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    training.at(1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    done = hemoscope("track", training.folder, "--to", "mlflow")
    assert done.exit_code == 1
    assert "failed" in str(done.exception)


def test_weights_are_for_who_keeps_files(training: Training):
    training.at(1)
    done = hemoscope("track", training.folder, "--to", "tensorboard", "--weights")
    assert done.exit_code == 2
    assert "needs --to mlflow" in " ".join(done.output.split())
