"""`hemoscope ensemble` and `report`: what is made of finished runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_scores, printable
from hemoscope.cli.options import Members, Runs, VoteOrNone

__all__ = ["ensemble", "report"]


def ensemble(
    runs: Runs = "runs",
    *,
    members: Members = "auto",
    vote: VoteOrNone = None,
    as_json: JsonFlag = False,
) -> None:
    """Let several runs vote; members are chosen on validation images only."""
    from hemoscope.ensemble.members import assemble
    from hemoscope.errors import RunError
    from hemoscope.sweep.storage import runs_at

    result = assemble(runs_at(runs), members=members, how=vote.value if vote else None)
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
                "vote": chosen.how,
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
    vote: VoteOrNone = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the images are: shows sample cells and errors as pictures.")
    ] = None,
    stress: Annotated[
        Path | None, typer.Option(help="What hemoscope stress --out wrote: shows what would break it.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one self-contained HTML file, and tables and figures beside it."""
    from hemoscope.report import write_report
    from hemoscope.sweep.storage import runs_at

    path = write_report(
        runs_at(runs),
        out,
        members=members,
        vote=vote.value if vote else None,
        data=data,
        title=title,
        stress=stress,
    )
    if as_json:
        print_json({"report": path})
    else:
        typer.echo(str(path))
