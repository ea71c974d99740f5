"""A run that is killed anywhere and started again ends with the bytes of a run that never was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from hemoscope.runs import DONE, Run
from hemoscope.training.checkpoint import FILE
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, run_job

KILLS = 30
# Batch normalisation, dropout, momentum, a decay and a chosen epoch: everything that carries state.
RECIPE = Recipe(
    weights="none", epochs=5, batch_size=16, lr_step=3, image_px=32, precision="fp32", select_epoch="best_val"
)


def _work(prepared: Prepared, out: Path, seed: int) -> None:
    run_job("mobilenet_v2", RECIPE, prepared, seed=seed, out=out, device_name="cpu")


def _contents(run: Run) -> dict[str, object]:
    tensors = load_file(run.path / "model.safetensors")
    history = [
        (r.epoch, r.lr, r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy) for r in run.history
    ]
    return {
        "weights": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "val": run.predictions("val").probs.tobytes(),
        "test": run.predictions("test").probs.tobytes(),
        "history": history,
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_a_few_dozen_times_at_random_moments_it_ends_bit_identical(prepared: Prepared, tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hemoscope.training.loop", "hemoscope.training.card"])
    rng = np.random.default_rng(0)
    kills = seed = 0
    in_epochs: set[int] = set()
    while kills < KILLS:
        began = time.perf_counter()
        undisturbed = context.Process(target=_work, args=(prepared, tmp_path / "whole", seed))
        undisturbed.start()
        undisturbed.join()
        assert undisturbed.exitcode == 0
        whole_s = time.perf_counter() - began
        while True:
            process = context.Process(target=_work, args=(prepared, tmp_path / "killed", seed))
            process.start()
            process.join(timeout=float(rng.uniform(0.02, 0.6) * whole_s))
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            folders = [p for p in (tmp_path / "killed").glob("*-s*") if not (p / DONE).exists()]
            in_epochs |= {len(Run.open(p).history) for p in folders if (p / "run.json").exists()}
        (whole,) = (tmp_path / "whole").glob(f"*-s{seed}-*")
        (killed,) = (tmp_path / "killed").glob(f"*-s{seed}-*")
        assert whole.name == killed.name
        assert _contents(Run.open(killed)) == _contents(Run.open(whole)), f"seed {seed} after {kills} kills"
        assert not (killed / FILE).exists()
        assert not list(killed.glob(".*.part"))
        seed += 1
    assert len(in_epochs) >= 3, f"kills fell only into {in_epochs}: the test would prove little"
