"""`hemoscope differential`: from one smear's images to its differential count on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.camera import at_camera
from hemoscope.cli.console import JsonFlag, note, print_json, print_table
from hemoscope.cli.options import DeviceName, ModelFile, Overwrite
from hemoscope.cli.progress import counted

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
    from datetime import datetime

    from hemoscope.data.camera import LOOKED_AT
    from hemoscope.differential.reference import read_reference
    from hemoscope.differential.smear import count_smear, free_folder
    from hemoscope.predict.inputs import Passed, count_images, find_images, from_everywhere, stdin_paths
    from hemoscope.predict.model import load
    from hemoscope.report.formats import interval, percent

    free_folder(out, overwrite=overwrite)
    reference = read_reference(ranges)
    listed = list(stdin_paths()) if "-" in inputs else []
    passed = Passed()
    images = find_images(inputs, lines=listed, passed=passed)
    total = count_images(inputs)
    asked = at_camera(load(model, device=device), from_everywhere(inputs, LOOKED_AT, lines=listed))
    try:
        with counted("cells", images, total) as each:
            smear = count_smear(
                out,
                asked,
                each,
                reference,
                again=lambda: find_images(inputs, lines=listed),
                title=title or _name_of(inputs[0]),
                date=datetime.now().astimezone().date().isoformat(),
                tta=tta,
                seed=seed,
                overwrite=overwrite,
            )
    finally:
        if passed.counts:
            note(passed.in_words())
    if as_json:
        print_json({"out": out, **smear.figures})
    else:
        rows = [["cells", "counted", "per 100 white", "95 %", "corrected", "95 %", "finding"]]
        for share in smear.found.shares:
            shown = (percent(share.per_white, 1), interval(share.sampling, 1))
            corrected = (percent(share.corrected, 1), interval(share.interval, 1))
            rows.append([share.label, str(share.counted), *shown, *corrected, share.finding])
        print_table(rows, right=(1, 2, 3, 4, 5))
        for remark in smear.found.remarks:
            note(remark.text)
        note("Research software, not a medical device.")
        typer.echo(str(smear.page))
    if smear.found.error:
        raise typer.Exit(1)


def _name_of(given: str) -> str:
    """Return what an input is called; a folder that is named by its place, as `.` is, by its own name.

    >>> _name_of("smears/17"), _name_of("-"), _name_of("/smears/17/slides/..")
    ('17', 'standard input', '17')
    """
    if given == "-":
        return "standard input"
    name = Path(given).name
    return name if name not in ("", "..") else Path(given).resolve().name or given
