"""`hemoscope benchmark`: many runs, on this machine or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import JsonFlag, note, print_json
from hemoscope.cli.job import (
    BatchSize,
    Changes,
    Data,
    Epochs,
    Rate,
    RecipeName,
    SkipBad,
    SplitFile,
    WeightsName,
    changes_of,
    command_line,
    prepare_told,
    tell_gone,
    teller,
    test_scores,
)
from hemoscope.cli.options import DeviceName, on_this_machine
from hemoscope.cli.progress import progress
from hemoscope.cli.tracking import Track, live

if TYPE_CHECKING:
    from hemoscope.cli.board import Board
    from hemoscope.sweep.one import Outcome
    from hemoscope.sweep.plan import PlannedRun
    from hemoscope.sweep.storage import RunStore
    from hemoscope.tracking.live import Live
    from hemoscope.training.loop import Watcher
    from hemoscope.training.recipe import Recipe
    from hemoscope.training.run import Prepared

__all__ = ["benchmark"]


class Executor(StrEnum):
    """Where the runs of a sweep are done."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


def benchmark(
    *,
    data: Data,
    arch: Annotated[str, typer.Option(help="all, or names with commas between.")] = "all",
    seeds: Annotated[str, typer.Option(help="Seeds with commas between.")] = "0",
    split: SplitFile = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Instead of one split: each of so many parts is tested on once, for hemoscope data audit.",
        ),
    ] = None,
    recipe: RecipeName = "paper",
    epochs: Epochs = None,
    lr: Rate = None,
    batch_size: BatchSize = None,
    weights: WeightsName = None,
    changes: Changes = None,
    out: Annotated[
        str, typer.Option(help="Folder of run folders, or a URL such as s3://bucket/runs.")
    ] = "runs",
    executor: Annotated[
        Executor, typer.Option(help="Where to run: this machine, a Ray cluster, or SLURM.")
    ] = Executor.local,
    jobs: Annotated[
        str,
        typer.Option(
            help="Runs at once on this machine; auto: one a GPU, with NVIDIA MPS as many as fit, or one."
        ),
    ] = "auto",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT; by default this machine."),
    ] = None,
    cpus: Annotated[float | None, typer.Option(min=0.1, help="Cores of a run on Ray.")] = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs of a run on Ray, such as 0.25; by default what its memory needs."),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of SLURM jobs, as submitit names it."),
    ] = None,
    track: Track = None,
    skip_bad: SkipBad = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Run architectures x seeds (x folds): skip what is done, go on past a failure, list failures at the end."""
    from hemoscope.models.registry import parse_archs
    from hemoscope.sweep.plan import parse_seeds, plan
    from hemoscope.training.recipe import load_recipe

    planned = plan([row.name for row in parse_archs(arch)], parse_seeds(seeds), folds or 0)
    chosen = load_recipe(recipe, changes_of(changes, epochs, lr, batch_size, weights))
    if folds and split:
        raise typer.BadParameter(
            "not together with --split, which says what is tested on: over all folds every image is; give one of the two",
            param_hint="--folds",
        )
    if jobs != "auto" and not (jobs.isdecimal() and int(jobs)):
        raise typer.BadParameter(
            f"expected auto or a number of at least 1, got {jobs!r}", param_hint="--jobs"
        )
    _refuse_others(executor, jobs=jobs != "auto", address=address, cpus=cpus, gpus=gpus, slurm=slurm)
    if executor is Executor.local:
        on_this_machine(device)
    from hemoscope.places import is_url
    from hemoscope.sweep.storage import RunStore

    place: Path | RunStore = RunStore(out) if is_url(out) else Path(out)
    trackers = live(track, place if isinstance(place, Path) else place.local)
    match executor:
        case Executor.local:
            sweep = partial(_local, jobs=jobs)
        case Executor.ray:
            sweep = partial(_ray, address=address, cpus=cpus, gpus=gpus)
        case Executor.slurm:
            sweep = partial(_slurm, parameters=_parameters(slurm or []))
    with progress() as report:
        prepared = prepare_told(data, split, skip_bad=skip_bad, report=report, folds=folds or 0)
    outcomes = sweep(planned, chosen, prepared, out=place, device=device, trackers=trackers)
    _tell_all(outcomes, place, as_json=as_json)


def _refuse_others(executor: Executor, **given: Any) -> None:
    """Refuse an option that belongs to another executor."""
    belongs = {
        "jobs": Executor.local,
        "address": Executor.ray,
        "cpus": Executor.ray,
        "gpus": Executor.ray,
        "slurm": Executor.slurm,
    }
    for name, value in given.items():
        if value not in (None, False) and belongs[name] is not executor:
            raise typer.BadParameter(
                f"belongs to --executor {belongs[name].value}; this one is {executor.value}",
                param_hint=f"--{name}",
            )


def _parameters(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or key in found:
            raise typer.BadParameter(
                f"expected KEY=VALUE, each key once, such as timeout_min=240; got {text!r}",
                param_hint="--slurm",
            )
        found[key] = int(value) if value.lstrip("-").isdecimal() else value
    return found


def _local(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    device: str,
    trackers: Live,
    jobs: str,
) -> list[Outcome]:
    from hemoscope.cli.board import Board, board
    from hemoscope.sweep.local import run_sweep, side_by_side
    from hemoscope.sweep.one import device_bytes
    from hemoscope.training.run import job_name

    at_once = side_by_side(device_bytes(prepared), device) if jobs == "auto" else int(jobs)
    note(f"{len(planned)} runs, executor local, {at_once} at once")
    run = partial(
        run_sweep,
        planned,
        recipe,
        prepared,
        out=out,
        jobs=min(at_once, len(planned)),
        device_name=device,
        command=command_line(),
    )

    @cache
    def folder(item: PlannedRun) -> Path:
        runs = out if isinstance(out, Path) else out.local
        own = prepared.in_fold(item.fold)
        return runs / job_name(item.arch, recipe, own, seed=item.seed, device_name=device)

    def followed(item: PlannedRun, watcher: Watcher) -> Watcher:
        return trackers.follow(partial(folder, item), watcher)

    if at_once > 1:
        with board(planned) as shown:
            return run(
                watch=lambda item: followed(item, shown.watch(item)),
                on_outcome=_both(shown, trackers, folder),
                on_death=shown.died,
            )
    shown = Board(planned, as_table=False)
    with progress() as report:  # a bar a step, which one run at a time has room for
        return run(
            watch=lambda item: followed(item, teller(item.label, report)),
            progress=report,
            on_outcome=_both(shown, trackers, folder),
        )


def _both(
    shown: Board, trackers: Live, folder: Callable[[PlannedRun], Path] | None = None
) -> Callable[[Outcome], None]:
    """Return what tells the person and the trackers how a run ended; one that failed, where its folder is known."""

    def ended(outcome: Outcome) -> None:
        shown.ended(outcome)
        if run := outcome.run:
            trackers.bring(lambda: run.path)
        elif folder:
            trackers.bring(partial(folder, outcome.planned))

    return ended


def _ray(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    device: str,
    trackers: Live,
    address: str | None,
    cpus: float | None,
    gpus: float | None,
) -> list[Outcome]:
    from hemoscope.cli.board import board
    from hemoscope.cluster import connect
    from hemoscope.sweep.on_ray import sweep_on_ray

    has = connect(address)
    note(f"{len(planned)} runs, executor ray, on {has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs")
    with board(planned) as shown:
        return sweep_on_ray(
            planned,
            recipe,
            prepared,
            out=_absolute(out),
            cpus=cpus,
            gpus=gpus,
            device_name=device,
            watch=shown.watch,
            on_start=shown.started,
            on_outcome=_both(shown, trackers),
            command=command_line(),
        )


def _slurm(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    device: str,
    trackers: Live,
    parameters: dict[str, Any],
) -> list[Outcome]:
    from hemoscope.cli.board import board
    from hemoscope.sweep.on_slurm import sweep_on_slurm

    place = _absolute(out)
    folder = (place if isinstance(place, Path) else place.local) / "slurm"
    note(f"{len(planned)} runs, executor slurm; jobs and their logs: {folder}")
    with board(planned) as shown:
        return sweep_on_slurm(
            planned,
            recipe,
            prepared,
            out=place,
            folder=folder,
            parameters=parameters,
            device_name=device,
            on_start=lambda item, job: shown.started(item, f"job {job}"),
            on_outcome=_both(shown, trackers),
            command=command_line(),
        )


def _absolute(out: Path | RunStore) -> Path | RunStore:
    return out.absolute() if isinstance(out, Path) else out  # a worker has another working folder


def _tell_all(outcomes: list[Outcome], out: Path | RunStore, *, as_json: bool) -> None:
    failed = [o for o in outcomes if o.run is None]
    if as_json:
        print_json(
            {
                "runs": [
                    {"run": o.run.path, **_planned(o.planned), "fresh": o.fresh} | test_scores(o.run)
                    for o in outcomes
                    if o.run
                ],
                "failed": [{**_planned(o.planned), "reason": o.reason} for o in failed],
            }
        )
    place = out if isinstance(out, Path) else f"{out.url}; a copy for the report: {out.local}"
    note(f"{len(outcomes) - len(failed)} of {len(outcomes)} runs are done in {place}")
    for o in outcomes:
        if o.run and isinstance(out, Path):  # what is behind a URL lies here for the report alone
            tell_gone(o.run)
    for o in failed:
        fold = f" fold {o.planned.fold}" if o.planned.fold else ""
        note(f"FAILED {o.planned.arch} seed {o.planned.seed}{fold}: {o.reason}")
    if failed:
        raise typer.Exit(1)


def _planned(item: PlannedRun) -> dict[str, Any]:
    return {"arch": item.arch, "seed": item.seed, "fold": item.fold or None}
