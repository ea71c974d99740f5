"""Do the runs of a sweep as jobs of a SLURM cluster, through submitit.

A job that meets its time limit or is preempted is queued again and goes on from its checkpoint. Jobs outlive the
process that submitted them; the same command later finds what they did.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemoscope.errors import ConfigError, MissingPackageError
from hemoscope.runs import EpochRow
from hemoscope.sweep.one import Outcome, fetched, train_one
from hemoscope.sweep.plan import PlannedRun
from hemoscope.sweep.storage import RunStore
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

__all__ = ["sweep_on_slurm"]

LOOK_S = 2.0  # between two looks at the jobs
TIMEOUTS = 1000  # a run may take many time limits; what ends it is getting nowhere
FRUITLESS = 3  # times in a row that a job may be stopped before it ends an epoch


def sweep_on_slurm(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    folder: Path,
    parameters: Mapping[str, Any],
    device_name: str = "auto",
    on_start: Callable[[PlannedRun, str], None] = lambda *_: None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    command: str = "",
) -> list[Outcome]:
    """Submit every planned run as a job, and wait for all of them.

    Args:
        planned: The runs.
        recipe: Of all of them.
        prepared: Their data; images and imported weights lie where every node can read them.
        out: A folder that every node sees under this path, or where runs are kept behind a URL.
        folder: Where submitit keeps jobs and their logs; every node sees it.
        parameters: Of the jobs, as submitit's `AutoExecutor.update_parameters` takes them; `cluster` is `slurm`, or
            `local` for processes of this machine.
        device_name: Where to compute on its node.
        on_start: Called with a run and the number of its job.
        on_outcome: Called as each run ends.
        command: What the run cards say.

    Returns:
        The outcomes, in the order of the plan.

    Raises:
        MissingPackageError: Without the extra `slurm`.
        ConfigError: If there is no such cluster here, or submitit does not know a parameter.
    """
    executor = _executor(folder, dict(parameters))
    from submitit.helpers import as_completed

    one = partial(
        train_one,
        recipe=recipe,
        prepared=prepared,
        out=out,
        device_name=device_name,
        command=command,
        wait=True,  # for another sweep's job that is at the same run
    )
    with executor.batch():
        jobs = {executor.submit(_Unit(one), item): item for item in planned}
    for job, item in jobs.items():
        on_start(item, job.job_id)
    outcomes: dict[PlannedRun, Outcome] = {}
    for job in as_completed(list(jobs), poll_frequency=LOOK_S):
        outcomes[jobs[job]] = outcome = _outcome(jobs[job], job, out)
        on_outcome(outcome)
    return [outcomes[item] for item in planned]


def _executor(folder: Path, parameters: dict[str, Any]):
    # NCCL takes SIGUSR1 for itself. Read when submitit is imported, here and in the jobs, which inherit it.
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    try:
        import submitit
    except ImportError as error:
        raise MissingPackageError.of("SLURM", error, extra="slurm") from error
    cluster = parameters.pop("cluster", "slurm")
    most = {"slurm_max_num_timeout": TIMEOUTS, "local_max_num_timeout": TIMEOUTS}
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster, **most)
        executor.update_parameters(name="hemoscope", **parameters)
    except RuntimeError as error:  # no sbatch
        raise ConfigError(
            f"expected a machine that submits to SLURM; {error}. To try it out here: --slurm cluster=local"
        ) from error
    except (NameError, TypeError, ValueError) as error:  # submitit's own words name the parameter
        raise ConfigError(f"submitit refuses the parameters of the jobs: {error}") from error
    return executor


class _Unit:
    """What a job does; submitit asks it for what is to be queued again when the job is stopped."""

    def __init__(self, one: Callable[..., Outcome], fruitless: int = 0) -> None:
        self._one, self._fruitless = one, fruitless
        self._epochs = 0

    def __call__(self, item: PlannedRun) -> Outcome:
        return self._one(item, watcher=_Counter(self))

    def ended_epoch(self) -> None:
        """Hear that this job got somewhere."""
        self._epochs += 1

    def checkpoint(self, item: PlannedRun) -> DelayedSubmission | None:
        """Return the same work, which goes on from its run folder; None ends it after several tries for nothing."""
        from submitit.helpers import DelayedSubmission

        fruitless = 0 if self._epochs else self._fruitless + 1
        return DelayedSubmission(_Unit(self._one, fruitless), item) if fruitless < FRUITLESS else None

    __submitit_checkpoint__ = checkpoint  # its name in later versions


class _Counter(Watcher):
    def __init__(self, unit: _Unit) -> None:
        self._unit = unit

    def on_epoch(self, row: EpochRow, epochs: int) -> None:  # noqa: ARG002
        """Count it."""
        self._unit.ended_epoch()


def _outcome(item: PlannedRun, job: Any, out: Path | RunStore) -> Outcome:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return fetched(job.result(), out)
    except (FailedJobError, UncompletedJobError) as error:
        words = [line for line in str(error).strip().splitlines() if line.strip()]
        reason = f"job {job.job_id} did not end by itself: {words[-1] if words else 'no word'}; its log: {job.paths.stderr}"
        return Outcome(item, None, reason, fresh=True, elapsed_s=0.0)
