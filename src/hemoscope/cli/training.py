"""`hemoscope train`, `benchmark` and `demo`."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_scores
from hemoscope.cli.options import DeviceName, on_this_machine
from hemoscope.cli.progress import progress
from hemoscope.progress import Progress

if TYPE_CHECKING:
    from hemoscope.runs import Run
    from hemoscope.sweep.local import Outcome
    from hemoscope.sweep.plan import PlannedRun
    from hemoscope.training.run import Prepared

__all__ = ["benchmark", "demo", "train"]


SHOWN = 5  # warnings about the data
CANVAS_PX = 342  # the larger of the two that the architectures use, to be on the safe side


class Weights(StrEnum):
    """What a network starts from."""

    imagenet = "imagenet"
    none = "none"


class Executor(StrEnum):
    """Where the runs of a sweep are done."""

    local = "local"


Data = Annotated[
    Path,
    typer.Option(
        help="A folder of class folders, a CSV of labels, a zip or Parquet of images, or a BloodMNIST .npz."
    ),
]
SplitFile = Annotated[
    Path | None, typer.Option("--split", help="A split to use; by default policy paper, seed 0.")
]
RecipeName = Annotated[str, typer.Option(help="A built-in recipe (paper, fast, demo) or a .toml file.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any field of the recipe.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Change the recipe's epochs.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Change its learning rate.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Change its images a step.")]
WeightsName = Annotated[
    Weights | None,
    typer.Option(help="What to start from: none is random weights, for training from scratch."),
]
Out = Annotated[Path, typer.Option(help="Folder of run folders.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out, and say so in the run.")]


def train(
    arch: Annotated[str, typer.Argument(help="An architecture; the names: hemoscope models.")],
    *,
    data: Data,
    split: SplitFile = None,
    recipe: RecipeName = "paper",
    epochs: Epochs = None,
    lr: Rate = None,
    batch_size: BatchSize = None,
    weights: WeightsName = None,
    changes: Changes = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of head, order, augmentation and dropout.")] = 0,
    out: Out = Path("runs"),
    skip_bad: SkipBad = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Fine-tune one architecture; the same command goes on with a run that was stopped."""
    from hemoscope.models.registry import get_arch
    from hemoscope.training.recipe import load_recipe

    get_arch(arch)  # a wrong name is told before any data are read
    chosen = load_recipe(recipe, _changes(changes, epochs, lr, batch_size, weights))
    on_this_machine(device)
    from hemoscope.training.ranks import ranks_here
    from hemoscope.training.run import run_job

    speaks = ranks_here().main
    with progress() if speaks else nullcontext(_silent) as report:
        prepared = _prepare(data, split, skip_bad=skip_bad, report=report, speaks=speaks)
        run = run_job(
            arch,
            chosen,
            prepared,
            seed=seed,
            out=out,
            device_name=device,
            watcher=_watcher(arch, seed, report) if speaks else None,
            progress=report,
            command=_command(),
        )
    if not speaks:
        return
    scores = _test_scores(run)
    if as_json:
        print_json({"run": run.path, **scores})
    else:
        print_scores(scores)
        note(f"run: {run.path}")


