"""Jobs that SLURM stops go on from their checkpoint; tried with submitit's own executor on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from hemoscope.errors import ConfigError
from hemoscope.runs import HISTORY
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.on_slurm import FRUITLESS, _Unit, sweep_on_slurm
from hemoscope.sweep.plan import PlannedRun, plan
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

SAME = ("predictions.parquet", "model.safetensors")
HERE = {"cluster": "local", "timeout_min": 600}


def _recipe(epochs: int) -> Recipe:
    return Recipe(weights="none", epochs=epochs, batch_size=16, image_px=32, precision="fp32")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_job_that_is_preempted_is_queued_again_and_ends_as_if_it_never_was(discs: Path, tmp_path: Path):
    prepared, planned, recipe = prepare(discs), plan(["squeezenet1_1"], [0]), _recipe(6)
    (whole,) = run_sweep(planned, recipe, prepared, out=tmp_path / "local", device_name="cpu")
    assert whole.run is not None
    history = tmp_path / "slurm" / whole.run.name / HISTORY
    jobs: list[str] = []
    signalled: list[int] = []

    def preempt() -> None:
        """Do what SLURM does before it takes a node away: send the job the signal that it asked for."""
        for lines in (2, 4):  # of a file with a head
            while not (history.is_file() and len(history.read_text().splitlines()) >= lines):
                time.sleep(0.01)
            for pid in _tasks():
                os.kill(pid, signal.SIGUSR2)
                signalled.append(pid)
            while set(_tasks()) & set(signalled):
                time.sleep(0.01)

    thread = threading.Thread(target=preempt, daemon=True)
    thread.start()
    (outcome,) = sweep_on_slurm(
        planned,
        recipe,
        prepared,
        out=tmp_path / "slurm",
        folder=tmp_path / "jobs",
        parameters=HERE,
        device_name="cpu",
        on_start=lambda _, job: jobs.append(job),
    )
    assert outcome.run is not None, outcome.reason
    assert len(jobs) == 1
    assert signalled
    assert "Requeued job" in "".join(p.read_text() for p in (tmp_path / "jobs").rglob("*.err")) + "".join(
        p.read_text() for p in (tmp_path / "jobs").rglob("*.out")
    )
    for name in SAME:
        assert outcome.run.verified(name).read_bytes() == (whole.run.path / name).read_bytes()
    assert outcome.run.card["timings"]["resumed"] >= 1


def _tasks() -> list[int]:
    """The processes of submitit's jobs."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"submitit.core._submit" in words:
            found.append(int(process.name))
    return found


@pytest.mark.slow
def test_a_job_that_fails_is_told_with_its_reason_and_the_others_go_on(discs: Path, tmp_path: Path):
    outcomes = sweep_on_slurm(
        plan(["alexnet", "squeezenet1_1"], [0]),  # AlexNet cannot take 32 px
        _recipe(1),
        prepare(discs),
        out=tmp_path / "runs",
        folder=tmp_path / "jobs",
        parameters=HERE,
        device_name="cpu",
    )
    assert "too small" in outcomes[0].reason
    assert outcomes[1].run is not None, outcomes[1].reason


def test_a_job_that_is_stopped_again_and_again_before_an_epoch_ends_is_given_up():
    unit, item = _Unit(lambda *_, **__: None), PlannedRun("resnet18", 0)  # type: ignore[arg-type]
    for _ in range(FRUITLESS - 1):
        again = unit.checkpoint(item)
        assert again is not None
        unit = again.function
    assert unit.checkpoint(item) is None
    unit.ended_epoch()
    assert unit.checkpoint(item) is not None


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"cluster": "slurm"}, "expected a machine that submits to SLURM"),
        ({"cluster": "local", "gpu": 1}, "gpu"),
    ],
)
def test_what_submitit_does_not_take_is_told(parameters: dict[str, object], words: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=words):
        sweep_on_slurm(
            (),
            Recipe(),
            None,
            out=tmp_path,
            folder=tmp_path,
            parameters=parameters,  # type: ignore[arg-type]
        )
