"""`hemoscope evaluate`, `ensemble` and `report`: everything that starts from finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_scores, printable
from hemoscope.cli.options import DeviceName, Members, Runs, Vote, VoteName, on_this_machine
from hemoscope.cli.progress import progress

__all__ = ["ensemble", "evaluate", "report"]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images to score instead of the run's own test side.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Score only the test side of this split of --data.")
    ] = None,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Score a finished run: its own test predictions, or any labelled folder."""
    from hemoscope.errors import RunError
    from hemoscope.evaluation.summary import score
    from hemoscope.runs import Run

    if split and data is None:
        raise typer.BadParameter("--split needs --data", param_hint="--split")
    if data is not None:
        on_this_machine(device)
    finished = Run.open(run)
    if not finished.done:
        raise RunError(
            f"{run} is not finished; the command that started it goes on with it: {finished.card.get('command')}"
        )
    seen: Mapping[str, object] = {}
    if data is None:
        predictions = finished.predictions("test")
    else:
        from hemoscope.predict.evaluate import predict_folder

        with progress() as tell:
            found = predict_folder(finished, data, split_file=split, device_name=device, progress=tell)
        predictions, seen = found.predictions, {"seen_before": found.seen}
        _tell_seen(found.seen, len(predictions), run)
    scores = score(predictions).to_json()
    if as_json:
        print_json({"run": run, **scores, **seen})
    else:
        print_scores(scores)


def _tell_seen(seen: Mapping[str, int] | None, n: int, run: Path) -> None:
    """Say how many of the images scored are no new ones to the run."""
    if seen is None:
        note("the split of this run is not beside it, so whether it was trained on these images is not known")
    elif seen["train"] or seen["val"]:
        note(
            f"warning: this run was trained on {seen['train']:,} of these {n:,} images and validated on "
            f"{seen['val']:,}; on images that it has not seen it may do worse. Its own test images: "
            f"hemoscope evaluate {run}"
        )


def ensemble(
    runs: Runs = "runs",
    *,
    members: Members = "auto",
    vote: VoteName = Vote.majority,
    as_json: JsonFlag = False,
) -> None:
    """Let several runs vote; members are chosen on validation images only."""
    from hemoscope.ensemble.members import assemble
    from hemoscope.errors import RunError
    from hemoscope.sweep.storage import runs_at

    result = assemble(runs_at(runs), members=members, how=vote.value)
    for item in result.left_out:
        note(f"left out: {item.name}: {item.reason}")
    chosen = result.ensemble
    if chosen is None:
        raise RunError(f"there is no ensemble in {runs}: {result.no_ensemble}")
    names = [entry.name for entry in chosen.members]
    scores = chosen.scores.to_json()
    if as_json:
        print_json(
            {
                "members": names,
                "vote": vote.value,
                "chosen": chosen.chosen,
                "val_errors": chosen.val_errors,
                "left_out": [asdict(item) for item in result.left_out],
                **scores,
            }
        )
        return
    for name in names:
        typer.echo(printable(name))
    note(chosen.chosen)
    print_scores(scores)


def report(
    runs: Runs = "runs",
    *,
    out: Annotated[Path, typer.Option(help="Folder for the report, its tables and figures.")] = Path(
        "report"
    ),
    members: Members = "auto",
    vote: VoteName = Vote.majority,
    data: Annotated[
        Path | None, typer.Option(help="Where the images are: shows sample cells and errors as pictures.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one self-contained HTML file, and tables and figures beside it."""
    from hemoscope.report import write_report
    from hemoscope.sweep.storage import runs_at

    path = write_report(runs_at(runs), out, members=members, vote=vote.value, data=data, title=title)
    if as_json:
        print_json({"report": path})
    else:
        typer.echo(str(path))
