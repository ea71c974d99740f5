"""`hemoscope compare`: how sure the scores of runs are, and which runs can be told apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table, printable
from hemoscope.cli.options import Images, Members, Runs, VoteOrNone

__all__ = ["compare"]

SHOWN = {"balanced_accuracy": "balanced accuracy", "mcc": "MCC", "auroc": "AUROC"}


def compare(
    runs: Runs = "runs",
    *,
    side: Annotated[Images, typer.Option(help="On which images: test, or val for validation.")] = Images.test,
    members: Members = "auto",
    vote: VoteOrNone = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all scores and pairs as tables, and a picture.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare runs and their ensemble: intervals of every score, paired tests, and what cannot be told apart."""
    from hemoscope.comparison.compare import compare as compared
    from hemoscope.comparison.words import sentences
    from hemoscope.comparison.write import shown_as, write_comparison
    from hemoscope.files import refuse_occupied
    from hemoscope.sweep.storage import runs_at

    if out:
        refuse_occupied(out)
    found = compared(runs_at(runs), side=side.value, members=members, how=vote.value if vote else None)
    for item in found.left_out:
        note(f"left out: {item.name}: {item.reason}")
    if out:
        write_comparison(found, out)
    if as_json:
        print_json(found.to_json())
        return
    rows = [["", "errors", "accuracy, 95 % interval", *(f"{name}, 95 % interval" for name in SHOWN.values())]]
    for subject in found.subjects:
        scores = subject.scores
        estimates = [subject.estimates[key] for key in SHOWN]
        figures = [(scores.accuracy, *scores.accuracy_ci), *((e.value, e.low, e.high) for e in estimates)]
        rows.append([shown_as(subject), f"{scores.errors:,}", *(_told(*figure) for figure in figures)])
    print_table(rows, right=(1, 2, 3, 4, 5))
    typer.echo("")
    for sentence in sentences(found):
        typer.echo(printable(sentence))


def _told(value: float, low: float, high: float) -> str:
    bounds = "no interval" if math.isnan(low) else f"{100 * low:.2f} to {100 * high:.2f}"
    return f"{percent(value)} ({bounds})"
