"""A run that is killed anywhere and started again ends with the bytes of a run that never was."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from hemoscope.runs import EpochRow, Run
from hemoscope.training.checkpoint import FILE
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, run_job

SEEDS = 3
# Batch normalisation, dropout, momentum, a rate a step, an average, small images first, a chosen epoch: everything
# that carries state.
RECIPE = Recipe(
    weights="none",
    epochs=5,
    batch_size=16,
    schedule="warm_cosine",
    ema=0.9,
    image_px=36,
    small_px=32,
    small_epochs=2,
    precision="fp32",
    select_epoch="best_val",
)


class Moments(Watcher):
    """Counts, by epochs done, the moments a process may die at: a step ends, a file is about to change."""

    def __init__(self, out: Path, seed: int, kill_at: tuple[int, int] | None) -> None:
        self.out, self.epochs = out, _epochs(out, seed)
        self.seen: Counter[int] = Counter()
        self.epoch, self.left = kill_at or (RECIPE.epochs + 1, 0)
        sys.addaudithook(self.hear)

    def hear(self, _event: str, args: tuple[object, ...]) -> None:
        if args and str(args[0]).startswith(str(self.out)):  # opened, renamed, removed
            self.moment()

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        self.moment()

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        self.epochs = row.epoch

    def moment(self) -> None:
        self.seen[self.epochs] += 1
        if self.epochs >= self.epoch:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _work(prepared: Prepared, out: Path, seed: int, kill_at: tuple[int, int] | None = None) -> None:
    moments = Moments(out, seed, kill_at)
    run_job("mobilenet_v2", RECIPE, prepared, seed=seed, out=out, device_name="cpu", watcher=moments)
    seen = [moments.seen[epochs] for epochs in range(RECIPE.epochs + 1)]
    (out.parent / f"{out.name}-{seed}.json").write_text(json.dumps(seen))


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


def _epochs(out: Path, seed: int) -> int:
    cards = list(out.glob(f"*-s{seed}-*/run.json"))
    return len(Run.open(cards[0].parent).history) if cards else 0


def _half_written(out: Path) -> bool:
    for part in out.glob(f"*/.{FILE}.*.part"):
        try:
            if part.stat().st_size:
                return True
        except FileNotFoundError:  # it has just become whole
            continue
    return False


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_a_few_dozen_times_at_random_moments_it_ends_bit_identical(prepared: Prepared, tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hemoscope.training.loop", "hemoscope.training.card"])
    rng = np.random.default_rng(0)
    out = tmp_path / "killed"
    in_epochs: set[int] = set()
    for seed in range(SEEDS):
        undisturbed = context.Process(target=_work, args=(prepared, tmp_path / "whole", seed))
        undisturbed.start()
        undisturbed.join()
        assert undisturbed.exitcode == 0
        moments = json.loads((tmp_path / f"whole-{seed}.json").read_text())
        assert min(moments) > 3, moments
        for epoch, n in enumerate(moments):  # of the last stage, the answers are written
            # One kills itself at a moment of the epoch; one is killed from outside while it writes.
            itself = context.Process(
                target=_work, args=(prepared, out, seed, (epoch, int(rng.integers(1, n))))
            )
            itself.start()
            itself.join()
            assert itself.exitcode == -signal.SIGKILL, (seed, epoch)
            in_epochs.add(_epochs(out, seed))
            latest = (RECIPE.epochs, n) if epoch == RECIPE.epochs else (epoch + 1, 1)
            other = context.Process(target=_work, args=(prepared, out, seed, latest))
            other.start()
            while other.is_alive() and not _half_written(out):
                time.sleep(0.001)
            other.kill()
            other.join()
        last = context.Process(target=_work, args=(prepared, out, seed))
        last.start()
        last.join()
        assert last.exitcode == 0
        (whole,) = (tmp_path / "whole").glob(f"*-s{seed}-*")
        (killed,) = out.glob(f"*-s{seed}-*")
        assert whole.name == killed.name
        assert _contents(Run.open(killed)) == _contents(Run.open(whole)), f"seed {seed}"
        assert not (killed / FILE).exists()
        assert not list(killed.glob(".*.part"))
    assert len(in_epochs) >= 3, f"kills fell only into {in_epochs}: the test would prove little"
