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
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.errors import DataError, HemoscopeError
from hemoscope.models.build import build
from hemoscope.runs import EpochRow
from hemoscope.training.device import Device
from hemoscope.training.looks import Looks
from hemoscope.training.loop import Watcher
from hemoscope.training.norms import keep_statistics
from hemoscope.training.objective import Objective
from hemoscope.training.ranks import ranks_here, tell_once
from hemoscope.training.recipe import Recipe, load_recipe
from hemoscope.training.run import prepare, run_job
from hemoscope.training.step import train_step


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
    own = ("hemoscope.training.sharing", "hemoscope.training.whole", "torch.distributed.elastic")
    told = {"group": dist.is_initialized(), "modules": sorted(m for m in sys.modules if m.startswith(own))}
    (Path(plan["out"]) / "imported.json").write_text(json.dumps(told))


def distances(arch: str, *, image_px: int, n: int, **options: Any) -> dict[str, float]:
    """Return how far one step on n images, shared, is from the same step alone: loss, gradients, batch statistics."""
    from hemoscope.training.sharing import SharedBatch

    target = torch.arange(n) % 3
    weights = torch.tensor([0.5, 1.0, 2.0])
    device = Device(torch.device("cpu"), options.get("precision", "fp32"))
    draws = torch.Generator().manual_seed(1)
    dtype = torch.float64 if options.get("double") else torch.float32
    images = torch.randn(n, 3, image_px, image_px, generator=draws, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    lean = torch.tensor([0.5, -0.25, -0.25])
    given = {"class_weights": weights, "aux_weight": 0.4, "label_smoothing": 0.1, "lean": lean, "mixup": 0.4}
    found: list[dict[str, Tensor]] = []
    for batch in (None, SharedBatch(ranks_here())):
        model = build(arch, 3, seed=0, instance_norm=options.get("instance_norm", 0.0)).to(dtype)
        mine = torch.arange(n)
        learner, objective = model, Objective(**given)
        if batch:
            model = batch.adapt(model, device.torch_device)
            learner, objective = batch.learner(model, device.torch_device), batch.objective(**given)
            batch.take(target, mixed=True)
            mine = mine[batch.places]
        optimizer = torch.optim.SGD(model.train().parameters(), lr=0.0)
        if options.get("frozen"):
            keep_statistics(model)
        torch.manual_seed(2)
        seen = Looks(load_recipe("robust", jpeg=0.5), device.torch_device, batch)(images[mine].float()).to(
            dtype
        )
        loss, right = train_step(learner, optimizer, seen, target[mine], objective, device=device)
        told = torch.stack([loss.double(), right.double()])
        if batch:
            dist.all_reduce(told)
        grads = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
        buffers = {name: value for name, value in model.named_buffers() if value.is_floating_point()}
        found.append({"loss": told[0], "right": told[1], **grads, **buffers})
    alone, shared = found
    assert alone.keys() == shared.keys()
    largest = {
        kind: max(v.norm() for k, v in alone.items() if k.startswith(kind)) for kind in ("gradient", "loss")
    }
    return {
        k: float(
            (shared[k] - v).norm() / (largest["gradient"] if k.startswith("gradient") else v.norm() + 1e-9)
        )
        for k, v in alone.items()
    }


def step(plan: Mapping[str, Any]) -> None:
    """Write the distances of each asked step; the architectures have their kinks, which one step does not mind."""
    with ranks_here().together(torch.device("cpu")):
        told = {one["arch"]: distances(**one) for one in plan["steps"]}
        if ranks_here().main:
            (Path(plan["out"]) / "distances.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        step(plan) if "steps" in plan else work(plan)
    except HemoscopeError as error:
        tell_once(f"hemoscope: {error}\n", sys.stderr.write)
        raise SystemExit(1) from None
