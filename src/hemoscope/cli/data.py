"""`hemoscope data`: fetch, check, list, crop, split, audit, synth, cache."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_table
from hemoscope.cli.data_problems import print_findings
from hemoscope.cli.label_audit import audit
from hemoscope.cli.options import LeaveOut, Overwrite, names_in
from hemoscope.cli.progress import progress
from hemoscope.cli.verbs import Verbs

if TYPE_CHECKING:
    from hemoscope.training.run import Prepared

__all__ = ["app"]

app = Verbs(
    help="Data sets: fetch, check, list, crop, split, audit labels, draw synthetic cells, clear what was kept of them.",
    no_args_is_help=True,
)

DataDir = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder of class folders, a CSV of labels, a zip or Parquet, or a BloodMNIST .npz.",
    ),
]
MOST_CONTEXT = 10
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out what is bad instead of refusing.")]


class Policy(StrEnum):
    """How a split is drawn."""

    paper = "paper"
    clean = "clean"
    acquisition = "acquisition"


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="pbc, bloodmnist, bloodmnist_64, bloodmnist_128 or bloodmnist_224.")
    ],
    *,
    to: Annotated[Path, typer.Option(help="Folder for data sets.")] = Path("data"),
    as_json: JsonFlag = False,
) -> None:
    """Download a data set: resumable, verified, unpacked safely."""
    from hemoscope.cli.progress import byte_progress
    from hemoscope.data.fetch import fetch as fetch_data

    with byte_progress() as report:
        place = fetch_data(name, to, progress=report)
    if as_json:
        print_json({"name": name, "path": place})
    else:
        typer.echo(str(place))


@app.command()
def check(root: DataDir, *, as_json: JsonFlag = False) -> None:
    """Report every problem at once; exit 1 if there are errors, which stop training.

    Warnings (duplicates, contradictory labels, another acquisition) do not stop training but may bend
    the scores; notes are counted.
    """
    from hemoscope.data.audit import audit as look_at
    from hemoscope.training.scanned import scan_cached

    with progress() as report:
        manifest = scan_cached(root, report)
    findings = look_at(manifest).to_json()
    if as_json:
        print_json(findings)
    else:
        print_findings(findings)
    if manifest.errors:
        raise typer.Exit(1)


@app.command(name="list")
def list_images(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of images in folders.")],
    *,
    out: Annotated[Path, typer.Option(help="CSV to write, in DIR or above it.")],
    class_level: Annotated[int, typer.Option(min=1, help="Which folder below DIR is the class, from 1.")] = 1,
    group_level: Annotated[
        int, typer.Option(min=0, help="Which is the patient or slide, kept on one side of a split.")
    ] = 0,
    split_level: Annotated[int, typer.Option(min=0, help="Which is train, val or test.")] = 0,
    leave_out: LeaveOut = "",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the images of any folder as a CSV of labels, which every --data takes and anybody can edit."""
    from hemoscope.data.scan.list_folder import Levels, write_list

    levels = Levels(class_level, group_level, split_level)
    counts = write_list(root, out, levels, leave_out=names_in(leave_out), overwrite=overwrite)
    if as_json:
        print_json({"out": out, "counts": counts})
        return
    print_table([["class", "images"], *([name, f"{n:,}"] for name, n in counts.items())], right=(1,))
    note(f"use it in place of the folder: {out}")


def _times(value: float) -> float:
    if not 1 <= value <= MOST_CONTEXT:  # NaN is not
        raise typer.BadParameter(f"expected a factor from 1 to {MOST_CONTEXT}; got {value}")
    return value


@app.command()
def crop(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures with boxes around cells.")],
    *,
    out: Annotated[Path, typer.Option(help="New folder for the cells and their labels.csv.")],
    context: Annotated[
        float, typer.Option(callback=_times, help="Side of a crop over the longer side of its box.")
    ] = 1.5,
    leave_out: LeaveOut = "",
    skip_bad: SkipBad = False,
    as_json: JsonFlag = False,
) -> None:
    """Cut the cells out of a set with boxes (YOLO, Pascal VOC, COCO), with a CSV of labels for every --data."""
    from hemoscope.data.boxes.crop import LABELS, crop_set

    with progress() as report:
        crops = crop_set(
            root,
            out,
            context=context,
            leave_out=names_in(leave_out),
            skip_bad=skip_bad,
            progress=report,
        )
    if crops.bad.count:
        note("\n  ".join([f"left out {crops.bad.count} bad boxes, pictures or files:", *crops.bad.lines]))
    if as_json:
        print_json({"out": out, "counts": crops.counts, "left_out": crops.bad.count})
        return
    print_table([["class", "cells"], *([name, f"{n:,}"] for name, n in crops.counts.items())], right=(1,))
    note(f"from {crops.pictures:,} pictures; {crops.without_boxes:,} have no box")
    note(f"next: hemoscope data check {out / LABELS}, and give that file to --data")


