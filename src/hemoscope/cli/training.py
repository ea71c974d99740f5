"""`hemoscope train` and `demo`."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_scores
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
    tell_death,
    tell_gone,
    teller,
    test_scores,
)
from hemoscope.cli.options import DeviceName, on_this_machine
from hemoscope.cli.progress import progress
from hemoscope.cli.tracking import Track, live

__all__ = ["demo", "train"]


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
    out: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    track: Track = None,
    skip_bad: SkipBad = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Fine-tune one architecture; the same command goes on with a run that was stopped."""
    from hemoscope.models.registry import get_arch
    from hemoscope.training.recipe import load_recipe

    get_arch(arch)  # a wrong name is told before any data are read
    chosen = load_recipe(recipe, changes_of(changes, epochs, lr, batch_size, weights))
    on_this_machine(device)
    from hemoscope.training.ranks import ranks_here
    from hemoscope.training.run import job_name, run_job

    speaks = ranks_here().main
    trackers = live(track if speaks else None, out)
    with progress() if speaks else nullcontext(_silent) as report:
        prepared = prepare_told(data, split, skip_bad=skip_bad, report=report, speaks=speaks)

        @cache
        def folder() -> Path:
            return out / job_name(arch, chosen, prepared, seed=seed, device_name=device)

        with trackers.at_the_end(folder):
            run = run_job(
                arch,
                chosen,
                prepared,
                seed=seed,
                out=out,
                device_name=device,
                watcher=trackers.follow(folder, teller(f"{arch} s{seed}", report)) if speaks else None,
                progress=report,
                command=command_line(),
            )
    if not speaks:
        return
    scores = test_scores(run)
    if as_json:
        print_json({"run": run.path, **scores})
    else:
        print_scores(scores)
        note(f"run: {run.path}")
    tell_gone(run)


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
            watch=lambda item: teller(item.label, report),
            on_death=tell_death,
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


def _silent(what: str, done: int, total: int | None, /) -> None:
    """Say nothing: another rank does."""
