"""`hemoscope models` and `hemoscope weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_table
from hemoscope.cli.verbs import Verbs

__all__ = ["list_models", "weights_app"]

weights_app = Verbs(help="ImageNet weights: where they are, whether they are sound.", no_args_is_help=True)

ArchNames = Annotated[
    list[str] | None, typer.Argument(metavar="[ARCH]...", help="Architectures; none means all.")
]


def list_models(*, as_json: JsonFlag = False) -> None:
    """List the architectures: the paper's 27."""
    from hemoscope.models.registry import ARCHITECTURES
    from hemoscope.models.weights import status
    from hemoscope.paper import TABLE_4

    errors = {row.arch: row.top1_error for row in TABLE_4}
    rows = [
        {
            "arch": row.name,
            "params": row.params,
            "input_px": row.input_px,
            "canvas_px": row.canvas_px,
            "imagenet_top1_error": errors.get(row.name),
            "weights": status(row.name),
        }
        for row in ARCHITECTURES
    ]
    if as_json:
        print_json(rows)
        return
    head = ["architecture", "parameters", "input px", "ImageNet top-1 error (paper)", "weights"]
    cells = [
        [
            str(r["arch"]),
            f"{r['params']:,}",
            str(r["input_px"]),
            "n/a" if r["imagenet_top1_error"] is None else f"{r['imagenet_top1_error']:.2f} %",
            str(r["weights"]),
        ]
        for r in rows
    ]
    print_table([head, *cells], right=(1, 2, 3))


@weights_app.command("list")
def list_weights(*, as_json: JsonFlag = False) -> None:
    """Show which ImageNet weights are on this machine, and where."""
    from hemoscope.models.registry import ARCHITECTURES
    from hemoscope.models.weights import find, status, store_dir

    states = {row.name: status(row.name) for row in ARCHITECTURES}
    found = {name: None if state == "damaged" else find(name) for name, state in states.items()}
    rows = [
        {
            "arch": name,
            "weights": states[name],
            "path": weights.path if weights else None,
            "origin": weights.origin if weights else None,
            "note": weights.note if weights else None,
        }
        for name, weights in found.items()
    ]
    if as_json:
        print_json(rows)
        return
    cells = [[str(r["arch"]), str(r["weights"]), str(r["origin"] or ""), str(r["note"] or "")] for r in rows]
    print_table([["architecture", "weights", "origin", "note"], *cells])
    note(f"imported weights are kept in {store_dir()}")


@weights_app.command("fetch")
def fetch_weights(
    archs: ArchNames = None,
    *,
    mirror: Annotated[str | None, typer.Option(help="Base address to use instead of torchvision's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Download torchvision's IMAGENET1K_V1 weights, verified by digest; what is here is kept."""
    from hemoscope.cli.progress import byte_progress
    from hemoscope.errors import WeightsError
    from hemoscope.models.weights import fetch
    from hemoscope.transfer import TransferPolicy

    done, problems = [], []
    with byte_progress() as report:
        for name in _known(archs):
            # Without a network all 27 would be waited for, one after the other.
            policy = TransferPolicy(tries=1) if problems else TransferPolicy()
            try:
                done.append(fetch(name, mirror=mirror, progress=report, policy=policy))
            except WeightsError as error:
                problems.append(str(error))
    if as_json:
        print_json({"weights": [{"arch": w.arch, "path": w.path} for w in done], "problems": problems})
    else:
        for weights in done:
            typer.echo(f"{weights.arch}: {weights.path}")
    if problems:
        raise WeightsError("\n".join(problems))


@weights_app.command("verify")
def verify_weights(archs: ArchNames = None, *, as_json: JsonFlag = False) -> None:
    """Read the weights on this machine and compare their digests."""
    from hemoscope.errors import WeightsError
    from hemoscope.models.weights import find, verify

    rows = []
    for name in _known(archs):
        try:
            weights = find(name)
            if weights is None:
                if archs:
                    what = "absent; hemoscope weights fetch or import"
                    rows.append({"arch": name, "sound": False, "what": what})
                continue
            digest = verify(weights)
            if weights.sha256:
                rows.append({"arch": name, "sound": True, "what": f"sha256 {digest}"})
            else:
                what = f"sha256 {digest}, {weights.note}; hemoscope weights import FILE writes it down"
                rows.append({"arch": name, "sound": False, "what": what})
        except WeightsError as error:
            rows.append({"arch": name, "sound": False, "what": str(error)})
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            typer.echo(f"{row['arch']}: {'sound' if row['sound'] else 'NOT SOUND'}, {row['what']}")
    if not all(row["sound"] for row in rows):
        raise typer.Exit(1)


@weights_app.command("import")
def import_weights_command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Checkpoints, or folders of them.")
    ],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Take checkpoints (.pth, .safetensors, either with .xz) into the store, verified."""
    from hemoscope.models.weights_import import import_weights

    done = import_weights(sources)
    if as_json:
        print_json([{"arch": w.arch, "path": w.path, "sha256": w.sha256, "origin": w.origin} for w in done])
        return
    for weights in done:
        typer.echo(f"{weights.arch}: {weights.path}")


def _known(archs: list[str] | None) -> list[str]:
    from hemoscope.models.registry import arch_names, get_arch

    return [get_arch(name).name for name in archs] if archs else list(arch_names())
