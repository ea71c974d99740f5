"""Prediction from JPEG files to a CSV, images per second: hemoscope against three peers.

Contenders run interleaved, each in a process of its own; medians.
Usage: python benchmarks/predict.py [--data DIR] [--arch A,B] [--repeats 3] [--times 2]
"""

import argparse
import statistics
from pathlib import Path

from measure import headline, images, keep, machine, measure, table
from train import ratio

CONTENDERS = {
    "hemoscope": ("hemoscope_prediction",),
    "hemoscope fp32": ("hemoscope_prediction", "fp32"),
    "torchvision": ("plain_prediction",),
    "timm": ("timm_prediction",),
    "ONNX Runtime": ("onnx_prediction",),
}


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default="resnet18,squeezenet1_1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=2, help="how often every file is predicted")
    options = parser.parse_args()
    results: dict[str, dict[str, list[dict]]] = {}
    with images(options.data) as data:
        for arch in options.arch.split(","):
            found = results.setdefault(arch, {name: [] for name in CONTENDERS})
            for _ in range(options.repeats):
                for name, (contender, *words) in CONTENDERS.items():
                    found[name].append(measure(contender, data, arch, options.times, *words))
    about = machine()
    rows = []
    for arch, found in results.items():
        rates = {name: [r["images_per_s"] for r in repeats] for name, repeats in found.items()}
        medians = [f"{statistics.median(values):.1f}" for values in rates.values()]
        rows.append([arch, *medians, ratio(rates["hemoscope"], rates["torchvision"])])
    text = "\n".join(
        [
            f"# Prediction on {about['device']}: images per second, from JPEG files to a CSV",
            "",
            f"{headline(about)}.",
            (
                f"Medians of {options.repeats} interleaved repeats; in brackets the smallest and largest ratio of one "
                f"repeat. hemoscope in {about['precision']}, the others in fp32. Each in a process of its own."
            ),
            "",
            table(["network", *CONTENDERS, "against torchvision"], rows),
        ]
    )
    keep(f"predict_{about['device']}", {"machine": about, "options": vars(options), "results": results}, text)


if __name__ == "__main__":
    main()
