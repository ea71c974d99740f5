"""`hemoscope stress`: what breaks a model, and whether it looks at the cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table, printable
from hemoscope.cli.labelled import given_classes, tell_classes, tell_seen
from hemoscope.cli.options import DeviceName, Images, Vote, on_this_machine
from hemoscope.cli.progress import progress

if TYPE_CHECKING:
    from hemoscope.stress.result import Stressed

__all__ = ["stress"]


def stress(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RUNS|MODEL", help="A run folder, a folder of them that vote, or a bundle."
        ),
    ],
    *,
    data: Annotated[Path, typer.Option(help="Labelled images.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="MAP.toml",
            help="Which class of --data is which of the model's; written to fill in where there is none.",
        ),
    ] = None,
    side: Annotated[
        Images | None, typer.Option(help="Only images of this side of a run's own split: test or val.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Images of each class; 0 for all.")] = 25,
    members: Annotated[
        str | None, typer.Option(help="Which runs of a folder vote, as in hemoscope ensemble. Default: auto.")
    ] = None,
    vote: Annotated[
        Vote | None, typer.Option(help="How they vote, majority or soft. Default: majority.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="The run that errors are set against. Default: an AlexNet of the folder."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images and of every draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for every figure, a table and two pictures.")
    ] = None,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Ask a model about damaged images, and about cells without their background and backgrounds without their cell."""
    on_this_machine(device)
    from hemoscope.files import refuse_inside, refuse_occupied
    from hemoscope.predict.evaluate import scanned
    from hemoscope.predict.scorable import open_scorable
    from hemoscope.stress.ask import stress as stressed
    from hemoscope.stress.reference import find_reference
    from hemoscope.stress.write import document_of, write_stress

    if out:
        refuse_inside(out, data)
        refuse_occupied(out)
    asked = open_scorable(what, members=members, vote=vote.value if vote else None, device=device)
    against = find_reference(what, reference, device=device)
    with progress() as tell:
        manifest = scanned(data, tell)
        found = stressed(
            asked,
            manifest,
            reference=against,
            given=given_classes(classes, manifest, asked.classes),
            side=side.value if side else None,
            limit=limit,
            seed=seed,
            device=device,
            progress=tell,
        )
    kind = "model" if asked.judges else "run" if len(asked.members) == 1 else "runs"
    document = {kind: what, **document_of(found)}
    if out:
        write_stress(found, out, document)
    tell_classes(found.class_map)
    if side is None:
        tell_seen(found.seen, len(found.target), what)
    if as_json:
        print_json(document)
        return
    _print(found, document)


def _print(found: Stressed, document: Mapping[str, Any]) -> None:
    networks = document["networks"]
    if found.limit:
        note(f"images of each class: at most {found.limit}; --limit 0 takes all")
    _line(
        f"{document['n']:,} images; accuracy with its Wilson 95 % interval, errors are means over five severities"
    )
    _print_networks(document)
    typer.echo("")
    head = ["wrong answers, %", *(network["name"] for network in networks)]
    rows = [
        [corruption["name"], *(_errors(network["corruptions"][i]) for network in networks)]
        for i, corruption in enumerate(document["corruptions"])
    ]
    print_table([head, *rows], right=range(1, len(head)))
    for network in networks:
        typer.echo("")
        if len(networks) > 1:
            _line(network["name"])
        for sentence in network["says"]:
            _line(sentence)


def _print_networks(document: Mapping[str, Any]) -> None:
    reference = document["reference"]
    head = ["", "clean accuracy", "balanced", "mean error", "more than clean"]
    rows = [
        [
            network["name"],
            _share(network["clean"]),
            percent(network["clean"]["balanced_accuracy"]),
            percent(network["mean_error"]),
            _points(network["added_error"]),
            *([percent(network["mce"], 1), percent(network["relative_mce"], 1)] if reference else []),
        ]
        for network in document["networks"]
    ]
    if reference:
        head += ["mCE", "relative mCE"]
    print_table([head, *rows], right=range(1, len(head)))
    _line(
        f"mCE: errors in percent of those of {reference}; relative: of what is added to clean ones"
        if reference
        else f"no mCE (errors relative to AlexNet's): {document['no_reference']}"
    )


def _share(clean: Mapping[str, Any]) -> str:
    low, high = clean["accuracy_ci"]
    return f"{percent(clean['accuracy'])} ({100 * low:.2f} to {100 * high:.2f})"


def _errors(corruption: Mapping[str, Any]) -> str:
    """Return the errors at the five severities, and their mean."""
    each = " ".join(f"{100 * error:3.0f}" for error in corruption["error"])
    return f"{each}, mean {100 * corruption['mean_error']:5.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"


def _line(text: str) -> None:
    typer.echo(printable(text))
