"""`hemoscope data audit`: labels that look wrong to networks that were not trained on them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table, printable
from hemoscope.cli.options import Runs
from hemoscope.cli.progress import progress

if TYPE_CHECKING:
    from hemoscope.suspects.audit import LabelAudit

__all__ = ["audit"]

SHOWN = 20
SIDES = {"test": "test side", "val": "validation side", "both": "validation and test sides"}


class Side(StrEnum):
    """Images that runs have predicted."""

    test = "test"
    val = "val"
    both = "both"


def audit(
    runs: Runs = "runs",
    *,
    data: Annotated[
        Path | None, typer.Option(help="The images of the runs, if they are not where they were.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The split to correct; by default that of the first run.")
    ] = None,
    side: Annotated[
        Side | None,
        typer.Option(help="Judge by the test, val or both sides. Default: test of folds, val of other runs."),
    ] = None,
    also_test: Annotated[
        bool, typer.Option("--also-test", help="Leave suspects out of the corrected split's test side, too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for suspects as a table and a contact sheet, and for the corrected split."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List labels that look wrong, by what runs of hemoscope benchmark --folds say of images they were not trained on.

    Data are never changed: a suspect is one to look at.
    """
    from hemoscope.files import refuse_inside, refuse_occupied
    from hemoscope.suspects.audit import audit_labels
    from hemoscope.suspects.write import write_audit
    from hemoscope.sweep.storage import runs_at

    if out:
        if data:
            refuse_inside(out, data)
        refuse_occupied(out)
    with progress() as report:
        found = audit_labels(
            runs_at(runs),
            side=side.value if side else None,
            data=data,
            split_file=split,
            also_test=also_test,
            progress=report,
        )
    if out:
        write_audit(found, out)
    _tell(found)
    if as_json:
        print_json({"out": out, **found.to_json()})
    else:
        _print(found)
    if out:
        _tell_written(found, out)


def _tell(found: LabelAudit) -> None:
    """Say whom the answers are of, and what was not looked at."""
    answers = found.answers
    for item in answers.left_out:
        note(f"left out: {item.name}: {item.reason}")
    least, most = answers.asked.min(), answers.asked.max()
    note(
        f"{len(answers.paths):,} images, answers of {len(answers.runs)} runs on their {SIDES[answers.side]}, "
        f"{least if least == most else f'{least} to {most}'} an image"
    )
    if answers.unanswered:
        why = (
            "runs of their folds are not done: the same benchmark command goes on with them"
            if answers.of_folds
            else "no run answered for them without having been trained on them; hemoscope benchmark --folds makes such answers"
        )
        note(f"{answers.unanswered:,} images were not looked at: {why}")
    if not answers.of_folds and answers.side != "val":
        note(
            "a test side whose labels are corrected by the networks that it is there to test scores them too well afterwards"
        )


def _print(found: LabelAudit) -> None:
    rows = [["label", "looks like", "suspects", "estimated", "labelled so"]]
    for pair in found.pairs[:SHOWN]:
        figures = (f"{pair.suspects:,}", f"{pair.estimated:.1f}", f"{pair.labelled:,}")
        rows.append([pair.given, pair.suggested, *figures])
    if found.pairs:
        print_table(rows, right=(2, 3, 4))
    if len(found.pairs) > SHOWN:
        typer.echo(f"and {len(found.pairs) - SHOWN} pairs more; all of them: --json")
    n = len(found.answers.paths)
    typer.echo(
        f"{len(found.suspects):,} of {n:,} labels look wrong ({percent(len(found.suspects) / n)}); estimated share of "
        f"wrong labels {percent(found.learnt.share)}"
    )
    typer.echo(
        "An estimate from the networks' certainty: cells that are merely hard count as wrong, and mistakes that the "
        "networks have learnt do not. Look before you believe."
    )
    known = {
        "pixels": "known by their pixels",
        "bytes": "known by their bytes; with the images, by --data, also by their pixels",
        "": "not known: neither the images nor the split of the runs are there",
    }
    typer.echo(
        f"groups of identical images with contradictory labels: {len(found.contradictions)} ({known[found.duplicates_by]})"
    )
    for group in found.contradictions[:SHOWN]:
        typer.echo(printable("  " + ", ".join(f"{path} ({name})" for path, name in group)))
    if len(found.contradictions) > SHOWN:
        typer.echo(f"  and {len(found.contradictions) - SHOWN} more; all of them: --json")


def _tell_written(found: LabelAudit, out: Path) -> None:
    from hemoscope.suspects.write import CORRECTED, SUSPECTS

    note(f"suspects, the most doubtful first: {out / SUSPECTS}.csv")
    sheet = out / f"{SUSPECTS}.png"
    if sheet.is_file():
        note(f"their pictures: {sheet}")
    elif found.suspects:
        note("no pictures of them: the images are not where they were; name them with --data")
    if found.corrected:
        stay = found.corrected.kept_on_test
        note(
            f"a split without {found.corrected.left_out:,} doubted images: {out / CORRECTED}, for --split of train and "
            "benchmark"
            + (
                f"; {stay:,} stay on its test side, which nobody should tidy by a network's doubts"
                if stay
                else ""
            )
        )
    else:
        note(f"no corrected split: {found.not_corrected}")
