"""`hemoscope evaluate`: what a run, an ensemble or a bundle is worth on labelled cells."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_scores, print_table, printable
from hemoscope.cli.labelled import given_classes, tell_classes, tell_seen
from hemoscope.cli.options import DeviceName, Vote, on_this_machine
from hemoscope.cli.progress import progress

if TYPE_CHECKING:
    from hemoscope.differential.reference import ReferenceTable
    from hemoscope.evaluation.summary import Scores

__all__ = ["evaluate"]


def evaluate(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RUNS|MODEL", help="A run folder, a folder of them that vote, or a bundle."
        ),
    ],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images to score instead of a run's own test side.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Score only the test side of this split of --data.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="MAP.toml",
            help="Which class of --data is which of the model's; written to fill in where there is none.",
        ),
    ] = None,
    members: Annotated[
        str | None, typer.Option(help="Which runs of a folder vote, as in hemoscope ensemble. Default: auto.")
    ] = None,
    vote: Annotated[
        Vote | None, typer.Option(help="How they vote, majority or soft. Default: majority.")
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average a bundle's answers over eight flips and turns.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the answers, which report takes like runs.")
    ] = None,
    in_blood: Annotated[
        bool,
        typer.Option("--in-blood", help="Also the precision where the classes come as they do in blood."),
    ] = False,
    ranges: Annotated[
        Path | None,
        typer.Option(help="For --in-blood: your laboratory's table, as in hemoscope differential."),
    ] = None,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Score a run, an ensemble of runs or a bundle on labelled cells; without --data, a run on its own test side."""
    if ranges and not in_blood:
        raise typer.BadParameter("needs --in-blood", param_hint="--ranges")
    if data is None:
        for given, name in ((split, "--split"), (classes, "--classes"), (out, "--out"), (tta, "--tta")):
            if given:
                raise typer.BadParameter(f"{name} needs --data", param_hint=name)
        from hemoscope.evaluation.summary import balanced

        own = _own(what, members or vote)
        document = {
            "run": what,
            **balanced(own),
            **(_in_blood(own, _table(ranges, own.classes)) if in_blood else {}),
        }
        if as_json:
            print_json(document)
        else:
            print_scores(document)
            _print_in_blood(document)
        return
    on_this_machine(device)
    from hemoscope.evaluation.summary import score
    from hemoscope.files import refuse_inside, refuse_occupied
    from hemoscope.predict.evaluate import predict_labelled, scanned
    from hemoscope.predict.evaluation import figures, write_evaluation
    from hemoscope.predict.scorable import open_scorable

    if out:
        refuse_inside(out, data)
        refuse_occupied(out)
    asked = open_scorable(what, members=members, vote=vote.value if vote else None, tta=tta, device=device)
    table = _table(ranges, asked.classes) if in_blood else None
    with progress() as tell:
        manifest = scanned(data, tell)
        given = given_classes(classes, manifest, asked.classes)
        found = predict_labelled(asked, manifest, split_file=split, given=given, progress=tell)
    kind = "model" if asked.judges else "run" if len(asked.members) == 1 else "runs"
    document = {kind: what, **figures(asked, found)}
    if table:
        document |= _in_blood(score(found.predictions), table)
    if out:
        write_evaluation(out, asked, found, document, shlex.join(["hemoscope", *sys.argv[1:]]))
    tell_classes(found.class_map)
    tell_seen(found.seen, len(found.predictions), what)
    if as_json:
        print_json(document)
        return
    if asked.chosen:
        note(f"{asked.name}: {', '.join(member.name for member in asked.members)}. {asked.chosen}")
    _print(document)


def _own(path: Path, choice: object) -> Scores:
    """Return the scores of a finished run on the test side that it was trained beside."""
    from hemoscope.errors import RunError
    from hemoscope.evaluation.summary import score
    from hemoscope.runs import CARD, Run

    if path.is_dir() and not (path / CARD).is_file() and not any(path.glob(f"*/{CARD}")):
        raise RunError(
            f"{path} holds no run; a model is scored on a folder of images by: hemoscope evaluate MODEL --data {path}"
        )
    if choice or (path.is_dir() and not (path / CARD).is_file()):
        raise RunError(
            f"without --data one run is scored; the vote of a folder of runs on their test side is shown by: "
            f"hemoscope ensemble {path}"
        )
    run = Run.open(path)
    if not run.done:
        raise RunError(
            f"{path} is not finished; the command that started it goes on with it: {run.card.get('command')}"
        )
    return score(run.predictions("test"))


def _table(ranges: Path | None, classes: Sequence[str]) -> ReferenceTable:
    """Return a table of ranges that knows these classes; else an error, before any work."""
    from hemoscope.differential.reference import read_reference

    table = read_reference(ranges)
    table.shares(classes)
    return table