@app.command()
def split(
    root: DataDir,
    *,
    out: Annotated[Path, typer.Option(help="CSV to write.")],
    policy: Annotated[
        Policy,
        typer.Option(
            help="paper: every image; clean: without duplicates; acquisition: tests on the second one."
        ),
    ] = Policy.paper,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    skip_bad: SkipBad = False,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Divide the images into 64 % train, 24 % val, 12 % test; identical content stays on one side."""
    from hemoscope.data.split_file import write_split
    from hemoscope.errors import DataError
    from hemoscope.files import refuse_existing
    from hemoscope.training.run import prepare

    refuse_existing(out, overwrite=True)  # the same split may be there
    if out.is_file() and root.is_file() and out.samefile(root):
        raise DataError(
            f"{out} is the list itself, and a split has not all of its columns; choose another --out"
        )
    with progress() as report:
        prepared = prepare(root, policy=policy.value, split_seed=seed, skip_bad=skip_bad, progress=report)
    if prepared.split.policy == "given":
        if policy is Policy.clean:
            raise DataError(
                f"{root} brings its own sides, and --policy clean would leave images out of them; leave --policy out to take them as they are"
            )
        what = "--policy and --seed say" if prepared.split.seed is None else "--policy says"
        note(f"{root} brings its own sides: {what} nothing here")
    if not (out.exists() and _holds(out, prepared)):  # a person's own columns stay in one that says the same
        if out.exists() and not overwrite:
            raise DataError(
                f"{out} holds another split, or none; choose another --out, or --overwrite to replace it"
            )
        write_split(prepared.split, out)
    counts = prepared.split.counts
    if as_json:
        print_json({"digest": prepared.split.digest, "counts": counts, "out": out})
        return
    rows = [["class", "train", "val", "test"]]
    rows += [[name, *(str(counts[side][name]) for side in rows[0][1:])] for name in prepared.split.classes]
    rows.append(["all", *(f"{sum(counts[side].values()):,}" for side in rows[0][1:])])
    print_table(rows, right=(1, 2, 3))
    note(f"{out}: digest {prepared.split.digest}")


def _holds(file: Path, prepared: Prepared) -> bool:
    from hemoscope.data.split_file import read_split
    from hemoscope.errors import SplitError

    try:
        return read_split(file, prepared.manifest).digest == prepared.split.digest
    except SplitError:
        return False


app.command()(audit)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write class folders into.")],
    *,
    per_class: Annotated[int, typer.Option(min=1, help="Cells of each class.")] = 60,
    size_px: Annotated[int, typer.Option(min=32, max=1024, help="Side of an image.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every cell.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Draw synthetic cells of the eight classes: for trying things, not for measuring them."""
    from hemoscope.data.synthetic import write_dataset

    with progress() as report:
        written = write_dataset(
            folder,
            per_class=per_class,
            size_px=size_px,
            seed=seed,
            progress=report,
        )
    if as_json:
        print_json(
            {"path": folder, "images": written, "per_class": per_class, "size_px": size_px, "seed": seed}
        )
    else:
        typer.echo(f"{written:,} synthetic cells in {folder}")


@app.command()
def cache(
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Delete what is listed; it is made again.")] = False,
    unused_for: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Only what was not used for so many days.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List what was kept to save time (resized images, scans), or clear it; runs and weights are not touched."""
    from hemoscope.data import cache as store

    listed = [item for item in store.kept() if item.unused_days >= unused_for]
    deleted = store.clear(listed) if clear else []
    if as_json:
        print_json({"kept": [asdict(item) for item in listed], "deleted": [item.path for item in deleted]})
        return
    rows = [["", "of", "MiB", "days unused", "where"]]
    rows += [
        [i.what, i.root or "n/a", f"{i.bytes / 2**20:,.1f}", f"{i.unused_days:.0f}", str(i.path)]
        for i in listed
    ]
    print_table(rows, right=(2, 3))
    if clear:
        freed = sum(item.bytes for item in deleted) / 2**20
        note(f"deleted {len(deleted)} of {len(listed)}, {freed:,.1f} MiB")
