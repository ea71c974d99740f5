"""Training, images per second end to end: hemoscope against three peers, and against its own ceiling.

Contenders run interleaved, each in a process of its own; medians. The ceiling is the same step on a
batch that already lies on the device. On CUDA where there is one, else on the CPU. Networks measured
on another day stay in the result, so that a long measurement can be done in pieces.
Usage: python benchmarks/train.py [--data DIR] [--arch A,B] [--repeats 3] [--batches 8]
"""

import argparse
import json
import statistics
from pathlib import Path

from measure import RESULTS, headline, images, keep, machine, measure, table

ARCHS = "alexnet,squeezenet1_1,mobilenet_v2,resnet18,resnet50,densenet121,vgg16,inception_v3"
LARGE = ("resnet50", "densenet121", "vgg16", "inception_v3")  # a quarter of the batches
CONTENDERS = {
    "hemoscope": ("hemoscope_training", "end", "auto"),
    "hemoscope fp32": ("hemoscope_training", "end", "fp32"),
    "ceiling": ("hemoscope_training", "ceiling", "auto"),
    "torchvision": ("plain_torchvision",),
    "timm": ("timm_loader",),
    "Lightning": ("lightning_trainer",),
}


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default=ARCHS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    options = parser.parse_args()
    about = machine()
    name = f"train_{about['device']}"
    results = earlier(name, about)
    with images(options.data) as data:
        for arch in options.arch.split(","):
            batches = max(1, options.batches // (4 if arch in LARGE else 1))
            found = results[arch] = {name: [] for name in CONTENDERS}
            for _ in range(options.repeats):
                for label, (contender, *words) in CONTENDERS.items():
                    found[label].append(measure(contender, data, arch, batches, *words))
    results = {arch: results[arch] for arch in ARCHS.split(",") if arch in results}
    rows = [row(arch, found) for arch, found in results.items()]
    head = [
        "network",
        *CONTENDERS,
        "against torchvision",
        "part of the ceiling",
        "data plane, share of a step",
    ]
    text = "\n".join(
        [
            f"# Training on {about['device']}: images per second",
            "",
            f"{headline(about)}.",
            (
                f"Medians of {options.repeats} interleaved repeats of {options.batches} batches of 32 (a quarter of them "
                f"for {', '.join(LARGE)}) after a warm-up; in brackets the smallest and largest ratio of one repeat. "
                f"hemoscope and its ceiling in {about['precision']}, the peers in fp32 as their users write it; "
                "`hemoscope fp32` shows what is left without that. Each contender in a process of its own."
            ),
            "",
            table(head, rows),
        ]
    )
    keep(name, {"machine": about, "options": vars(options), "results": results}, text)


def earlier(name: str, about: dict) -> dict[str, dict[str, list[dict]]]:
    """Return the networks measured before on this machine with these versions."""
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    ours = ("device_name", "cores", "versions")
    if any(before.get("machine", {}).get(key) != about[key] for key in ours):
        return {}
    return before["results"]


def row(arch: str, found: dict[str, list[dict]]) -> list[str]:
    """Return one line of the table."""
    rates = {name: [r["images_per_s"] for r in repeats] for name, repeats in found.items()}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    share = statistics.median(r["data_share_of_step"] for r in found["hemoscope"])
    return [
        arch,
        *(f"{value:.1f}" for value in medians.values()),
        ratio(rates["hemoscope"], rates["torchvision"]),
        ratio(rates["hemoscope"], rates["ceiling"]),
        f"{100 * share:.1f} %",
    ]


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Return the ratio of medians, and the range of the repeats' own ratios."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ours) / statistics.median(theirs):.2f} ({min(each):.2f} to {max(each):.2f})"


if __name__ == "__main__":
    main()
