"""Kill workers and nodes of a Ray cluster at random while it does sweeps, and count what was lost or done twice.

    uv run python benchmarks/faults.py --kills 50 --out docs/results/2026-11-faults/kills

The cluster is real processes of this machine: a head where the driver is, and nodes of a core each. Every sweep is
compared, byte for byte, with the same runs done without Ray and without a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from measure import machine

from hemoscope.cluster import connect
from hemoscope.data.synthetic import write_dataset
from hemoscope.runs import EpochRow
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.on_ray import sweep_on_ray
from hemoscope.sweep.plan import PlannedRun, plan
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

RECIPE = Recipe(weights="none", epochs=6, batch_size=16, image_px=32, precision="fp32")
SAME = ("predictions.parquet", "model.safetensors")
STORE_BYTES = 80 * 2**20


def workers() -> list[int]:
    """Return the processes that are at a run now."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "ray::_on_worker" in line]


class Killer(threading.Thread):
    """Kills a worker, or a whole node that is replaced by a new one, at random moments."""

    def __init__(self, cluster: Any, most: int, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.cluster, self.most, self.rng = cluster, most, rng
        self.killed = {"worker": 0, "node": 0}
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set() and sum(self.killed.values()) < self.most:
            if self.stop.wait(self.rng.uniform(1, 8)):
                return
            if self.rng.random() < 0.3:
                self.cluster.remove_node(
                    self.rng.choice(list(self.cluster.worker_nodes)), allow_graceful=False
                )
                self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
                self.killed["node"] += 1
            elif pids := workers():
                os.kill(self.rng.choice(pids), signal.SIGKILL)
                self.killed["worker"] += 1


def main() -> None:
    """Sweep and kill until enough was killed; print and keep what happened."""
    from ray.cluster_utils import Cluster

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES}
    )
    for _ in range(options.nodes):
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    connect(cluster.address)
    killer = Killer(cluster, options.kills, random.Random(options.seed))
    counts = {"runs": 0, "lost": 0, "done twice": 0, "other bytes": 0, "begun again": 0}
    start, sweeps = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root / "cells", per_class=16, size_px=40, seed=0, jobs=1)
        prepared = prepare(root / "cells")
        killer.start()
        while sum(killer.killed.values()) < options.kills:
            planned = plan(["squeezenet1_1", "resnet18"], [2 * sweeps, 2 * sweeps + 1])
            one_sweep(planned, prepared, root, counts)
            sweeps += 1
            print(sweeps, killer.killed, counts, f"{time.monotonic() - start:.0f} s", flush=True)
        killer.stop.set()
    result = {
        "machine": machine(),
        "seed": options.seed,
        "killed": killer.killed,
        "sweeps": sweeps,
        **counts,
        "seconds": round(time.monotonic() - start),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def one_sweep(planned: tuple[PlannedRun, ...], prepared: Any, root: Path, counts: dict[str, int]) -> None:
    """Do one sweep on the cluster, the same one alone, and compare."""
    last: list[PlannedRun] = []

    def watch(item: PlannedRun) -> Watcher:
        class Hearer(Watcher):
            def on_epoch(self, row: EpochRow, epochs: int) -> None:
                if row.epoch == epochs:
                    last.append(item)

        return Hearer()

    def begun(_: PlannedRun, where: str, times: int) -> None:
        del where
        counts["begun again"] += times > 1

    outcomes = sweep_on_ray(
        planned,
        RECIPE,
        prepared,
        out=root / "ray",
        cpus=1,
        gpus=0,
        device_name="cpu",
        watch=watch,
        on_start=begun,
    )
    run_sweep(planned, RECIPE, prepared, out=root / "alone", device_name="cpu")
    counts["runs"] += len(planned)
    counts["done twice"] += len(last) - len(set(last))
    for outcome in outcomes:
        if outcome.run is None:
            counts["lost"] += 1
            print(outcome.planned, outcome.reason, flush=True)
            continue
        counts["other bytes"] += any(
            outcome.run.verified(name).read_bytes() != (root / "alone" / outcome.run.name / name).read_bytes()
            for name in SAME
        )


if __name__ == "__main__":
    main()