def _in_blood(scores: Scores, table: ReferenceTable) -> dict[str, Any]:
    """Return the precision of every class at its share in blood, with the shares, those it is of and whose they are."""
    from hemoscope.evaluation.prevalence import precision_at, shares_met

    shares = table.shares(scores.classes)
    met = shares_met(scores.confusion, shares).tolist()
    classes = {
        name: {"share": share, "share_met": at, "precision": one.value, "precision_ci": [one.low, one.high]}
        for name, share, at, one in zip(
            scores.classes, shares, met, precision_at(scores.confusion, shares), strict=True
        )
        if share
    }
    missing = [name for name, one in classes.items() if math.isnan(one["share_met"])]
    return {"in_blood": {"table": table.name, "without_images": missing, "classes": classes}}


def _print(document: Mapping[str, Any]) -> None:
    print_scores(document)
    there = [name for name in document["classes"] if name not in document["without_images"]]
    _line(f"balanced accuracy {_with_interval(document)}, all {len(document['classes'])} classes open")
    if limited := document["limited"]:
        _line(
            f"with answers limited to the {len(there)} classes that are there: balanced accuracy "
            f"{_with_interval(limited)}, accuracy {percent(limited['accuracy'])}"
        )
    if said := document["calibration"]:
        low, high = said["ece_if_calibrated"]
        _line(
            f"calibration error (ECE) {percent(said['ece'])} ({_percents(said['ece_ci'])}), by chance alone "
            f"{percent(low)} to {percent(high)}; Brier score {said['brier']:.4f} ({_bounds(said['brier_ci'])}), log-loss "
            f"{said['log_loss']:.4f} ({_bounds(said['log_loss_ci'])}); 95 % intervals in brackets"
        )
        _line(
            f"errors among the surest answers, mean over every share of them kept (area under the risk-coverage curve): "
            f"{percent(said['risk_coverage_area'])}; in the best order {percent(said['risk_coverage_area_best'])}"
        )
    told = {"thresholded_confidence": "by thresholded confidence", "agreement": "by its members' agreement"}
    guesses = [
        f"{percent(value)} {told[how]}"
        for how, value in (document["estimated"] or {}).items()
        if value is not None
    ]
    if guesses:
        _line(
            f"without the labels its accuracy would have been taken for {' or '.join(guesses)}; such figures can be far off"
        )
    if verdicts := document["verdicts"]:
        low, high = verdicts["accepted_accuracy_ci"]
        right = (
            f", of them right {verdicts['accepted_right']:,} ({percent(verdicts['accepted_accuracy'])}; exact 95 % "
            f"interval {percent(low)} to {percent(high)})"
            if verdicts["accepted"]
            else ""
        )
        _line(
            f"accepted {verdicts['accepted']:,} of {document['n']:,}{right}; for review {verdicts['review']:,}; "
            f"unknown {verdicts['unknown']:,}"
        )
    _print_in_blood(document)
    if strangers := document["none_of_the_classes"]:
        told = ", ".join(f"{status} {n:,}" for status, n in strangers.items() if n)
        if told:
            _line(f"images of none of the classes: {told}")


def _print_in_blood(document: Mapping[str, Any]) -> None:
    if not (found := document.get("in_blood")):
        return
    _line(
        f"precision where white cells and erythroblasts come as in blood ({found['table']}: the middle of every range)"
    )
    rows = [["class", "share", "precision", "95 % interval"]]
    for name, one in found["classes"].items():
        low, high = one["precision_ci"]
        missing = math.isnan(low)
        bounds = "no interval" if missing else f"{percent(low)} to {percent(high)}"
        value, share = percent(one["precision"]), percent(one["share_met"])
        rows.append([name, share, value, bounds])
    print_table(rows, right=(1, 2, 3))
    if missing := found["without_images"]:
        gone = sum(found["classes"][name]["share"] for name in missing)
        _line(
            f"no image of {', '.join(missing)}, of {percent(gone)} of these cells: the shares of the other classes are made to sum "
            "to one without them"
        )


def _with_interval(scores: Mapping[str, Any]) -> str:
    low, high = scores["balanced_accuracy_ci"]
    told = percent(scores["balanced_accuracy"])
    return told if low is None else f"{told} ({percent(low)} to {percent(high)})"


def _percents(bounds: Sequence[float]) -> str:
    return "no interval" if math.isnan(bounds[0]) else " to ".join(map(percent, bounds))


def _bounds(bounds: Sequence[float]) -> str:
    return "no interval" if math.isnan(bounds[0]) else " to ".join(f"{bound:.4f}" for bound in bounds)


def _line(text: str) -> None:
    typer.echo(printable(text))
