"""`hemoscope tune`: search the fields of a recipe on the validation side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table
from hemoscope.cli.job import (
    Changes,
    Data,
    Epochs,
    RecipeName,
    SkipBad,
    SplitFile,
    WeightsName,
    changes_of,
    command_line,
    prepare_told,
)
from hemoscope.cli.options import DeviceName
from hemoscope.cli.progress import progress

__all__ = ["tune"]

SHOWN = 10  # trials


def tune(
    arch: Annotated[str, typer.Argument(help="An architecture; the names: hemoscope models.")],
    *,
    data: Data,
    search: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=LOW..HIGH|A,B,C",
            help="A field of the recipe and what it may be; may be given several times.",
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Trials, with those of a search that was stopped.")] = 20,
    split: SplitFile = None,
    recipe: RecipeName = "fast",
    epochs: Epochs = None,
    weights: WeightsName = None,
    changes: Changes = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of every trial.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the search; the winner is best.toml in it.")] = Path(
        "tune"
    ),
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster: auto or HOST:PORT; by default this machine.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(min=0.1, help="Cores of a trial.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of a trial, such as 0.25.")] = None,
    skip_bad: SkipBad = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Search recipe fields with Ray Tune and Optuna; no test image is read, and the winner is a recipe file."""
    from hemoscope.models.registry import get_arch
    from hemoscope.sweep.space import parse_space
    from hemoscope.training.recipe import load_recipe

    get_arch(arch)
    base = load_recipe(recipe, changes_of(changes, epochs, None, None, weights))
    space = parse_space(search, base)
    from hemoscope.cluster import connect
    from hemoscope.sweep.on_ray import default_cpus, default_gpus
    from hemoscope.sweep.tune import Trial
    from hemoscope.sweep.tune import search as search_recipes

    with progress() as report:
        prepared = prepare_told(data, split, skip_bad=skip_bad, report=report)
    connect(address)

    def tell(trial: Trial, n: int) -> None:
        chosen = ", ".join(f"{name} {_shown(value)}" for name, value in trial.values.items())
        said = trial.reason or f"validation {percent(trial.val_accuracy)}"
        note(f"[{n}/{trials}] {chosen}: {said}")

    gpus = default_gpus(prepared) if gpus is None else gpus
    _, found = search_recipes(
        arch,
        base,
        space,
        prepared,
        out=out,
        trials=trials,
        seed=seed,
        cpus=default_cpus(gpus) if cpus is None else cpus,
        gpus=gpus,
        device_name=device,
        on_trial=tell,
        command=command_line(),
    )
    path = out / "best.toml"
    if as_json:
        print_json(
            {
                "recipe": path,
                "chosen": dict(found[0].values),
                "trials": [
                    {"chosen": dict(t.values), "val_accuracy": t.val_accuracy, "reason": t.reason}
                    for t in found
                ],
            }
        )
        return
    rows = [[*space, "validation"]]
    rows += [[*(_shown(t.values[name]) for name in space), percent(t.val_accuracy)] for t in found[:SHOWN]]
    print_table(rows, right=tuple(range(len(rows[0]))))
    note(f"The best of {len(found)} trials: {path}. Train with it: hemoscope train {arch} --recipe {path} …")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
