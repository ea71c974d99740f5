"""`hemoscope track`, and the option `--track` of the verbs that train."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import JsonFlag, note, print_json
from hemoscope.cli.options import RunOrRuns
from hemoscope.cli.progress import counted

if TYPE_CHECKING:
    from hemoscope.errors import RunError
    from hemoscope.tracking.live import Live
    from hemoscope.tracking.record import Brought, Tracker

__all__ = ["Track", "TrackerName", "live", "track"]

TENSORBOARD = "tensorboard"  # below the folder of run folders


class TrackerName(StrEnum):
    """Who keeps a record of runs."""

    mlflow = "mlflow"
    tensorboard = "tensorboard"


Track = Annotated[
    list[TrackerName] | None,
    typer.Option(
        "--track",
        help="Also log every epoch there, as it ends: to the server of MLFLOW_TRACKING_URI, or to OUT/tensorboard. May be repeated.",
    ),
]


def live(names: Sequence[TrackerName] | None, out: Path) -> Live:
    """Return what keeps trackers up to date while runs train; it costs no run anything.

    Raises:
        MissingPackageError: If a package of theirs is not installed.
    """
    from hemoscope.tracking.live import Live

    return Live([_tracker(name, out, hurried=True) for name in dict.fromkeys(names or ())], note)


def _tracker(name: TrackerName, out: Path, *, hurried: bool = False) -> Tracker:
    if name is TrackerName.mlflow:
        from hemoscope.tracking.on_mlflow import OnMlflow

        return OnMlflow(hurried=hurried)
    from hemoscope.tracking.on_tensorboard import OnTensorBoard

    return OnTensorBoard(out / TENSORBOARD)


def track(
    place: RunOrRuns,
    *,
    to: Annotated[TrackerName, typer.Option(help="The server of MLFLOW_TRACKING_URI, or RUNS/tensorboard.")],
    weights: Annotated[
        bool,
        typer.Option("--weights", help="To mlflow: the trained weights, too, not only what was measured."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Log runs to a tracker, whatever is in their folders and not there yet; done twice, it changes nothing."""
    if weights and to is not TrackerName.mlflow:
        raise typer.BadParameter("needs --to mlflow; TensorBoard keeps no files", param_hint="--weights")
    from hemoscope.errors import RunError
    from hemoscope.runs import CARD, find_runs
    from hemoscope.sweep.storage import runs_at
    from hemoscope.tracking.record import has_begun, record_of

    runs = runs_at(place)
    tracker = _tracker(to, runs.resolve().parent if (runs / CARD).is_file() else runs)
    damaged: list[str] = []

    def leave_out(name: str, error: RunError) -> None:
        damaged.append(name)
        note(f"left out: {name}: {error}")

    told: list[dict[str, Any]] = []
    found = [run for run in find_runs(runs, done_only=False, on_damage=leave_out) if has_begun(run)]
    with counted("runs", found, len(found)) as each:
        for run in each:
            try:
                record = record_of(run)
            except RunError as error:
                leave_out(run.name, error)
                continue
            gone = [name for name, file in record.weights.items() if weights and not file.is_file()]
            if gone:
                why = f"expected {', '.join(gone)} in {run.path}, for --weights; it is not there"
                leave_out(run.name, RunError(why))
                continue
            told.append(
                {"run": run.path, "state": record.state} | _row(tracker.bring(record, weights=weights))
            )
    if as_json:
        print_json({"to": tracker.name, "where": tracker.where, "runs": told, "left_out": damaged})
    else:
        for row in told:
            typer.echo(f"{row['run'].name}: {_in_words(row)}")
        note(f"{len(told)} runs are in {tracker.name}, {tracker.where}")
    if damaged:
        raise typer.Exit(1)


def _row(brought: Brought) -> dict[str, Any]:
    return {"new": brought.new, "figures": brought.points, "files": list(brought.files)}


def _in_words(row: dict[str, Any]) -> str:
    if not (row["new"] or row["figures"] or row["files"]):
        return "nothing new"
    files = f", {', '.join(row['files'])}" if row["files"] else ""
    return f"{'new, ' if row['new'] else ''}{row['figures']:,} figures{files}"
