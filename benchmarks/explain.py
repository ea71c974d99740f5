"""Does a heatmap say anything? Drawn cells beside the middle tell, for their place is known; all 27 architectures.

    uv run python benchmarks/explain.py --out docs/results/2026-11-explain/drawn-cells
    uv run python benchmarks/explain.py --out … --arch resnet18,vgg11      # these only; what is done is kept

Each network is trained on drawn cells of three classes that differ inside the cell alone and never lie in
the middle, from ImageNet weights where they are on this machine, else from scratch. Grad-CAM then explains
held-out cells that it gets right. Reported are what `hemoscope explain` reports, and, as the place is known,
the chance that a pixel of the cell is hotter than one beside it; both for the map, for a blob in the middle,
for the maps of other cells of its class, and for the map of the network with random weights.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from measure import machine, table
from PIL import Image
from scipy.stats import rankdata

from hemoscope.data.synthetic.scene import draw_with_mask
from hemoscope.errors import HemoscopeError
from hemoscope.explain.gradcam import explain_pixels, randomised
from hemoscope.explain.nulls import MARGIN, NULLS, blobs, claims, examine
from hemoscope.explain.road import road
from hemoscope.models.registry import arch_names, parse_archs
from hemoscope.models.weights import find
from hemoscope.predict.network import load_run
from hemoscope.predict.stream import predict_pixels
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job

CLASSES = ("eosinophil", "lymphocyte", "neutrophil")
PER_CLASS, HELD_OUT = 200, 8
IMAGE_PX = 128
AWAY = (0.22, 0.28)  # of the side: how far a cell's middle lies from the image's; its radius is about 0.22
FEWEST = 10  # right answers, of 24, below which nothing is said of a network's maps


def draw(name: str, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a drawn cell that lies beside the middle, shape (side, side, 3), and its mask."""
    wide = round(1.25 * side)
    scene, mask = draw_with_mask(name, size_px=wide, rng=rng)
    angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(*AWAY) * side
    margin = (wide - side) / 2
    matrix = np.array([[1, 0, margin - away * math.cos(angle)], [0, 1, margin - away * math.sin(angle)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(scene, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    shown = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, (side, side), flags=flags)
    return image, shown > 127


def start_of(arch: str) -> tuple[Literal["imagenet", "none"], float, int]:
    """Return ImageNet weights if they are here, a rate at which the network lives, and epochs."""
    if find(arch):
        # With the weights at hand SqueezeNet 1.0 dies at the paper's rate: docs/results/2026-11-pbc-cpu.
        slower = {"squeezenet1_0": 0.00003, "squeezenet1_1": 0.0003}
        return "imagenet", slower.get(arch, 0.001), 2
    return "none", 0.003 if arch.startswith(("alexnet", "squeezenet", "vgg")) else 0.01, 4


def measure_arch(arch: str, folder: Path) -> dict:
    """Train one network and return what its heatmaps are worth."""
    side = 299 if arch == "inception_v3" else IMAGE_PX  # its auxiliary head needs a larger map
    cells = folder / str(side)
    if not cells.exists():
        for name in CLASSES:
            (cells / name).mkdir(parents=True)
            for i in range(PER_CLASS):
                image, _ = draw(name, side, np.random.default_rng([1, i]))
                Image.fromarray(image).save(cells / name / f"{i:03d}.png")
    weights, lr, epochs = start_of(arch)
    recipe = Recipe(
        weights=weights,
        lr=lr,
        epochs=epochs,
        image_px=side,
        canvas_px=side,
        batch_size=16,
        fill="edge",
        precision="fp32",
    )
    started = time.perf_counter()
    run = run_job(arch, recipe, prepare(cells), seed=0, out=folder / "runs", device_name="cpu")
    trained = time.perf_counter()
    network = load_run(run, device_name="cpu", precision="fp32")
    drawn = [draw(name, side, np.random.default_rng([2, i])) for name in run.classes for i in range(HELD_OUT)]
    pixels, masks = (np.stack(part) for part in zip(*drawn, strict=True))
    truth = np.repeat(np.arange(len(run.classes)), HELD_OUT)
    right = predict_pixels(network, pixels)[0].argmax(axis=1) == truth
    row = {
        "arch": arch,
        "weights": weights,
        "lr": lr,
        "epochs": epochs,
        "n": int(right.sum()),
        "of": len(truth),
    }
    if row["n"] >= FEWEST:
        row |= judge(network, arch, pixels[right], masks[right], truth[right])
    spent = {"train_s": trained - started, "explain_s": time.perf_counter() - trained}
    return {**row, **{name: round(value, 1) for name, value in spent.items()}}


def judge(network, arch: str, pixels: np.ndarray, masks: np.ndarray, truth: np.ndarray) -> dict:
    """Return what the maps of cells, shape (N, S, S, 3), are worth."""
    maps = explain_pixels(network, arch, pixels, truth)
    random_maps = explain_pixels(randomised(network, arch, seed=1), arch, pixels, truth)
    centre = blobs(pixels.shape[1])[0]
    trials, moved, inside = [], 0, []
    for i, c in enumerate(truth):
        rng = np.random.default_rng([0, i])
        same = [j for j in np.flatnonzero(truth == c) if j != i] or [j for j in range(len(truth)) if j != i]
        others = [maps[j] for j in rng.permutation(same)[:2]]
        trial = examine(network, pixels[i], maps[i], random_maps[i], others, int(c), rng=rng)
        trials.append(trial)
        step = np.round(rng.uniform(-0.05, 0.05, 2) * len(centre)).astype(int)
        (nudged,) = road(network, pixels[i], np.roll(centre, step, (0, 1))[None], int(c), rng=rng)
        moved += nudged > max(trial.blob, 0) + MARGIN
        found = [maps[i], centre, np.mean(others, axis=0), random_maps[i]]
        inside.append([_auc(heat, masks[i]) for heat in found])
    names = ("map", *NULLS)
    return {
        "empty_maps": int((np.ptp(maps, axis=(1, 2)) == 0).sum()),
        "cell_area": float(masks.mean()),
        "on_cell": dict(zip(names, np.mean(inside, axis=0).tolist(), strict=True)),
        "score": {n: _mean(getattr(t, "score" if n == "map" else n) for t in trials) for n in names},
        "similarity": _mean(trial.similarity for trial in trials),
        "claims": [asdict(claim) for claim in claims(trials)],
        "more_than_all": sum(all(trial.more_than(null) for null in NULLS) for trial in trials),
        "moved_blob_more_than_blob": int(moved),
        "random_map_more_than_blob_and_other": sum(
            trial.randomised > max(trial.blob, trial.other, 0) + MARGIN for trial in trials
        ),
    }


def _auc(heat: np.ndarray, mask: np.ndarray) -> float:
    """Return the chance that a pixel of the cell is hotter than one beside it (Mann and Whitney's U)."""
    inside = mask.ravel()
    n, m = inside.sum(), (~inside).sum()
    return float((rankdata(heat.ravel())[inside].sum() - n * (n + 1) / 2) / (n * m))


def _mean(values) -> float | None:
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else None


HEAD = (
    "network",
    "start",
    "right",
    *("on cell: map", "blob", "other", "random"),
    *("score: map", "blob", "other", "random"),
    *("more than blob", "other", "random", "all three"),
    "similarity to random",
)


def markdown(result: dict) -> str:
    """Return the result as Markdown."""
    return table(HEAD, [_cells(row) for row in result["rows"]]) + "\n"


def _cells(row: dict) -> list[str]:
    right = row.get("failed") or f"{row['n']} of {row['of']}"
    start = [row["arch"], row.get("weights", ""), right]
    if "score" not in row:
        return [*start, *[""] * (len(HEAD) - len(start))]
    figures = [f"{row[key][name]:.2f}" for key in ("on_cell", "score") for name in ("map", *NULLS)]
    more = [f"{claim['more']}{'*' if claim['low'] > 0 else ''}" for claim in row["claims"]]
    alike = "" if row["similarity"] is None else f"{row['similarity']:.2f}"
    return [*start, *figures, *more, str(row["more_than_all"]), alike]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", default="all")
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    args = parser.parse_args()
    file = args.out.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {"rows": []}
    result |= {"machine": machine(), "image_px": IMAGE_PX}
    done = {row["arch"] for row in result["rows"]}
    with tempfile.TemporaryDirectory() as work:
        for row in parse_archs(args.arch):
            if row.name in done:
                continue
            try:
                found = measure_arch(row.name, Path(work))
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
