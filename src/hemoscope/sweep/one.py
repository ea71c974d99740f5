"""The unit of work: one run, done by any executor, here or on another machine.

It is idempotent through its run folder: done again it returns what is there, begun again it goes on. Whatever
stops it becomes a reason; nothing is raised but what ends the process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from hemoscope.errors import HemoscopeError
from hemoscope.progress import Progress
from hemoscope.runs import DONE, Run
from hemoscope.sweep.plan import PlannedRun
from hemoscope.sweep.storage import RunStore, train_stored
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, done_run, job_name, run_job

__all__ = ["Outcome", "device_bytes", "fetched", "train_one"]

# Device memory set aside for one run beside its canvas: the largest networks at batch 32. An estimate.
RUN_GIB = 12
CANVAS_PX = 342  # the larger of the two that the architectures use


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


def train_one(
    item: PlannedRun,
    *,
    recipe: Recipe,
    prepared: Prepared,
    out: Path | RunStore,
    device_name: str = "auto",
    watcher: Watcher | None = None,
    progress: Progress | None = None,
    command: str = "",
    wait: bool = False,
) -> Outcome:
    """Do one run, go on with it, or find it done.

    Args:
        item: The run.
        recipe: How to train.
        prepared: The data, of all folds where the run is of one; its images lie where this process can read them.
        out: Folder of run folders, or where they are kept behind a URL.
        device_name: Where to compute.
        watcher: Hears of steps and epochs.
        progress: Called while the canvas is built.
        command: What the run card says.
        wait: Where another process is at this run, wait for it instead of refusing. Behind a URL that is always so.
    """
    start = time.perf_counter()
    run, reason, fresh = None, "", True
    which = {"seed": item.seed, "device_name": device_name}
    options = which | {
        "watcher": watcher or Watcher(),
        "progress": progress,
        "command": command,
    }
    try:
        prepared = prepared.in_fold(item.fold)
        if isinstance(out, RunStore):
            fresh = not out.is_done(job_name(item.arch, recipe, prepared, **which))
            run = train_stored(item.arch, recipe, prepared, store=out, **options)
        else:
            fresh = done_run(item.arch, recipe, prepared, out=out, **which) is None
            run = run_job(item.arch, recipe, prepared, out=out, wait=wait, **options)
    except OSError as error:  # a full disk, a storage that went away
        place = out.url if isinstance(out, RunStore) else out
        reason = f"{error.filename or place}: {error.strerror or error}; the same command goes on with it"
    except (HemoscopeError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError
        reason = str(error) or type(error).__name__
    return Outcome(item, run, reason, fresh or run is None, time.perf_counter() - start)


def fetched(outcome: Outcome, out: Path | RunStore) -> Outcome:
    """Return what another machine did with the run folder on this one: what a report reads."""
    if outcome.run is None or isinstance(out, Path):
        return outcome
    name = outcome.run.name
    if not (out.local / name / DONE).is_file():
        out.pull(name)
    return replace(outcome, run=Run.open(out.local / name))


def device_bytes(prepared: Prepared) -> int:
    """Return the device memory that one run is given: its canvas, and what the largest networks need."""
    return 3 * CANVAS_PX**2 * len(prepared.manifest.images) + RUN_GIB * 2**30
