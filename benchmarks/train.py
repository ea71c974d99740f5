"""Training, images per second end to end: hemoscope against four peers, and against its own ceiling.

Contenders run interleaved, each in a process of its own; medians. The ceiling is the same step on a
batch that already lies on the device. On CUDA where there is one, else on the CPU. A network is
measured until it has --repeats of them; those kept from an earlier call on this machine count, so that
a long measurement can be done in pieces.
Usage: python benchmarks/train.py [--data DIR] [--arch A,B] [--repeats 3] [--batches 8] [--anew]
"""

import argparse
import statistics
from pathlib import Path

from measure import earlier, images, keep, machine, place, table
from rates import Results, intro, labels_of, medians, precisions, ratio, repeat, untold

ARCHS = "alexnet,squeezenet1_1,mobilenet_v2,resnet18,resnet50,densenet121,vgg16,inception_v3"
LARGE = ("resnet50", "densenet121", "vgg16", "inception_v3")  # a quarter of the batches


def contenders(about: dict) -> dict[str, tuple[str, ...]]:
    """Return script and words of every contender, by a label that ends in its precision."""
    own = about["precision"]
    ours = {f"hemoscope {p}": ("hemoscope_training", "end", p) for p in precisions(about)}
    tuned = {f"tuned {p}": ("tuned_torchvision", p) for p in precisions(about)}
    return {
        **ours,
        f"ceiling {own}": ("hemoscope_training", "ceiling", own),
        **tuned,
        f"torchvision {untold(about)}": ("plain_torchvision",),
        f"timm {untold(about)}": ("timm_loader",),
        f"Lightning {untold(about)}": ("lightning_trainer",),
    }


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default=ARCHS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--anew", action="store_true", help="forget what was kept of these networks")
    options = parser.parse_args()
    about = machine()
    about["data"] = options.data.name if options.data else None
    name = f"train_{place(about)}"
    results: Results = earlier(name, about)
    with images(options.data) as data:
        for arch in options.arch.split(","):
            batches = max(1, options.batches // (4 if arch in LARGE else 1))
            found = results.pop(arch, {})
            results[arch] = found = {} if options.anew else found
            while min(map(len, found.values()), default=0) < options.repeats:
                repeat(found, contenders(about), data, arch, batches)
                in_order = {arch: results[arch] for arch in ARCHS.split(",") if arch in results}
                keep(name, {"machine": about, "results": in_order}, text(about, in_order))


def text(about: dict, results: Results) -> str:
    """Return the result as Markdown."""
    own = about["precision"]
    labels = labels_of(results)
    pairs = [(f"hemoscope {p}", f"tuned {p}") for p in precisions(about)]
    pairs += [(f"hemoscope {p}", f"torchvision {untold(about)}") for p in precisions(about)]
    pairs = [(a, b) for a, b in pairs if b in labels]
    head = [
        "network",
        "batches",
        *labels,
        *(f"{a} / {b}" for a, b in pairs),
        "part of the ceiling",
        "data plane, share of a step",
    ]
    rows = [
        [
            arch,
            ", ".join(sorted({str(r["batches"]) for records in found.values() for r in records})),
            *medians(found, labels),
            *(ratio(found, a, b) for a, b in pairs),
            ratio(found, f"hemoscope {own}", f"ceiling {own}"),
            f"{100 * statistics.median(r['data_share_of_step'] for r in found[f'hemoscope {own}']):.1f} %",
        ]
        for arch, found in results.items()
    ]
    return "\n".join(
        [
            f"# Training on {place(about)}: images per second",
            "",
            *intro(about, results),
            (
                "Batches are of 32 images, after a warm-up of 2. torchvision, timm and Lightning are written as "
                "their users write them; tuned is what a good engineer makes of the first; the ceiling is "
                "hemoscope's step on a batch that already lies in memory."
            ),
            "",
            table(head, rows),
        ]
    )


if __name__ == "__main__":
    main()
