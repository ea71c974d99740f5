"""`hemoscope export` and `explain`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemoscope.cli.camera import at_camera
from hemoscope.cli.console import JsonFlag, note, percent, print_json, print_table
from hemoscope.cli.options import DeviceName, ModelFile, Overwrite
from hemoscope.cli.progress import progress

if TYPE_CHECKING:
    from hemoscope.bundle.file import Bundle

__all__ = ["explain", "export"]

COMPARED = 64  # images


class Format(StrEnum):
    """What a bundle is written as."""

    onnx = "onnx"
    mlflow = "mlflow"


def export(
    model: ModelFile,
    *,
    out: Annotated[
        Path, typer.Option(help="The .onnx file to write; with --format mlflow a folder that is not there.")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="onnx, or mlflow: a folder for `mlflow models serve`.")
    ] = Format.onnx,
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
    camera: Annotated[
        Path | None,
        typer.Option(
            help="Images of the camera it will be asked about, a folder or an archive; for a model that frames cells by their nuclei."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a bundle as ONNX, which takes uint8 RGB of any size, or for MLflow, once it gives the answers of the bundle."""
    if form is Format.mlflow:
        given = {"--int8": int8, "--data": data, "--split": split, "--overwrite": overwrite}
        if wrong := [name for name, value in given.items() if value]:
            raise typer.BadParameter("goes with --format onnx only", param_hint=", ".join(wrong))
        _export_to_mlflow(model, out, camera=camera, as_json=as_json)
        return
    if int8 and int8.resolve() == out.resolve():
        raise typer.BadParameter("expected another file than --out", param_hint="--int8")
    from hemoscope.bundle.file import read_bundle
    from hemoscope.export.onnx import checked, need_packages
    from hemoscope.export.onnx import export as write_onnx
    from hemoscope.files import atomic_path, refuse_existing
    from hemoscope.packing.labelled import decoded, sides_of, some_images

    if int8 and camera:
        raise typer.BadParameter("is chosen on images of the runs; leave --camera out", param_hint="--int8")
    if split and not int8:
        raise typer.BadParameter("needs --int8", param_hint="--split")
    if int8 and not data:
        raise typer.BadParameter("--int8 needs --data", param_hint="--int8")
    need_packages()
    refuse_existing(*([out, int8] if int8 else [out]), overwrite=overwrite)
    bundle = read_bundle(model)
    bundle = bundle.at_nucleus(_nucleus_px(bundle, camera))
    sides = sides_of(bundle.card, data, split) if data and int8 else {}
    if sides:
        images = [decoded(image) for image, _ in sides["val"][:: len(sides["val"]) // COMPARED + 1]]
    else:
        images = some_images(data, COMPARED) if data else []
    done = None
    if int8:
        from hemoscope.export.int8 import quantised

        content, parity = checked(bundle, images)
        with progress() as tell:
            small, done = quantised(bundle, content, val=sides["val"], test=sides["test"], progress=tell)
        refuse_existing(out, int8, overwrite=overwrite)  # once more: minutes have passed
        with atomic_path(out) as part, atomic_path(int8) as other:  # both or none
            part.write_bytes(content)
            other.write_bytes(small)
    else:
        parity = write_onnx(bundle, out, images=images, overwrite=overwrite)
    result: dict[str, object] = {
        "onnx": out,
        "compared": parity.n,
        "largest_difference": parity.probs,
        "same_class": parity.same_pred,
        "nucleus_px": bundle.card.nucleus_px,
    }
    _tell_camera(bundle, camera)
    note(f"{parity.n} images compared: probabilities differ by at most {parity.probs:.1g}")
    if done:
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


def _nucleus_px(bundle: Bundle, camera: Path | None) -> float | None:
    """Return the diameter of the nuclei in images of a camera, in pixels; None where none is named."""
    if camera is None:
        return None
    from hemoscope.data.camera import LOOKED_AT, camera_px
    from hemoscope.errors import ConfigError
    from hemoscope.predict.inputs import from_everywhere

    if bundle.card.nucleus_px is None:
        raise ConfigError(
            f"{bundle.path} frames no cells by their nuclei: it takes images of every camera as they are; leave --camera out"
        )
    return camera_px(from_everywhere([str(camera)], LOOKED_AT), bundle.card.nucleus_px)


def _tell_camera(bundle: Bundle, camera: Path | None) -> None:
    if bundle.card.nucleus_px is not None:
        known = "in training" if bundle.card.adapted is None else "where it was adapted"
        where = f"as {known}; --camera names images of another camera" if camera is None else "as there"
        note(f"for images with nuclei of {bundle.card.nucleus_px:.0f} px, {where}")


def _export_to_mlflow(model: Path, out: Path, *, camera: Path | None, as_json: bool) -> None:
    from hemoscope.bundle.file import read_bundle
    from hemoscope.export.mlflow_model import save_mlflow_model

    bundle = read_bundle(model)
    bundle = bundle.at_nucleus(_nucleus_px(bundle, camera))
    compared, worst = save_mlflow_model(model, out, nucleus_px=bundle.card.nucleus_px)
    _tell_camera(bundle, camera)
    note(f"{compared} images compared: probabilities differ by at most {worst:.1g}")
    if as_json:
        told = {"mlflow": out, "compared": compared, "largest_difference": worst}
        print_json({**told, "nucleus_px": bundle.card.nucleus_px})
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
    seed: Annotated[int, typer.Option(min=0, help="Of random weights, other images, ties and noise.")] = 0,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Show where a model looked (Grad-CAM), and whether that says more than a map that knows nothing.

    Each heatmap is compared with a blob in the middle, with maps of other images (of the same predicted class
    if there are any), and with that of the same network with random weights. The score (ROAD) is the
    probability of the class with the coldest pixels replaced, less that with the hottest replaced: 56 forward
    passes an image and network.
    """
    from hemoscope.data.camera import evenly
    from hemoscope.errors import ImageError
    from hemoscope.explain.nulls import NULLS, claims
    from hemoscope.explain.write import explain_to, free_folder
    from hemoscope.predict.inputs import Passed, find_images
    from hemoscope.predict.model import load

    free_folder(out, overwrite=overwrite)
    passed = Passed()
    named = list(find_images(images, passed=passed))
    if passed.counts:
        note(passed.in_words())
    some = evenly([source for _, source in named if not isinstance(source, ImageError)])
    asked = at_camera(load(model, device=device, precision="fp32"), some)
    with progress() as tell:
        rows, trials = explain_to(out, asked, named, seed=seed, overwrite=overwrite, progress=tell)
    together = claims(trials)
    if as_json:
        print_json({"out": out, "images": rows, "together": [asdict(claim) for claim in together]})
        return
    keys = ("path", "pred", "score", *NULLS, "similarity", "verdict")
    lines = [[_figure(row[k]) for k in keys] for row in rows]
    print_table([["image", "class", *keys[2:]], *lines], right=(2, 3, 4, 5, 6))
    if len(named) == 1:
        note("there was no other image whose map this one could be compared with; give several")
    for claim in together if len(named) > 1 else ():
        note(claim.in_words())
    typer.echo(str(out))


def _figure(value: object) -> str:
    if isinstance(value, float):
        return "-" if isnan(value) else f"{value:.2f}"
    return str(value)
