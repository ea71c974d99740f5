"""Do the runs of a sweep on this machine, and go on past those that fail.

One after the other, or several side by side in processes of their own: a small network does not fill
a large GPU. A run gives the same numbers either way, because a run knows nothing of the others.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hemoscope.errors import ConfigError, HemoscopeError
from hemoscope.runs import EpochRow, Run
from hemoscope.sweep.plan import PlannedRun
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, Progress, run_job

__all__ = ["Outcome", "run_sweep", "side_by_side"]

# Device memory set aside for one run beside its canvas: the largest networks at batch 32. An estimate.
RUN_GIB = 12
MAX_SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one planned run ended.

    Attributes:
        planned: The run.
        run: Its folder, or None if it failed.
        reason: Why it failed, else empty.
        fresh: False if it had been done before.
        elapsed_s: Seconds it took now.
    """

    planned: PlannedRun
    run: Run | None
    reason: str
    fresh: bool
    elapsed_s: float


def run_sweep(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path,
    jobs: int = 1,
    device_name: str = "auto",
    watch: Callable[[PlannedRun], Watcher] = lambda _: Watcher(),
    progress: Progress | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    command: str = "",
) -> list[Outcome]:
    """Do every planned run; a failed one is listed with its reason and the next one starts.

    Args:
        planned: The runs.
        recipe: Of all of them.
        prepared: Their data.
        out: Folder of run folders.
        jobs: Runs at once; more than 1 gives each a process of its own.
        device_name: Where to compute.
        watch: Gives the watcher of a run; side by side it hears of epochs only.
        progress: Called while the canvas is built, by runs that are done one after the other.
        on_outcome: Called as each run ends.
        command: What the run cards say.

    Returns:
        The outcomes, in the order of the plan.

    Raises:
        ConfigError: If `jobs` is less than 1.
    """
    if jobs < 1:
        raise ConfigError(f"expected at least 1 run at once, got {jobs}")
    one = partial(_do, recipe=recipe, prepared=prepared, out=out, device_name=device_name, command=command)
    outcomes: dict[PlannedRun, Outcome] = {}

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.planned] = outcome
        on_outcome(outcome)

    if jobs == 1:
        for item in planned:
            ended(one(item, watcher=watch(item), progress=progress))
    else:
        _together(planned, one, jobs=jobs, watch=watch, ended=ended)
    return [outcomes[item] for item in planned]


def side_by_side(canvas_bytes: int, device_name: str = "auto") -> int:
    """Return how many runs gain from being side by side: by free memory on CUDA with MPS, else 1.

    On a CPU one run takes all cores; two would only fight for them. A GPU works for one process at a time,
    in turns, unless NVIDIA's Multi-Process Service stands between.
    """
    from hemoscope.training.device import choose_device

    device = choose_device(device_name)
    if device.type != "cuda" or not _mps_is_up():
        return 1
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MAX_SIDE_BY_SIDE, free // (canvas_bytes + RUN_GIB * 2**30)))


def _mps_is_up() -> bool:
    # Where its daemon listens, by NVIDIA's documentation of MPS.
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()  # noqa: S108


def _do(item: PlannedRun, *, watcher: Watcher, progress: Progress | None, **options: Any) -> Outcome:
    start = time.perf_counter()
    before = time.time()
    run, reason = None, ""
    try:
        run = run_job(
            item.arch,
            options.pop("recipe"),
            options.pop("prepared"),
            seed=item.seed,
            watcher=watcher,
            progress=progress,
            **options,
        )
    except (HemoscopeError, RuntimeError, MemoryError, OSError) as error:  # torch raises RuntimeError
        reason = str(error) or type(error).__name__
    fresh = run is None or run.finished_at >= before
    return Outcome(item, run, reason, fresh, time.perf_counter() - start)


def _together(
    planned: Sequence[PlannedRun],
    one: Callable[..., Outcome],
    *,
    jobs: int,
    watch: Callable[[PlannedRun], Watcher],
    ended: Callable[[Outcome], None],
) -> None:
    context = get_context("spawn")  # CUDA does not survive a fork
    # No queue: its lock dies with a killed process. A pipe takes so short a message whole or not at all.
    heard, news = context.Pipe(duplex=False)
    watchers = {item: watch(item) for item in planned}

    def listen() -> None:
        while message := heard.recv():
            item, row, epochs = message
            watchers[item].on_epoch(row, epochs)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_in_child, initargs=(news,)) as pool:
            futures = {pool.submit(_do_in_child, one, item): item for item in planned}
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    ended(future.result())
                else:  # the process was killed, and the pool with it
                    reason = f"its process ended: {error or type(error).__name__}"
                    ended(Outcome(futures[future], None, reason, fresh=True, elapsed_s=0.0))
    finally:
        news.send(None)
        listener.join()


class _Messenger(Watcher):
    """Tells the parent process of every epoch."""

    news: Connection  # set when a child starts; it can only be inherited

    def __init__(self, item: PlannedRun) -> None:
        self._item = item

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Send the epoch."""
        self.news.send((self._item, row, epochs))


def _in_child(news: Connection) -> None:
    _Messenger.news = news


def _do_in_child(one: Callable[..., Outcome], item: PlannedRun) -> Outcome:
    outcome = one(item, watcher=_Messenger(item), progress=None)
    import torch

    torch.cuda.empty_cache()  # the next run may be a neighbour's
    return outcome
