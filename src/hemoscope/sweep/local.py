"""Do the runs of a sweep on this machine, and go on past those that fail.

One after the other, or several side by side in processes of their own: a small network does not fill
a large GPU. A run knows nothing of the others, so it gives the same numbers either way, but for the rounding
that another number of threads brings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from hemoscope.errors import ConfigError, HemoscopeError
from hemoscope.progress import Progress
from hemoscope.runs import Run
from hemoscope.sweep.children import do_together
from hemoscope.sweep.one import Outcome, train_one
from hemoscope.sweep.plan import PlannedRun
from hemoscope.sweep.storage import RunStore
from hemoscope.training.loop import Watcher
from hemoscope.training.ranks import ranks_here
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, done_run

__all__ = ["run_sweep", "side_by_side"]

MAX_SIDE_BY_SIDE = 8


def run_sweep(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    jobs: int = 1,
    device_name: str = "auto",
    watch: Callable[[PlannedRun], Watcher] = lambda _: Watcher(),
    progress: Progress | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    on_death: Callable[[PlannedRun, str], None] = lambda *_: None,
    command: str = "",
) -> list[Outcome]:
    """Do every planned run; a failed one is listed with its reason and the next one starts.

    Args:
        planned: The runs.
        recipe: Of all of them.
        prepared: Their data.
        out: Folder of run folders, or where they are kept behind a URL.
        jobs: Runs at once; more than 1 gives each a process of its own and a share of the cores.
        device_name: Where to compute; `auto` and `cuda` deal runs at once out to all GPUs.
        watch: Gives the watcher of a run; side by side it hears of epochs only.
        progress: Called while the canvas is built, by runs that are done one after the other.
        on_outcome: Called as each run ends.
        on_death: Called with a run and a reason where its process died and it is tried again, once.
        command: What the run cards say.

    Returns:
        The outcomes, in the order of the plan.

    Raises:
        ConfigError: If `jobs` is less than 1, or under torchrun.
    """
    if ranks_here().several:
        raise ConfigError(
            "expected a sweep without torchrun: by itself it does a run on every GPU of this machine; torchrun is for "
            "hemoscope train, one run on several"
        )
    if jobs < 1:
        raise ConfigError(f"expected at least 1 run at once, got {jobs}")
    one = partial(train_one, recipe=recipe, prepared=prepared, out=out, command=command)
    outcomes: dict[PlannedRun, Outcome] = {}

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.planned] = outcome
        on_outcome(outcome)

    if jobs == 1:
        for item in planned:
            ended(one(item, device_name=device_name, watcher=watch(item), progress=progress))
    else:

        def died(item: PlannedRun, reason: str, again: bool) -> None:
            if again:
                on_death(item, reason)
            else:
                ended(Outcome(item, None, reason, fresh=True, elapsed_s=0.0))

        to_do: list[PlannedRun] = []
        for item in planned:  # a new process takes seconds to find that out
            if run := _done(item, recipe, prepared, out, device_name):
                ended(Outcome(item, run, "", fresh=False, elapsed_s=0.0))
            else:
                to_do.append(item)
        at_once = max(1, min(jobs, len(to_do)))
        names = list(islice(cycle(_device_names(device_name)), at_once))
        do_together(to_do, one, device_names=names, watch=watch, ended=ended, died=died)
    return [outcomes[item] for item in planned]


def _done(
    item: PlannedRun, recipe: Recipe, prepared: Prepared, out: Path | RunStore, device_name: str
) -> Run | None:
    if isinstance(out, RunStore):
        return None
    try:
        own = prepared.in_fold(item.fold)
        return done_run(item.arch, recipe, own, seed=item.seed, out=out, device_name=device_name)
    except (HemoscopeError, OSError):  # whoever tries to do it will hear the same
        return None


def side_by_side(run_bytes: int, device_name: str = "auto") -> int:
    """Return how many runs gain from being side by side: one a GPU, with MPS as many as its memory holds.

    On a CPU one run of the paper's size takes all cores. A GPU works for one process at a time, in turns,
    unless NVIDIA's Multi-Process Service stands between.
    """
    import torch

    gpus = [name for name in _device_names(device_name) if name.startswith("cuda")]
    if not _mps_is_up():
        return max(1, len(gpus))
    free = [torch.cuda.mem_get_info(name)[0] for name in gpus]
    held = [max(1, min(MAX_SIDE_BY_SIDE, n // run_bytes)) for n in free]
    return max(1, sum(held))


def _device_names(name: str) -> list[str]:
    """Return the devices that a name stands for: every GPU unless it names one."""
    from hemoscope.training.device import choose_device

    device = choose_device(name)
    if device.type != "cuda" or device.index is not None:
        return [name]
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _mps_is_up() -> bool:
    # Where its daemon listens, by NVIDIA's documentation of MPS.
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()  # noqa: S108
