"""`hemoscope adapt`: a bundle that knows another laboratory's cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table
from hemoscope.cli.job import Changes
from hemoscope.cli.labelled import given_classes, tell_classes
from hemoscope.cli.options import DeviceName, ModelFile, Overwrite, on_this_machine
from hemoscope.cli.progress import progress

if TYPE_CHECKING:
    from hemoscope.adapt.adapt import Watch
    from hemoscope.adapt.cells import Cells
    from hemoscope.bundle.card import Adapted

__all__ = ["adapt"]

NAMED = 4  # classes of an epoch's line; the largest shares


def adapt(
    model: ModelFile,
    *,
    data: Annotated[str, typer.Option(help="Cells of one laboratory, unlabelled: a folder or an archive.")],
    out: Annotated[Path, typer.Option(help="The bundle to write, such as blood-here.hemo.")],
    labelled: Annotated[
        Path | None,
        typer.Option(help="Cells of the same laboratory in class folders; ten a class help much."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="MAP.toml",
            help="Which class of --labelled is which of the model's; written to fill in where there is none.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    changes: Changes = None,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Adapt a bundle to another laboratory's cells; where that is not to be trusted nothing is written, exit 1.

    Research software, not a medical device.
    """
    if classes and not labelled:
        raise typer.BadParameter("--classes needs --labelled", param_hint="--classes")
    on_this_machine(device)
    from hemoscope.adapt.adapt import adapt as run
    from hemoscope.adapt.adapt import work_folder
    from hemoscope.adapt.cells import gather
    from hemoscope.adapt.recipe import adapt_recipe
    from hemoscope.adapt.source import read_parent
    from hemoscope.adapt.trust import way_on
    from hemoscope.files import refuse_existing
    from hemoscope.predict.evaluate import scanned

    recipe = adapt_recipe(changes or (), with_labels=labelled is not None)
    refuse_existing(out, overwrite=overwrite)
    parent = read_parent(model)
    with progress() as tell:
        manifest = scanned(labelled, tell) if labelled else None
        given = given_classes(classes, manifest, parent.card.classes) if manifest else None
        cells = gather(
            data, parent.card.classes, labelled=manifest, given=given, most=recipe.most_cells, progress=tell
        )
        _tell_cells(cells)
        outcome = run(
            parent,
            cells,
            out,
            recipe=recipe,
            seed=seed,
            device_name=device,
            overwrite=overwrite,
            watch=_told(parent.card.classes),
            progress=tell,
        )
    card = outcome.card
    document = {
        "model": model,
        "out": out if card else None,
        "trusted": card is not None,
        "reasons": outcome.reasons,
        "signals": outcome.signals.to_json(),
        "shares": outcome.shares,
        "adapted": card.adapted.model_dump() if card and card.adapted else None,
    }
    if as_json:
        print_json(document)
    elif card and card.adapted:
        _print(card.adapted)
        typer.echo(str(out))
    if not card:
        note(
            f"hemoscope: not adapted, {out} was not written and {model} stays as it was: {'; '.join(outcome.reasons)}. "
            f"{way_on(outcome.signals, recipe)}".rstrip()
        )
        if work_folder(out).exists():
            note(
                f"What was learnt is kept in {work_folder(out)} for another try by other rules (--set); delete it if there is none"
            )
        raise typer.Exit(1)


def _tell_cells(cells: Cells) -> None:
    tell_classes(cells.class_map)
    told = [f"{len(cells.unlabelled):,} different cells without a label"]
    if len(cells.labelled):
        told.append(f"{len(cells.labelled):,} labelled")
    if cells.alike:
        told.append(f"{cells.alike:,} that are there twice or among the labelled ones were left out")
    if cells.left_out:
        told.append(f"{cells.left_out:,} said to be none of the model's classes were left out")
    if cells.more:
        told.append(f"{cells.more:,} more were not drawn")
    if cells.odd_sizes:
        low, high = cells.sides_px
        told.append(
            f"{cells.odd_sizes:,} are much smaller or larger than the others ({low} to {high} px) and are learnt from like these: "
            "leave out what is no single cell"
        )
    if cells.passed:
        told.append(cells.passed)
    note(", ".join(told))


def _told(classes: tuple[str, ...]) -> Watch:
    """Return what tells an epoch in a line."""

    def tell(what: str, told: object) -> None:
        from hemoscope.adapt.fit import EpochTold

        assert isinstance(told, EpochTold)  # noqa: S101
        largest = sorted(zip(told.shares.tolist(), classes, strict=True), reverse=True)[:NAMED]
        shares = ", ".join(f"{name} {100 * share:.0f} %" for share, name in largest)
        used = "" if told.used != told.used else f"learns from {100 * told.used:.0f} % of the cells, "
        note(
            f"{what}, epoch {told.epoch} of {told.epochs}: {used}{100 * told.kept:.0f} % answered as at first; {shares}"
        )

    return tell


def _print(adapted: Adapted) -> None:
    if adapted.shares:
        rows = [["class", "estimated share", "95 % of counting"]]
        for name, one in adapted.shares.items():
            rows.append([name, percent(one.share, 1), f"{percent(one.low, 1)} to {percent(one.high, 1)}"])
        print_table(rows, right=(1, 2))
    found = adapted.signals.get("labelled")
    if found is not None:
        typer.echo(
            f"balanced accuracy on {adapted.signals['labelled_cells']} labelled cells, answered without their own labels: {percent(found)}; "
            f"before {percent(adapted.signals['labelled_before'])} ({adapted.signals['labelled_won']} that were wrong are right, "
            f"{adapted.signals['labelled_lost']} the other way round)"
        )
    for line in adapted.known:
        note(line)
    note("Research software, not a medical device.")
