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


def kill(cluster: Any, most: int, rng: random.Random, killed: dict[str, int], ended: threading.Event) -> None:
    """Kill a worker, or a whole node that a new one replaces, at random moments; Ray adds nodes in the main thread only."""
    while sum(killed.values()) < most and not ended.wait(rng.uniform(1, 8)):
        if rng.random() < 0.3:
            cluster.remove_node(rng.choice(list(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            killed["node"] += 1
        elif pids := workers():
            os.kill(rng.choice(pids), signal.SIGKILL)
            killed["worker"] += 1


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
    killed = {"worker": 0, "node": 0}
    counts = {"runs": 0, "lost": 0, "done twice": 0, "other bytes": 0, "begun again": 0}
    start, sweeps, enough, ended = time.monotonic(), [], threading.Event(), threading.Event()

    def sweep_on() -> None:
        try:
            while not enough.is_set():
                one_sweep(
                    plan(["resnet18", "mobilenet_v2"], [2 * len(sweeps), 2 * len(sweeps) + 1]),
                    prepared,
                    root,
                    counts,
                )
                sweeps.append(time.monotonic() - start)
                print(len(sweeps), killed, counts, f"{sweeps[-1]:.0f} s", flush=True)
        finally:
            ended.set()

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root / "cells", per_class=16, size_px=40, seed=0, jobs=1)
        prepared = prepare(root / "cells")
        sweeping = threading.Thread(target=sweep_on)
        sweeping.start()
        kill(cluster, options.kills, random.Random(options.seed), killed, ended)
        enough.set()
        sweeping.join()
    result = {
        "machine": machine(),
        "seed": options.seed,
        "killed": killed,
        "sweeps": len(sweeps),
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
