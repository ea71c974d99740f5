"""`hemoscope bundle`: a model that leaves the machine it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hemoscope.cli.console import JsonFlag, note, print_json, printable
from hemoscope.cli.options import (
    DeviceName,
    Members,
    Overwrite,
    RunOrRuns,
    Vote,
    VoteName,
    a_share,
    on_this_machine,
)
from hemoscope.cli.progress import progress
from hemoscope.cli.verbs import Verbs

__all__ = ["bundle_app"]

BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")]


class _OrMake(TyperGroup):
    """`hemoscope bundle RUNS --out FILE` means `hemoscope bundle make RUNS --out FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


bundle_app = Verbs(
    cls=_OrMake,
    help="One file with everything a model needs to answer anywhere: hemoscope bundle RUNS --out FILE.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@bundle_app.command("make")
def make(
    runs: RunOrRuns,
    *,
    out: Annotated[Path, typer.Option(help="The file to write, such as model.hemo.")],
    members: Members = "auto",
    vote: VoteName = Vote.majority,
    data: Annotated[
        Path | None, typer.Option(help="The images of the runs, if they are not where they were.")
    ] = None,
    error_rate: Annotated[
        float, typer.Option(callback=a_share, help="Errors to tolerate among accepted answers.")
    ] = 0.01,
    coverage: Annotated[
        float, typer.Option(callback=a_share, help="How often a set of classes holds the true one.")
    ] = 0.99,
    by_class: Annotated[
        bool,
        typer.Option(
            "--coverage-by-class",
            help="Hold --coverage in every class by itself; sets of small classes grow.",
        ),
    ] = False,
    unknown_share: Annotated[
        float, typer.Option(callback=a_share, help="Known cells that may be called unknown.")
    ] = 0.01,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Calibrate answers with flips and turns, too, for predict --tta; slow."),
    ] = False,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a bundle of one run, or of an ensemble of runs."""
    from hemoscope.ensemble.members import assemble
    from hemoscope.files import refuse_existing
    from hemoscope.packing.calibrate import Goals
    from hemoscope.packing.pack import Voting, pack
    from hemoscope.runs import Run
    from hemoscope.sweep.storage import runs_at

    on_this_machine(device)
    refuse_existing(out, overwrite=overwrite)
    result = assemble(runs_at(runs), members=members, how=vote.value, leave_half=True)
    for item in result.left_out:
        note(f"left out: {item.name}: {item.reason}")
    if result.ensemble is None and len(result.entries) > 1:
        note(f"no ensemble: {result.no_ensemble}")
    with progress() as tell:
        card = pack(
            [Run.open(entry.path) for entry in result.voters],
            out,
            voting=Voting(vote.value, result.chosen, result.by_half),
            data=data,
            tta=tta,
            device_name=device,
            goals=Goals(error_rate, coverage, unknown_share, by_class),
            overwrite=overwrite,
            progress=tell,
        )
    if card.calibration.unknown_above is None:
        stored = str(card.calibration.measured["answers"]).startswith("those the runs stored")
        n = card.calibration.n_val
        why = (
            "the images of the runs were not at hand (--data DIR)"
            if stored
            else f"{n} validation images are too few"
            if n != 1
            else "1 validation image is too few"
        )
        note(f"{why}: this bundle calls nothing unknown")
    if as_json:
        print_json({"bundle": out, **card.model_dump()})
    else:
        typer.echo(str(out))


@bundle_app.command("show")
def show(bundle: BundleFile, *, as_json: JsonFlag = False) -> None:
    """Say what a bundle is: its networks, scores and thresholds, what they were measured on, its limits."""
    from hemoscope.bundle.file import read_bundle

    read = read_bundle(bundle)
    if as_json:
        print_json({"bundle": bundle, "digest": read.digest, **read.card.model_dump()})
    else:
        metadata, end, text = read.readme.partition("\n---\n")
        typer.echo(printable(text if end else metadata).strip())
        note(f"digest {read.digest}")


@bundle_app.command("verify")
def verify(
    bundle: BundleFile,
    *,
    device: DeviceName = "cpu",
    as_json: JsonFlag = False,
) -> None:
    """Check a bundle whole: every digest, every tensor, and its answers to its own drawn cells."""
    from hemoscope.bundle.file import read_bundle
    from hemoscope.packing.selftest import TOLERANCE
    from hemoscope.packing.selftest import verify as check

    read = read_bundle(bundle)
    worst = check(read, device_name=device)
    if as_json:
        print_json(
            {"bundle": bundle, "digest": read.digest, "largest_difference": worst, "tolerance": TOLERANCE}
        )
    else:
        typer.echo(f"{bundle} is whole: its {len(read.cells)} cells are answered to within {worst:.1g}")
