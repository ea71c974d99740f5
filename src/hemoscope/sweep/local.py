"""Do the runs of a sweep one after the other on this machine, and go on past those that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemoscope.errors import HemoscopeError
from hemoscope.runs import Run
from hemoscope.sweep.plan import PlannedRun
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, Progress, run_job

__all__ = ["Outcome", "run_sweep"]


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
    device_name: str = "auto",
    watch: Callable[[PlannedRun], Watcher] = lambda _: Watcher(),
    progress: Progress | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    command: str = "",
) -> list[Outcome]:
    """Do every planned run; a failed one is listed with its reason and the next one starts.

    Returns:
        The outcomes, in the order of the plan.
    """
    outcomes: list[Outcome] = []
    for item in planned:
        start = time.perf_counter()
        before = time.time()
        run, reason = None, ""
        try:
            run = run_job(
                item.arch,
                recipe,
                prepared,
                seed=item.seed,
                out=out,
                device_name=device_name,
                watcher=watch(item),
                progress=progress,
                command=command,
            )
        except (HemoscopeError, RuntimeError, MemoryError, OSError) as error:  # torch raises RuntimeError
            reason = str(error) or type(error).__name__
        fresh = run is None or run.finished_at >= before
        outcomes.append(Outcome(item, run, reason, fresh, time.perf_counter() - start))
        on_outcome(outcomes[-1])
    return outcomes
