"""Does a heatmap lie on the cell? Drawn cells tell, for their place is known; all 27 architectures.

    uv run python benchmarks/explain.py --out docs/results/2026-11-explain/drawn-cells

Each network is trained on drawn cells of three classes that differ inside the cell alone, from
ImageNet weights where they are on this machine, else from scratch.
Then Grad-CAM explains held-out cells that it gets right. Reported: the share of the map's mass inside
the cell, beside the share of the image that the cell covers, which is what a map that knows nothing
would reach; and deletion and insertion, beside a random order. What is done is kept in --out.json, so
that a stopped measurement goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from measure import machine, table
from PIL import Image

from hemoscope.data.augment import view_affine, warp
from hemoscope.data.synthetic.scene import draw_with_mask
from hemoscope.errors import HemoscopeError
from hemoscope.inference.explain import explain_pixels, faithfulness
from hemoscope.inference.network import load_run
from hemoscope.models.registry import arch_names, parse_archs
from hemoscope.models.weights import find
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job

CLASSES = ("eosinophil", "lymphocyte", "neutrophil")
PER_CLASS = 100
HELD_OUT = 20  # a class
IMAGE_PX, CANVAS_PX = 128, 224  # a close look: the cell covers a quarter of the view


def draw(folder: Path, canvas_px: int) -> None:
    """Write the cells to learn from."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for i in range(PER_CLASS):
            image, _ = draw_with_mask(name, size_px=canvas_px, rng=np.random.default_rng([1, i]))
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")


def start_of(arch: str) -> tuple[Literal["imagenet", "none"], float]:
    """Return ImageNet weights if they are here, and a rate at which the network lives."""
    if find(arch):
        # With the weights at hand SqueezeNet 1.0 dies at the paper's rate: docs/results/2026-11-pbc-cpu.
        slower = {"squeezenet1_0": 0.00003, "squeezenet1_1": 0.0003}
        return "imagenet", slower.get(arch, 0.001)
    return "none", 0.003 if arch.startswith(("alexnet", "squeezenet", "vgg")) else 0.01


def measure_arch(arch: str, folder: Path, epochs: int) -> dict:
    """Train one network and return what its heatmaps are worth."""
    image_px, canvas_px = IMAGE_PX, CANVAS_PX
    if arch == "inception_v3":  # its auxiliary head needs a larger map
        image_px, canvas_px = 299, 523
    cells = folder / str(canvas_px)
    if not cells.exists():
        draw(cells, canvas_px)
    weights, lr = start_of(arch)
    recipe = Recipe(
        weights=weights,
        lr=lr,
        epochs=epochs,
        image_px=image_px,
        canvas_px=canvas_px,
        batch_size=16,
        fill="edge",
    )
    run = run_job(arch, recipe, prepare(cells), seed=0, out=folder / "runs", device_name="cpu")
    network = load_run(run, device_name="cpu", precision="fp32")
    matrix = view_affine(1, canvas_px=canvas_px, image_px=image_px, view=network.view)
    images, inside, target = [], [], []
    for c, name in enumerate(run.classes):
        for i in range(HELD_OUT):
            image, mask = draw_with_mask(name, size_px=canvas_px, rng=np.random.default_rng([2, i]))
            three = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
            view, shown = (warp(p[None], matrix, image_px=image_px, fill="edge")[0] for p in (image, three))
            images.append(view)
            inside.append(shown[..., 0] > 127)
            target.append(c)
    pixels, masks, truth = np.stack(images), np.stack(inside), np.array(target)
    probs = np.concatenate([_probs(network, pixels[i : i + 20]) for i in range(0, len(pixels), 20)])
    right = probs.argmax(axis=1) == truth
    row = {
        "arch": arch,
        "weights": weights,
        "lr": lr,
        "n": int(right.sum()),
        "of": len(truth),
    }
    if not right.any():
        return row
    pixels, masks, truth = pixels[right], masks[right], truth[right]
    parts = range(0, len(pixels), 20)
    maps = np.concatenate(
        [explain_pixels(network, arch, pixels[i : i + 20], truth[i : i + 20]) for i in parts]
    )
    mass = maps.sum(axis=(1, 2))
    lit = mass > 0
    share = (maps * masks).sum(axis=(1, 2))[lit] / mass[lit]
    area = masks.mean(axis=(1, 2))[lit]
    some = slice(None, None, max(1, len(pixels) // 15))
    faith = faithfulness(network, pixels[some], maps[some], truth[some], rng=np.random.default_rng(0))
    return {
        **row,
        "empty_maps": int((~lit).sum()),
        "mass_inside": float(share.mean()),
        "mass_inside_ci": _bootstrap(share),
        "area": float(area.mean()),
        "maps_beyond_area": float((share > area).mean()),
        **{name: float(getattr(faith, name).mean()) for name in faith.__slots__},
    }


def _probs(network, pixels):
    import torch

    return network.ask(torch.from_numpy(pixels))[0].softmax(dim=1).numpy()


def _bootstrap(values) -> list[float]:
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    return [float(b) for b in np.quantile(means, (0.025, 0.975))]


HEAD = (
    "network",
    "start",
    "right",
    "mass inside",
    "95 %",
    "cell's area",
    "deletion",
    "random",
    "insertion",
    "random",
)


def markdown(result: dict) -> str:
    """Return the result as Markdown."""
    return table(HEAD, [_cells(row) for row in result["rows"]]) + "\n"


def _cells(row: dict) -> list[str]:
    right = row.get("failed") or f"{row['n']} of {row['of']}"
    if "mass_inside" not in row:
        return [row["arch"], row.get("weights", ""), right, *[""] * 7]
    low, high = row["mass_inside_ci"]
    inside = [f"{row['mass_inside']:.2f}", f"{low:.2f} to {high:.2f}", f"{row['area']:.2f}"]
    figures = [row[k] for k in ("deletion", "random_deletion", "insertion", "random_insertion")]
    return [row["arch"], row["weights"], right, *inside, *(f"{f:.2f}" for f in figures)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", default="all")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    args = parser.parse_args()
    file = args.out.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {"rows": []}
    result |= {"machine": machine(), "epochs": args.epochs, "image_px": IMAGE_PX}
    done = {row["arch"] for row in result["rows"]}
    with tempfile.TemporaryDirectory() as work:
        for row in parse_archs(args.arch):
            if row.name in done:
                continue
            try:
                found = measure_arch(row.name, Path(work), args.epochs)
            except HemoscopeError as error:
                found = {"arch": row.name, "failed": str(error).split(";")[0][:120]}
            print(found, flush=True)
            result["rows"].append(found)
            file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    result["rows"].sort(key=lambda row: arch_names().index(row["arch"]))
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(markdown(result), "utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
