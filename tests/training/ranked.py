"""Starts real ranks for tests, by torchrun, and waits for their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WORKER = Path(__file__).with_name("rank_worker.py")


def command(*words: object, ranks: int) -> list[str]:
    """Return how Python runs these words, as several ranks where there are more than one."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return [sys.executable, *(launcher if ranks > 1 else []), *map(str, words)]


def surroundings() -> dict[str, str]:
    """Return the environment of a rank: one thread each, as torchrun has it by default."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def start(*words: object, ranks: int) -> subprocess.CompletedProcess[str]:
    """Run Python with these words to its end."""
    return subprocess.run(
        command(*words, ranks=ranks), capture_output=True, text=True, check=False, env=surroundings()
    )


def train(*words: object, ranks: int) -> subprocess.CompletedProcess[str]:
    """Run `hemoscope train` with these words."""
    module = ["-m", "hemoscope", "train", *words, "--device", "cpu"]
    return start(*module, ranks=ranks)


def work(
    folder: Path,
    data: Path,
    jobs: Sequence[Mapping[str, Any]],
    *,
    ranks: int,
    smooth: bool = True,
    device: str = "cpu",
) -> subprocess.CompletedProcess[str]:
    """Do jobs by the worker, into a folder of their own."""
    folder.mkdir(exist_ok=True)
    plan = {"data": str(data), "out": str(folder), "jobs": jobs, "smooth": smooth, "device": device}
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    return start(WORKER, folder / "plan.json", ranks=ranks)


def step(folder: Path, steps: Sequence[Mapping[str, Any]], *, ranks: int) -> dict[str, dict[str, float]]:
    """Do single steps by the worker; return how far each is from that of one process."""
    (folder / "plan.json").write_text(json.dumps({"out": str(folder), "steps": steps}), "utf-8")
    done = start(WORKER, folder / "plan.json", ranks=ranks)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "distances.json").read_text("utf-8"))


def noise(root: Path, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """Write images without a flat place, by side and class: where pixels are equal, rounding decides a maximum."""
    rng = np.random.default_rng(0)
    for side, classes in counts.items():
        for shade, (name, n) in enumerate(classes.items()):
            (root / side / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(40 * shade, 176 + 40 * shade, (48, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / side / name / f"{i:02d}.png")
    return root
