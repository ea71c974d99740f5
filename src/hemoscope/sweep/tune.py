"""Search the fields of a recipe with Ray Tune and Optuna, on the validation side only.

A trial is a run that stops before its test images are read. It lies in a run folder as any other, so that a
trial whose worker died goes on, and a search that was stopped repeats nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemoscope.errors import ConfigError, HemoscopeError, MissingPackageError, RunError
from hemoscope.files import write_text
from hemoscope.runs import EpochRow, Run
from hemoscope.sweep.space import Choice, Range, write_recipe
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe, changed
from hemoscope.training.run import Prepared, job_name, run_job

__all__ = ["Trial", "search"]

DEATHS = 20  # of a trial's worker, each of which costs an epoch at most
METRIC = "val_accuracy"
NAME = "tuned"  # of the winner's recipe; `best` is built in, and a winner is no change of it
SEED_LIMIT = 2**32  # Optuna's
TRIALS = "trials: "  # begins the last line of search.txt


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        values: What was chosen.
        val_accuracy: On all validation images after the last epoch, one view each; 0 where training failed.
        reason: Why it failed, else empty.
    """

    values: Mapping[str, Any]
    val_accuracy: float
    reason: str = ""


def search(
    arch: str,
    base: Recipe,
    space: Mapping[str, Choice | Range],
    prepared: Prepared,
    *,
    out: Path,
    trials: int,
    seed: int = 0,
    cpus: float = 1.0,
    gpus: float = 0.0,
    device_name: str = "auto",
    on_trial: Callable[[Trial, int], None] = lambda *_: None,
    command: str = "",
) -> tuple[Recipe, list[Trial]]:
    """Search on the cluster that `cluster.connect` connected to; the same call goes on with a search that was stopped.

    Args:
        arch: Registry name.
        base: The recipe whose fields are searched.
        space: What may be chosen.
        prepared: The data.
        out: Folder of the search, which every node sees under this path: run folders, Ray Tune's own state, and at
            the end `best.toml`.
        trials: How many, with those of earlier calls.
        seed: Of the search and of every run.
        cpus: Cores of a trial, and its threads.
        gpus: GPUs of a trial.
        device_name: Where to compute.
        on_trial: Called with each trial that ended, and its number.
        command: What the run cards say.

    Returns:
        The recipe that was best on validation, named `tuned`, and all trials, the best first.

    Raises:
        MissingPackageError: Without the extra `ray`.
        ConfigError: If the folder holds another search, or the seed is too large for one.
        RunError: If no trial succeeded.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise ConfigError(
            f"expected the seed of a search from 0 to {SEED_LIMIT - 1}; got {seed}. Choose another"
        )
    # Ray Tune would change the working folder of every trial, write its tables in its own way, and take Ctrl-C for an end.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    try:
        from ray import tune
    except ImportError as error:
        raise MissingPackageError.of("a search", error, extra="ray") from error
    _heard.clear()
    _listeners[:] = [on_trial]
    out = out.absolute()
    _same_search(out, arch, base, space, prepared, seed, trials)
    shared = _Shared(arch, base, prepared, out / "runs", seed, device_name, cpus, command)
    trainable = tune.with_resources(tune.with_parameters(_trial, shared=shared), {"cpu": cpus, "gpu": gpus})
    kept = out / "ray" / "search"
    # Errors that are no hemoscope error are dead workers here: the same trial goes on elsewhere.
    if tune.Tuner.can_restore(str(kept)):
        tuner = tune.Tuner.restore(
            str(kept), trainable, resume_unfinished=True, restart_errored=True, param_space=_drawn(space)
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_drawn(space),
            tune_config=tune.TuneConfig(
                metric=METRIC, mode="max", num_samples=trials, search_alg=_optuna(seed)
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(out / "ray"),
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                callbacks=[_callback()],
                verbose=0,
            ),
        )
    try:
        with redirect_stdout(sys.stderr):  # Ray Tune prints a box
            results = tuner.fit()
    finally:
        _listeners.clear()
    found = [
        Trial(r.config, r.metrics.get(METRIC, 0.0), r.metrics.get("reason", ""))
        for r in results
        if r.config and r.metrics and METRIC in r.metrics
    ]
    found.sort(key=lambda trial: -trial.val_accuracy)
    if not found or found[0].reason:
        reason = found[0].reason if found else "no trial ended"
        raise RunError(f"none of the {len(found)} trials succeeded; the first: {reason}")
    best = changed(base, {**found[0].values, "name": NAME})
    head = (
        f"# The best of {len(found)} trials of {arch} on {len(prepared.split.side('val')):,} validation images: "
        f"{100 * found[0].val_accuracy:.2f} %\n# {command}\n"
    )
    write_text(out / "best.toml", head + write_recipe(best))
    return best, found


@dataclass(frozen=True)
class _Shared:
    arch: str
    base: Recipe
    prepared: Prepared
    runs: Path
    seed: int
    device_name: str
    cpus: float
    command: str


class _Enough(BaseException):
    """Ends a trial before its test images are read; no handler of errors is meant to stop it."""


class _Reporter(Watcher):
    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Report it, and stop after the last."""
        from ray import tune

        tune.report({METRIC: row.val_accuracy, "epoch": row.epoch, "reason": ""})
        if row.epoch == epochs:
            raise _Enough