def benchmark(
    *,
    data: Data,
    arch: Annotated[str, typer.Option(help="all, or names with commas between.")] = "all",
    seeds: Annotated[str, typer.Option(help="Seeds with commas between.")] = "0",
    split: SplitFile = None,
    recipe: RecipeName = "paper",
    epochs: Epochs = None,
    lr: Rate = None,
    batch_size: BatchSize = None,
    weights: WeightsName = None,
    changes: Changes = None,
    out: Out = Path("runs"),
    executor: Annotated[Executor, typer.Option(help="Where to run.")] = Executor.local,
    jobs: Annotated[
        str,
        typer.Option(
            help="Runs at once on this machine; auto: one a GPU, with NVIDIA MPS as many as fit, or one."
        ),
    ] = "auto",
    skip_bad: SkipBad = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Run architectures x seeds: skip what is done, go on past a failure, list failures at the end."""
    from hemoscope.models.registry import parse_archs
    from hemoscope.sweep.plan import parse_seeds, plan
    from hemoscope.training.recipe import load_recipe

    planned = plan([row.name for row in parse_archs(arch)], parse_seeds(seeds))
    chosen = load_recipe(recipe, _changes(changes, epochs, lr, batch_size, weights))
    if jobs != "auto" and not (jobs.isdecimal() and int(jobs)):
        raise typer.BadParameter(
            f"expected auto or a number of at least 1, got {jobs!r}", param_hint="--jobs"
        )
    on_this_machine(device)
    from hemoscope.sweep.local import run_sweep, side_by_side

    began = time.monotonic()
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        left_s = _left_s(outcomes, len(planned), time.monotonic() - began)
        _tell(outcome, len(outcomes), len(planned), left_s)

    with progress() as report:
        prepared = _prepare(data, split, skip_bad=skip_bad, report=report)
        canvas_bytes = 3 * CANVAS_PX**2 * len(prepared.manifest.images)
        at_once = side_by_side(canvas_bytes, device) if jobs == "auto" else int(jobs)
        note(f"{len(planned)} runs, executor {executor.value}, {at_once} at once")
        run_sweep(
            planned,
            chosen,
            prepared,
            out=out,
            jobs=min(at_once, len(planned)),
            device_name=device,
            watch=lambda item: _watcher(item.arch, item.seed, report),
            progress=report,
            on_outcome=tell,
            on_death=_tell_death,
            command=_command(),
        )
    failed = [o for o in outcomes if o.run is None]
    if as_json:
        print_json(
            {
                "runs": [
                    {"run": o.run.path, "arch": o.planned.arch, "seed": o.planned.seed, "fresh": o.fresh}
                    | _test_scores(o.run)
                    for o in outcomes
                    if o.run
                ],
                "failed": [
                    {"arch": o.planned.arch, "seed": o.planned.seed, "reason": o.reason} for o in failed
                ],
            }
        )
    note(f"{len(outcomes) - len(failed)} of {len(outcomes)} runs are done in {out}")
    for o in failed:
        note(f"FAILED {o.planned.arch} seed {o.planned.seed}: {o.reason}")
    if failed:
        raise typer.Exit(1)


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for cells, runs and report.")] = Path("demo"),
    as_json: JsonFlag = False,
) -> None:
    """Offline: synthetic cells, three small networks, their ensemble, the report. Some minutes."""
    from hemoscope.demo import run_demo

    with progress() as report:
        result = run_demo(
            out,
            progress=report,
            watch=lambda item: _watcher(item.arch, item.seed, report),
            on_death=_tell_death,
        )
    if as_json:
        print_json(
            {
                "report": result.report,
                "runs": result.runs,
                "ensemble": result.ensemble,
                "elapsed_s": result.elapsed_s,
            }
        )
        return
    print_scores(result.ensemble)
    note("Synthetic cells show that everything works; they say nothing about real ones.")
    typer.echo(str(result.report))


def _changes(
    changes: list[str] | None,
    epochs: int | None,
    lr: float | None,
    batch_size: int | None,
    weights: Weights | None,
) -> list[str]:
    """Return all changes of a recipe as KEY=VALUE; a field that is changed twice is refused."""
    flags = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "weights": weights}
    every = [*(changes or ()), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    keys = [change.partition("=")[0] for change in every]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise typer.BadParameter(f"{', '.join(twice)} is given more than once", param_hint="--set")
    return every


def _prepare(
    data: Path, split: Path | None, *, skip_bad: bool, report: Progress, speaks: bool = True
) -> Prepared:
    from hemoscope.training.run import prepare

    prepared = prepare(data, split_file=split, skip_bad=skip_bad, progress=report)
    if not speaks:
        return prepared
    sides = {side: sum(n.values()) for side, n in prepared.split.counts.items()}
    note(
        f"{sides['train']:,} training, {sides['val']:,} validation and {sides['test']:,} test images; "
        f"{'given ' if prepared.split.policy == 'given' else ''}split {prepared.split.digest[:8]}"
        + (f"; {len(prepared.manifest.left_out)} bad files left out" if prepared.manifest.left_out else "")
    )
    warnings = [problem for problem in prepared.manifest.problems if problem.level == "warning"]
    for problem in warnings[:SHOWN]:
        note(f"warning: {problem.path}: {problem.what}")
    if len(warnings) > SHOWN:
        note(f"and {len(warnings) - SHOWN} warnings more: hemoscope data check {data}")
    return prepared


def _watcher(arch: str, seed: int, report: Progress):
    from hemoscope.runs import EpochRow
    from hemoscope.training.loop import Watcher

    class Teller(Watcher):
        def on_step(self, epoch: int, step: int, steps: int) -> None:
            report(f"{arch} s{seed} epoch {epoch}, batches", step, steps)

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            note(
                f"{arch} s{seed} epoch {row.epoch}/{epochs}: train loss {row.train_loss:.4f}, validation "
                f"{percent(row.val_accuracy)}, {row.images_per_s:.0f} images/s"
            )

    return Teller()


def _silent(what: str, done: int, total: int | None, /) -> None:
    """Say nothing: another rank does."""


def _left_s(outcomes: list[Outcome], total: int, elapsed_s: float) -> float | None:
    """Return the seconds that the rest takes if it goes on like what was done now; None if nothing was."""
    now = sum(outcome.fresh and outcome.run is not None for outcome in outcomes)
    return elapsed_s / now * (total - len(outcomes)) if now and len(outcomes) < total else None


def _tell(outcome: Outcome, done: int, total: int, left_s: float | None) -> None:
    item = outcome.planned
    if outcome.run is None:
        result = "failed"
    else:
        rate = (outcome.run.card.get("timings") or {}).get("images_per_s") or 0
        result = f"test {percent(_test_scores(outcome.run)['accuracy'])}, {rate:.0f} images/s"
        result += f", {outcome.elapsed_s:.0f} s" if outcome.fresh else ", was done"
    note(
        f"[{done}/{total}] {item.arch} s{item.seed}: {result}"
        + ("" if left_s is None else f"; about {left_s / 60:.0f} min left")
    )


def _tell_death(item: PlannedRun, reason: str) -> None:
    note(f"{item.arch} s{item.seed}: {reason}; it is tried once more after the others")


def _test_scores(run: Run) -> dict[str, Any]:
    from hemoscope.evaluation.summary import score

    return score(run.predictions("test")).to_json()


def _command() -> str:
    return shlex.join(["hemoscope", *sys.argv[1:]])
