"""`hemoscope predict`: answers of a bundle, a row an image."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemoscope.cli.camera import at_camera
from hemoscope.cli.console import JsonFlag, note, percent, print_json
from hemoscope.cli.options import DeviceName, ModelFile, Overwrite
from hemoscope.cli.progress import counted, progress

if TYPE_CHECKING:
    from hemoscope.bundle.card import Calibration
    from hemoscope.predict.rows import Tally

__all__ = ["predict"]


class Executor(StrEnum):
    """Where images are asked about."""

    local = "local"
    ray = "ray"


def predict(
    model: ModelFile,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders, patterns, zip or tar archives, - for a list."
        ),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="A .csv, .jsonl or .parquet file; else CSV is printed.")
    ] = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over eight flips and turns; the bundle was made with --tta."),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images at once; fewer need less memory. Default: 64, on CUDA 512."),
    ] = None,
    executor: Annotated[
        Executor,
        typer.Option(
            help="ray asks on a Ray cluster: Parquet manifests and tar archives into a folder of parts."
        ),
    ] = Executor.local,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster: auto or HOST:PORT; by default this machine.")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0.1, help="Cores of a worker on Ray.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a worker on Ray, such as 0.5.")] = 0.0,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask a model about images; a bad one is a row with its error. The same command goes on if stopped."""
    if overwrite and out is None:
        raise typer.BadParameter("needs --out", param_hint="--overwrite")
    if executor is Executor.ray:
        if out is None or overwrite:
            raise typer.BadParameter("needs --out FOLDER, and replaces nothing", param_hint="--executor ray")
        _on_ray(
            model,
            inputs,
            address=address,
            as_json=as_json,
            out=out,
            tta=tta,
            batch_size=batch_size,
            device=device,
            cpus=cpus,
            gpus=gpus,
        )
        return
    from hemoscope.data.camera import LOOKED_AT
    from hemoscope.errors import DataError
    from hemoscope.predict.inputs import Passed, count_images, find_images, from_everywhere, stdin_paths
    from hemoscope.predict.model import load
    from hemoscope.predict.rows import Tally, predict_rows, predict_to, write_csv

    passed = Passed()
    asked = load(model, device=device)
    asked.trust(tta=tta)
    listed = None
    if asked.frames_nuclei:
        listed = list(stdin_paths()) if "-" in inputs else []
        asked = at_camera(asked, from_everywhere(inputs, LOOKED_AT, lines=listed))
    found = find_images(inputs, lines=listed, passed=passed)
    rows: list[dict[str, Any]] = []
    tally = None
    on_screen = out is None and not as_json and sys.stdout.isatty()  # a bar would run through the rows
    with nullcontext(found) if on_screen else counted("images", found, count_images(inputs)) as images:
        if out is not None:
            tally = predict_to(out, asked, images, tta=tta, batch_size=batch_size, overwrite=overwrite)
        elif as_json:
            rows = list(predict_rows(asked, images, tta=tta, batch_size=batch_size))
        else:
            tally = write_csv(sys.stdout, asked, predict_rows(asked, images, tta=tta, batch_size=batch_size))
    if tally is None:
        print_json(rows)
        tally = Tally().plus(row["status"] for row in rows)
    elif as_json:
        told = {"out": out, "n": tally.n, **asdict(tally), "passed_over": passed.counts}
        print_json({**told, "nucleus_px": asked.nucleus_px})
    else:
        _tell(tally)
    if passed.counts:
        note(passed.in_words())
    _tell_unknown(tally, asked.trust(tta=tta), adapted=asked.card.adapted is not None)
    if not tally.n:
        raise DataError(
            f"there was no image in {', '.join(inputs)}; expected image files, folders, archives or patterns in quotes"
        )
    if tally.error:
        raise typer.Exit(1)


def _on_ray(
    model: Path, inputs: list[str], *, address: str | None, as_json: bool, out: Path, **options: Any
) -> None:
    from hemoscope.cluster import connect
    from hemoscope.predict.on_ray import kept_camera, predict_on_ray

    connect(address)
    with progress() as report:
        tally = predict_on_ray(
            model, inputs, out=out, on_shard=lambda _, done, total: report("shards", done, total), **options
        )
    if as_json:
        told = {"out": out, "n": tally.n, **asdict(tally), "passed_over": {}}
        print_json({**told, "nucleus_px": kept_camera(out)})
    else:
        _tell(tally)
    if tally.error or not tally.n:
        raise typer.Exit(1)


def _tell(tally: Tally) -> None:
    shares = ", ".join(f"{n:,} {name} ({percent(n / tally.n, 1)})" for name, n in asdict(tally).items() if n)
    note(f"{tally.n:,} images{': ' if shares else ''}{shares}")


def _tell_unknown(tally: Tally, trust: Calibration, *, adapted: bool) -> None:
    """Say of a model that it calls nothing unknown, or more than it calls so of cells like those it knows."""
    from hemoscope.evaluation.intervals import surely_more

    seen, usual = tally.n - tally.error, trust.usually_unknown
    learns = "" if adapted else "; hemoscope adapt learns a laboratory's cells"
    if seen and usual is None:
        note("this model calls nothing unknown: what is no cell it knows has an answer like any other")
    elif usual is not None and surely_more(tally.unknown, seen, usual):
        note(
            f"{tally.unknown:,} of {seen:,} images are unlike the cells it knows, of which it calls {percent(usual[0] / usual[1], 1)} so: "
            "stain, camera or cells differ, and its other answers may be wrong more often, too. hemoscope evaluate tells on labelled "
            f"cells of these{learns}"
        )