def _trial(config: dict[str, Any], shared: _Shared) -> None:
    import torch
    from ray import tune

    torch.set_num_threads(max(1, int(shared.cpus)))
    try:
        recipe = changed(shared.base, config)
        options = {"seed": shared.seed, "device_name": shared.device_name}
        folder = shared.runs / job_name(shared.arch, recipe, shared.prepared, **options)
        if (history := _history(folder)) and len(history) == recipe.epochs:
            tune.report({METRIC: history[-1].val_accuracy, "epoch": recipe.epochs, "reason": ""})
            return
        run_job(
            shared.arch,
            recipe,
            shared.prepared,
            out=shared.runs,
            watcher=_Reporter(),
            command=shared.command,
            wait=True,
            **options,
        )
    except _Enough:
        pass
    except HemoscopeError as error:  # a rate that diverges is an answer
        tune.report({METRIC: 0.0, "epoch": 0, "reason": str(error)})


def _history(folder: Path) -> tuple[EpochRow, ...]:
    try:
        return Run.open(folder).history
    except RunError:
        return ()


def _drawn(space: Mapping[str, Choice | Range]) -> dict[str, Any]:
    """Return the space as Ray Tune has it."""
    from ray import tune

    drawn: dict[str, Any] = {}
    for name, what in space.items():
        if isinstance(what, Choice):
            drawn[name] = tune.choice(list(what.values))
        elif what.whole:
            low, high = int(what.low), int(what.high) + 1  # Ray's ranges end before their end
            drawn[name] = tune.lograndint(low, high) if what.log else tune.randint(low, high)
        else:
            drawn[name] = (
                tune.loguniform(what.low, what.high) if what.log else tune.uniform(what.low, what.high)
            )
    return drawn


def _optuna(seed: int):
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(metric=METRIC, mode="max", seed=seed)


_listeners: list[Callable[[Trial, int], None]] = []  # of the search of this process
_heard: list[Trial] = []


def _hear(trial: Trial) -> None:
    _heard.append(trial)
    for listener in _listeners:
        listener(trial, len(_heard))


def _callback():
    from ray import tune

    class Tell(tune.Callback):
        """Tells of every trial that ended. Ray Tune pickles it with the search, so whom to tell is kept outside."""

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:  # noqa: ARG002
            last = trial.last_result or {}
            _hear(Trial(trial.config, last.get(METRIC, 0.0), last.get("reason", "")))

    return Tell()


def _same_search(
    out: Path,
    arch: str,
    base: Recipe,
    space: Mapping[str, Choice | Range],
    prepared: Prepared,
    seed: int,
    trials: int,
) -> None:
    """Keep what is searched, and refuse a folder that holds another search, or one of another number of trials."""
    words = f"{arch}, seed {seed}, split {prepared.split.digest[:16]}\n{base.model_dump_json()}\n" + "".join(
        f"{name}: {what}\n" for name, what in sorted(space.items())
    )
    path = out / "search.txt"
    if path.is_file():
        before, _, n = path.read_text("utf-8").partition(TRIALS)
        if before != words:
            raise ConfigError(
                f"{out} holds another search; expected that of this command, which would go on. Choose another --out"
            )
        if n and int(n) != trials:  # Ray Tune goes on with as many as it began with
            raise ConfigError(
                f"{out} holds this search with {int(n)} trials, and it goes on with as many; expected --trials {int(n)}, got "
                f"{trials}. For more, choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{words}{TRIALS}{trials}\n")
