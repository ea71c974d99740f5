"""What `train`, `benchmark` and `tune` share: the options of data and recipe, and how they tell what goes on."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import note, percent
from hemoscope.progress import Progress

if TYPE_CHECKING:
    from hemoscope.runs import Run
    from hemoscope.sweep.plan import PlannedRun
    from hemoscope.training.run import Prepared

__all__ = [
    "BatchSize",
    "Changes",
    "Data",
    "Epochs",
    "Rate",
    "RecipeName",
    "SkipBad",
    "SplitFile",
    "Weights",
    "WeightsName",
    "changes_of",
    "command_line",
    "prepare_told",
    "tell_death",
    "tell_gone",
    "teller",
    "test_scores",
]

SHOWN = 5  # warnings about the data


class Weights(StrEnum):
    """What a network starts from."""

    imagenet = "imagenet"
    none = "none"


Data = Annotated[
    Path,
    typer.Option(
        help="A folder of class folders, a CSV of labels, a zip or Parquet of images, or a BloodMNIST .npz."
    ),
]
SplitFile = Annotated[
    Path | None, typer.Option("--split", help="A split to use; by default policy paper, seed 0.")
]
RecipeName = Annotated[
    str, typer.Option(help="A built-in recipe (paper, fast, best, robust, demo) or a .toml file.")
]
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
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out, and say so in the run.")]


def changes_of(
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


def prepare_told(
    data: Path,
    split: Path | None,
    *,
    skip_bad: bool,
    report: Progress,
    folds: int = 0,
    speaks: bool = True,
) -> Prepared:
    """Return the data ready to train on, and tell how many there are and what is odd."""
    from hemoscope.training.run import prepare

    prepared = prepare(data, split_file=split, folds=folds, skip_bad=skip_bad, progress=report)
    if not speaks:  # one of several ranks tells
        return prepared
    sides = {side: sum(n.values()) for side, n in prepared.split.counts.items()}
    if folds and any(image.given_side for image in prepared.manifest.images):
        note("the data bring a split; folds leave it aside and divide all images anew")
    note(
        (f"{folds} folds; the first: " if folds else "")
        + f"{sides['train']:,} training, {sides['val']:,} validation and {sides['test']:,} test images; "
        f"{'given ' if prepared.split.policy == 'given' else ''}split {prepared.split.digest[:8]}"
        + (f"; {len(prepared.manifest.left_out)} bad files left out" if prepared.manifest.left_out else "")
    )
    warnings = [problem for problem in prepared.manifest.problems if problem.level == "warning"]
    for problem in warnings[:SHOWN]:
        note(f"warning: {problem.path}: {problem.what}")
    if len(warnings) > SHOWN:
        note(f"and {len(warnings) - SHOWN} warnings more: hemoscope data check {data}")
    return prepared


def teller(label: str, report: Progress):
    """Return a watcher of a run that writes a line an epoch and moves a bar a step."""
    from hemoscope.runs import EpochRow
    from hemoscope.training.loop import Watcher

    class Teller(Watcher):
        def on_step(self, epoch: int, step: int, steps: int) -> None:
            report(f"{label} epoch {epoch}, batches", step, steps)

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            note(
                f"{label} epoch {row.epoch}/{epochs}: train loss {row.train_loss:.4f}, validation "
                f"{percent(row.val_accuracy)}, {row.images_per_s:.0f} images/s"
            )

    return Teller()


def tell_death(item: PlannedRun, reason: str) -> None:
    """Tell of a run whose process died."""
    note(f"{item.label}: {reason}; it is tried once more after the others")


def test_scores(run: Run) -> dict[str, Any]:
    """Return the scores of a run's test predictions, as in `Scores.to_json`."""
    from hemoscope.evaluation.summary import score

    return score(run.predictions("test")).to_json()


def tell_gone(run: Run) -> None:
    """Tell of a finished run whose weights are gone: its predictions are read on, and it trains no more."""
    from hemoscope.runs import MODEL

    if not (run.path / MODEL).is_file():
        note(
            f"warning: {run.path} holds no {MODEL}: its predictions can be read, and no network can be asked, bundled or "
            "exported. For another, delete the folder and run the same command again"
        )


def command_line() -> str:
    """Return the command that this process was started with."""
    return shlex.join(["hemoscope", *sys.argv[1:]])
