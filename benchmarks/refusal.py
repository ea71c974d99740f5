"""What tells best that an image is none of the known cells: energy, or distance to the nearest cell?

    uv run python benchmarks/refusal.py --run runs/squeezenet1_1-... --data data/pbc
    uv run python benchmarks/refusal.py --run RUN-WITHOUT-A-CLASS --data DIR-WITHOUT-IT --left-out DIR/CLASS

Known: the run's test cells. Unknown: background, red cells only, noise, photographs, and the class left
out. Thresholds call 1 % of the validation cells unknown. It also measures what averaging over eight
flips and turns gains and costs. Results go to --out as JSON and Markdown.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from measure import machine
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from hemoscope.bundle.known import choose, distances
from hemoscope.bundle.known import left_out as but_itself
from hemoscope.data.images.decode import decode
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.refusal import unknown_threshold
from hemoscope.packing.strangers import strangers
from hemoscope.predict.network import Network, load_run
from hemoscope.predict.stream import predict_pixels, views_of
from hemoscope.runs import Run

Pixels = NDArray[np.uint8]
N_EACH = 300


def ask(network: Network, images: Iterable[Path | Pixels]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies, shape (N,), and features of length 1, shape (N, F)."""
    energy, kept = [], []
    source = iter(images)
    while chunk := list(islice(source, 64)):
        pixels = [decode(image).pixels if isinstance(image, Path) else image for image in chunk]
        views = np.stack([views_of([network], image)[0] for image in pixels])
        logits, features = network.ask(torch.from_numpy(views))
        energy.append(-logits.logsumexp(dim=1))
        kept.append(features)
    return torch.cat(energy), torch.cat(kept)


def unknown_images(cells: list[Path], rng: np.random.Generator) -> Iterator[tuple[str, list[Pixels]]]:
    """Yield kinds of images without a known cell, made of real cells' surroundings where they can be."""
    made: dict[str, list[Pixels]] = {}
    for kind, image in strangers((decode(path).pixels for path in cells), rng):
        made.setdefault(kind, []).append(image)
    yield "empty background", made["background"]
    yield "red cells only", made["corner"]
    yield "noise", made["noise"]
    photographs = []
    for photograph in load_sample_images().images * (N_EACH // 2):
        side = int(rng.integers(200, 400))
        y, x = (int(rng.integers(0, size - side)) for size in photograph.shape[:2])
        photographs.append(np.ascontiguousarray(photograph[y : y + side, x : x + side]))
    yield "photographs", photographs


def measure_refusal(run: Run, data: Path, left_out: Path | None) -> dict:
    """Return, for every kind of unknown image, AUROC and the share called unknown by either score."""
    rng = np.random.default_rng(0)
    sides = {side: [data / p for p in run.predictions(side).paths] for side in ("val", "test")}
    network = load_run(run, device_name="cpu")

    def some(paths: list[Path], n: int) -> list[Path]:
        return [paths[i] for i in rng.choice(len(paths), min(n, len(paths)), replace=False)]

    val_energy, val = ask(network, sides["val"])
    rows = choose(run.predictions("val").target)
    bank = val[rows]

    def scores(images: Iterable[Path | Pixels]) -> dict[str, NDArray[np.float32]]:
        energy, features = ask(network, images)
        return {"energy": energy.numpy(), "nearest cell": distances(features, bank).numpy()}

    nearest = distances(val, bank)
    nearest[rows] = but_itself(val[rows], bank)
    known = {"energy": val_energy, "nearest cell": nearest}
    limits = {name: unknown_threshold(s.double().numpy(), share=0.01) for name, s in known.items()}
    test = scores(sides["test"])
    kinds = list(unknown_images(some(sides["test"], N_EACH), rng))
    if left_out:
        kinds.append((f"class left out: {left_out.name}", some(sorted(left_out.glob("*.jpg")), 1000)))  # type: ignore[arg-type]
    found_rows = []
    for kind, images in [("test cells", None), *kinds]:
        found = test if images is None else scores(images)
        row: dict[str, object] = {"images": kind, "n": len(found["energy"])}
        for name, values in found.items():
            labels = np.repeat([0, 1], [len(test[name]), len(values)])
            called = int((values > limits[name]).sum())
            row[name] = {
                "auroc": None if images is None else float(roc_auc_score(labels, np.r_[test[name], values])),
                "called_unknown": called / len(values),
                "ci": [float(b) for b in wilson(called, len(values))],
            }
        found_rows.append(row)
    return {"rows": found_rows, "bank": len(bank), "limits": limits}


def measure_tta(run: Run, data: Path) -> dict:
    """Return errors on the test side with and without averaging over flips and turns, and its cost."""
    network = load_run(run, device_name="cpu")
    test = run.predictions("test")
    views = [views_of([network], decode(data / path).pixels)[0] for path in test.paths]
    errors, seconds, said = {}, {}, {}
    for name, tta in (("plain", False), ("eight", True)):
        began = time.perf_counter()
        probs = [
            predict_pixels(network, np.stack(views[i : i + 64]), tta=tta)[0] for i in range(0, len(views), 64)
        ]
        seconds[name] = time.perf_counter() - began
        said[name] = np.concatenate(probs).argmax(axis=1)
        errors[name] = int((said[name] != test.target).sum())
    right = {name: pred == test.target for name, pred in said.items()}
    return {
        "n": len(views),
        "errors": errors,
        "only_eight_right": int((right["eight"] & ~right["plain"]).sum()),
        "only_plain_right": int((right["plain"] & ~right["eight"]).sum()),
        "cost": seconds["eight"] / seconds["plain"],
    }


def table(result: dict) -> str:
    """Return the result as Markdown."""
    lines = [
        (
            f"{result['run']}: share called unknown where 1 % of the validation cells are, with Wilson's 95 % interval; "
            "AUROC against the test cells."
        ),
        "",
        "| images | n | energy: called unknown | AUROC | nearest cell: called unknown | AUROC |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        cells = []
        for name in ("energy", "nearest cell"):
            part = row[name]
            low, high = (100 * b for b in part["ci"])
            auroc = "" if part["auroc"] is None else f"{part['auroc']:.4f}"
            cells += [f"{100 * part['called_unknown']:.1f} % ({low:.1f} to {high:.1f})", auroc]
        lines.append(f"| {row['images']} | {row['n']:,} | " + " | ".join(cells) + " |")
    if tta := result.get("tta"):
        lines += [
            "",
            (
                f"Eight flips and turns: {tta['errors']['eight']} errors in {tta['n']:,} test images instead of "
                f"{tta['errors']['plain']}; {tta['only_eight_right']} are right only with them, {tta['only_plain_right']} "
                f"only without. Cost: {tta['cost']:.1f} times the network's time."
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--left-out", type=Path)
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    args = parser.parse_args()
    run = Run.open(args.run)
    result = {"run": run.name, "machine": machine(), **measure_refusal(run, args.data, args.left_out)}
    if args.tta:
        result["tta"] = measure_tta(run, args.data)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
