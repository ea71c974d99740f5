"""A run that is killed anywhere and started again ends with the bytes of a run that never was."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from hemoscope.runs import Run
from hemoscope.training.checkpoint import FILE
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, run_job

SEEDS, KILLS = 3, 10  # runs, and kills of each
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


def _epochs(root: Path, seed: int) -> int:
    cards = list((root / "killed").glob(f"*-s{seed}-*/run.json"))
    return len(Run.open(cards[0].parent).history) if cards else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_a_few_dozen_times_at_random_moments_it_ends_bit_identical(prepared: Prepared, tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hemoscope.training.loop", "hemoscope.training.card"])
    rng = np.random.default_rng(0)
    in_epochs: set[int] = set()
    for seed in range(SEEDS):
        began = time.perf_counter()
        undisturbed = context.Process(target=_work, args=(prepared, tmp_path / "whole", seed))
        undisturbed.start()
        undisturbed.join()
        assert undisturbed.exitcode == 0
        whole_s = time.perf_counter() - began
        for kill in range(KILLS):
            process = context.Process(target=_work, args=(prepared, tmp_path / "killed", seed))
            process.start()
            if kill % 2:  # soon after one more epoch, wherever that is; else at any time at all
                before = _epochs(tmp_path, seed)
                while process.is_alive() and _epochs(tmp_path, seed) == before:
                    time.sleep(0.005)
            process.join(timeout=float(rng.uniform(0.0, 0.05 if kill % 2 else 0.3) * whole_s))
            process.kill()  # SIGKILL, whatever it is doing
            process.join()
            in_epochs.add(_epochs(tmp_path, seed))
        last = context.Process(target=_work, args=(prepared, tmp_path / "killed", seed))
        last.start()
        last.join()
        assert last.exitcode == 0
        (whole,) = (tmp_path / "whole").glob(f"*-s{seed}-*")
        (killed,) = (tmp_path / "killed").glob(f"*-s{seed}-*")
        assert whole.name == killed.name
        assert _contents(Run.open(killed)) == _contents(Run.open(whole)), f"seed {seed}"
        assert not (killed / FILE).exists()
        assert not list(killed.glob(".*.part"))
    assert len(in_epochs) >= 3, f"kills fell only into {in_epochs}: the test would prove little"
