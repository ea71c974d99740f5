"""`hemoscope export` and `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table, progress

__all__ = ["explain", "export"]

COMPARED = 64  # images

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle.")]


def export(
    model: ModelFile,
    *,
    out: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    int8: Annotated[
        Path | None, typer.Option(help="Also write this INT8 form; it needs --data, all images of its runs.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images to compare some of. With --int8 those of its runs: validation images set scales and thresholds, test images are counted."
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option("--split", help="The split of its runs, if they were given one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a bundle as ONNX that takes raw images, once it gives the same answers as the model."""
    from hemoscope.inference.bundle import read_bundle
    from hemoscope.inference.export import export as write
    from hemoscope.inference.labelled import decoded, sides_of, some_images

    if int8 and not data:
        raise typer.BadParameter("--int8 needs --data", param_hint="--int8")
    bundle = read_bundle(model)
    sides = sides_of(bundle.card, data, split) if data and int8 else {}
    if sides:
        images = [decoded(image) for image, _ in sides["val"][:: len(sides["val"]) // COMPARED + 1]]
    else:
        images = some_images(data, COMPARED) if data else []
    parity = write(bundle, out, images=images)
    result: dict[str, object] = {
        "onnx": out,
        "compared": parity.n,
        "largest_difference": parity.probs,
        "same_class": parity.same_pred,
    }
    note(f"{parity.n} images compared: probabilities differ by at most {parity.probs:.1g}")
    if int8:
        from dataclasses import asdict

        from hemoscope.inference.quantise import quantise

        with progress() as tell:
            done = quantise(bundle, out, int8, val=sides["val"], test=sides["test"], progress=tell)
        result["int8"] = {"file": int8, **asdict(done)}
        note(
            f"INT8: {_right(done.right_int8, done.n, done.int8_ci)} of {done.n:,} test images right, fp32 "
            f"{_right(done.right_fp32, done.n, done.fp32_ci)}; {done.mib_int8:.1f} MiB, fp32 {done.mib_fp32:.1f} MiB"
        )
        note(
            f"INT8 has thresholds of its own, of {done.n_val:,} validation images: it accepts "
            f"{done.measured['accepted']['count']:,} of the test images, "
            f"{done.measured['errors_among_accepted']['count']:,} of them wrong"
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(str(out))


def _right(hits: int, n: int, ci: tuple[float, float]) -> str:
    return f"{percent(hits / n)} ({hits:,}; {percent(ci[0])} to {percent(ci[1])})"


def explain(
    model: ModelFile,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, archives.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the heatmaps.")] = Path("explained"),
    seed: Annotated[
        int, typer.Option(min=0, help="Of the random order that a heatmap is compared with.")
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cuda, cuda:N, mps or cpu.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Show where a model looked (Grad-CAM), and whether that is what decided."""
    from hemoscope.inference.explained import explain_to
    from hemoscope.inference.inputs import find_images
    from hemoscope.inference.model import load

    named = list(find_images(images))
    asked = load(model, device=device, precision="fp32")
    with progress() as tell:
        rows = explain_to(out, asked, named, seed=seed, progress=tell)
    if as_json:
        print_json({"out": out, "images": rows})
        return
    head = ["image", "class", "deletion", "(random)", "insertion", "(random)"]
    keys = ("path", "pred", "deletion", "random_deletion", "insertion", "random_insertion")
    lines = [[f"{row[k]:.3f}" if isinstance(row[k], float) else str(row[k]) for k in keys] for row in rows]
    print_table([head, *lines], right=(2, 3, 4, 5))
    note("a true map has a lower deletion and a higher insertion than a random order")
    typer.echo(str(out))
