"""`hemoscope bundle` and `predict`: a model that leaves the machine it was trained on."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hemoscope.cli.console import JsonFlag, counted, note, percent, print_json, progress

__all__ = ["bundle_app", "predict"]

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle.")]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cuda, cuda:N, mps or cpu.")]


class _OrMake(TyperGroup):
    """`hemoscope bundle RUNS --out FILE` means `hemoscope bundle make RUNS --out FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


bundle_app = typer.Typer(
    cls=_OrMake,
    help="One file with everything a model needs to answer anywhere: hemoscope bundle RUNS --out FILE.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@bundle_app.command("make")
def make(
    runs: Annotated[Path, typer.Argument(metavar="RUN|RUNS", help="A run folder, or a folder of them.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write, such as model.hemo.")],
    members: Annotated[
        str, typer.Option(help="auto (the four best on validation), paper, greedy, exhaustive, or names.")
    ] = "auto",
    vote: Annotated[str, typer.Option(help="majority or soft.")] = "majority",
    data: Annotated[
        Path | None, typer.Option(help="The images of the runs, if they are not where they were.")
    ] = None,
    error_rate: Annotated[float, typer.Option(help="Errors to tolerate among accepted answers.")] = 0.01,
    coverage: Annotated[float, typer.Option(help="How often a set of classes holds the true one.")] = 0.99,
    unknown_share: Annotated[float, typer.Option(help="Known cells that may be called unknown.")] = 0.01,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Calibrate answers with flips and turns, too, for predict --tta; slow."),
    ] = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Make a bundle of one run, or of an ensemble of runs."""
    from hemoscope.inference.pack import pack
    from hemoscope.report.collect import collect
    from hemoscope.runs import find_runs

    result = collect(runs, members=members, vote=vote)  # type: ignore[arg-type]
    for item in result.left_out:
        note(f"left out: {item.name}: {item.reason}")
    finished = {run.name: run for run in find_runs(runs, on_damage=lambda *_: None)}
    if result.ensemble:
        bundled = [finished[entry.name] for entry in result.ensemble.members]
        chosen = result.ensemble.chosen
    else:
        bundled, chosen = [finished[result.best.name]], ""
        if len(finished) > 1:
            note(f"no ensemble ({result.no_ensemble}); bundling {result.best.name}")
    with progress() as tell:
        card = pack(
            bundled,
            out,
            how=vote,  # type: ignore[arg-type]
            chosen=chosen,
            data=data,
            tta=tta,
            device_name=device,
            error_rate=error_rate,
            coverage=coverage,
            unknown_share=unknown_share,
            progress=tell,
        )
    if card.calibration.unknown_above is None:
        stored = str(card.calibration.measured["answers"]).startswith("those the runs stored")
        why = (
            "the images of the runs were not at hand (--data DIR)"
            if stored
            else f"{card.calibration.n_val} validation images are too few"
        )
        note(f"{why}: this bundle calls nothing unknown")
    if as_json:
        print_json({"bundle": out, **card.model_dump()})
    else:
        typer.echo(str(out))


@bundle_app.command("verify")
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    *,
    device: DeviceName = "cpu",
    as_json: JsonFlag = False,
) -> None:
    """Check a bundle whole: every digest, every tensor, and its answers to its own drawn cells."""
    from hemoscope.inference.bundle import read_bundle
    from hemoscope.inference.pack import TOLERANCE
    from hemoscope.inference.pack import verify as check

    read = read_bundle(bundle)
    worst = check(read, device_name=device)
    if as_json:
        print_json(
            {"bundle": bundle, "digest": read.digest, "largest_difference": worst, "tolerance": TOLERANCE}
        )
    else:
        typer.echo(f"{bundle} is whole: its {len(read.cells)} cells are answered to within {worst:.1g}")


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
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Ask a model about images; a bad one is a row with its error. The same command goes on if stopped."""
    from hemoscope.errors import DataError
    from hemoscope.inference.inputs import Passed, count_images, find_images
    from hemoscope.inference.model import load
    from hemoscope.inference.outputs import Tally, predict_rows, predict_to, write_csv

    passed = Passed()
    found = find_images(inputs, passed=passed)
    asked = load(model, device=device)
    asked.trust(tta=tta)
    rows: list[dict[str, Any]] = []
    tally = None
    on_screen = out is None and not as_json and sys.stdout.isatty()  # a bar would run through the rows
    with nullcontext(found) if on_screen else counted("images", found, count_images(inputs)) as images:
        if out is not None:
            tally = predict_to(out, asked, images, tta=tta, batch_size=batch_size)
        elif as_json:
            rows = list(predict_rows(asked, images, tta=tta, batch_size=batch_size))
        else:
            tally = write_csv(sys.stdout, asked, predict_rows(asked, images, tta=tta, batch_size=batch_size))
    if tally is None:
        print_json(rows)
        tally = Tally().plus(row["status"] for row in rows)
    elif as_json:
        print_json({"out": out, "n": tally.n, **asdict(tally), "passed_over": passed.counts})
    else:
        shares = ", ".join(
            f"{n:,} {name} ({percent(n / tally.n, 1)})" for name, n in asdict(tally).items() if n
        )
        note(f"{tally.n:,} images{': ' if shares else ''}{shares}")
    if passed.counts:
        note(passed.in_words())
    if not tally.n:
        raise DataError(f"there was no image in {', '.join(inputs)}")
    if tally.error:
        raise typer.Exit(1)
