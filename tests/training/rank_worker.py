"""A rank of test_ranks.py: does a plan's jobs one after the other, and ends where the plan says so.

Under torchrun it is one of several; started by itself it does the same alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.errors import DataError, HemoscopeError
from hemoscope.runs import EpochRow
from hemoscope.training.loop import Watcher
from hemoscope.training.ranks import ranks_here, tell_once
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job


def without_kinks() -> None:
    """Make torch's networks smooth: where rounding decides the side of a ReLU, a gradient jumps."""

    def softplus(x: Tensor, inplace: bool = False) -> Tensor:
        del inplace
        return functional.softplus(x)

    def mean(x: Tensor, kernel_size: int, stride: int, padding: int = 0, *_: object, **__: object) -> Tensor:
        return functional.avg_pool2d(x, kernel_size, stride, padding)

    nn.ReLU.forward = lambda _, x: softplus(x)  # type: ignore[method-assign]
    nn.ReLU6.forward = lambda _, x: softplus(x)  # type: ignore[method-assign]
    functional.relu = softplus  # type: ignore[assignment]
    functional.max_pool2d = mean  # type: ignore[assignment]


class End(Watcher):
    """Ends a rank at a moment of the run, in one of three ways."""

    def __init__(self, ends: Mapping[str, Any]) -> None:
        self.ends = ends if ends.get("rank", ranks_here().rank) == ranks_here().rank else {}

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (self.ends.get("epoch"), self.ends.get("step")):
            if self.ends["how"] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("the disk of this rank is gone")

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        if row.epoch == self.ends.get("after"):
            raise KeyboardInterrupt


def count_reads(data: str, told: Path) -> None:
    """Write down, from now on and as it grows, how many images this process opened."""
    reads = [0]

    def hear(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and str(args[0]).startswith(data) and str(args[0]).endswith(".png"):
            reads[0] += 1
            told.write_text(str(reads[0]))

    told.write_text("0")
    sys.addaudithook(hear)


def work(plan: Mapping[str, Any]) -> None:
    if plan["smooth"]:
        without_kinks()
    count_reads(plan["data"], Path(plan["out"]) / f"reads-{ranks_here().rank}")
    prepared = prepare(Path(plan["data"]))
    for job in plan["jobs"]:
        try:
            run_job(
                job["arch"],
                Recipe.model_validate(job["recipe"]),
                prepared,
                seed=job.get("seed", 0),
                out=Path(plan["out"]),
                device_name=plan["device"],
                watcher=End(job.get("ends", {})),
            )
        except KeyboardInterrupt:  # of all ranks at the same moment
            continue


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        work(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    except HemoscopeError as error:
        tell_once(f"hemoscope: {error}\n", sys.stderr.write)
        raise SystemExit(1) from None
