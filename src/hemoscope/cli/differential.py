"""`hemoscope differential`: from one smear's images to its differential count on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, counted, note, print_json, print_table
from hemoscope.cli.options import DeviceName, ModelFile, Overwrite

__all__ = ["differential"]


def differential(
    model: ModelFile,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="The smear's cells: files, folders, patterns, archives."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the page, the cells and the figures.")] = Path(
        "differential"
    ),
    ranges: Annotated[
        Path | None, typer.Option(help="Your laboratory's roles and ranges, as TOML; default: adults.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Name of the smear; default: that of the first input.")
    ] = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over eight flips and turns; the bundle was made with --tta."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws behind the intervals.")] = 0,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Count the cells of one smear, with intervals for few cells and for the model's own errors.

    Research software, not a medical device.
    """
    from dataclasses import asdict
    from datetime import datetime

    from hemoscope.evaluation.reference import read_reference
    from hemoscope.inference.differential import count_cells, pixels_of
    from hemoscope.inference.inputs import Passed, count_images, find_images, stdin_paths
    from hemoscope.inference.model import load
    from hemoscope.inference.outputs import clear_parts, is_begun
    from hemoscope.report.differential import ModelFacts, write_differential
    from hemoscope.report.formats import interval, percent
    from hemoscope.runs import refuse_existing, write_json

    page, figures = out / "report.html", out / "differential.json"
    table = out / "cells.csv"
    if not is_begun(table):
        refuse_existing(page, figures, table, overwrite=overwrite)
    reference = read_reference(ranges)
    listed = list(stdin_paths()) if "-" in inputs else []
    passed = Passed()
    images = find_images(inputs, lines=listed, passed=passed)
    total = count_images(inputs)
    asked = load(model, device=device)
    trust = asked.trust(tta=tta)
    reference.of(asked.card.classes)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with counted("cells", images, total) as each:
            found, doubts = count_cells(
                table, asked, each, reference, tta=tta, seed=seed, overwrite=overwrite
            )
    finally:
        if passed.counts:
            note(passed.in_words())
    facts = ModelFacts(
        asked.card.name,
        asked.digest,
        tuple(member.arch for member in asked.card.members),
        sum(map(sum, trust.confusion)),
    )
    named = title or Path(inputs[0]).name or "standard input"
    values = {
        "title": named,
        "model": asdict(facts),
        "reference": reference.name,
        "seed": seed,
        **asdict(found),
    }
    pixels = pixels_of(find_images(inputs, lines=listed), [doubt.path for doubt in doubts])
    day = datetime.now().astimezone().date().isoformat()
    write_differential(page, found, reference, facts, title=named, date=day, doubts=doubts, pixels=pixels)
    write_json(figures, values)
    clear_parts(table)
    if as_json:
        print_json({"out": out, **values})
    else:
        rows = [["cells", "counted", "per 100 white", "95 %", "corrected", "95 %", "finding"]]
        for share in found.shares:
            shown = (percent(share.per_white, 1), interval(share.sampling, 1))
            corrected = (percent(share.corrected, 1), interval(share.interval, 1))
            rows.append([share.label, str(share.counted), *shown, *corrected, share.finding])
        print_table(rows, right=(1, 2, 3, 4, 5))
        for remark in found.remarks:
            note(remark)
        note("Research software, not a medical device.")
        typer.echo(str(page))
    if found.error:
        raise typer.Exit(1)
