"""Prediction from JPEG files to a CSV, images per second: hemoscope against four peers.

Contenders run interleaved, each in a process of its own; medians. A network is measured until it has
--repeats of them; those kept from an earlier call on this machine count.
Usage: python benchmarks/predict.py [--data DIR] [--arch A,B] [--repeats 3] [--times 2] [--anew]
"""

import argparse
from pathlib import Path

from measure import earlier, images, keep, machine, place, table
from rates import Results, intro, labels_of, medians, precisions, ratio, repeat, untold


def contenders(about: dict) -> dict[str, tuple[str, ...]]:
    """Return script and words of every contender, by a label that ends in its precision."""
    ours = {f"hemoscope {p}": ("hemoscope_prediction", p) for p in precisions(about)}
    openvino = {f"OpenVINO {p}": ("openvino_prediction", p) for p in precisions(about)}
    return {
        **ours,
        **(openvino if about["device"] == "cpu" else {}),  # it computes on no CUDA device
        f"torchvision {untold(about)}": ("plain_prediction",),
        f"timm {untold(about)}": ("timm_prediction",),
        "ONNX Runtime fp32": ("onnx_prediction",),
    }


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default="resnet18,squeezenet1_1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=2, help="how often every file is predicted")
    parser.add_argument("--anew", action="store_true", help="forget what was kept of these networks")
    options = parser.parse_args()
    about = machine()
    about["data"] = options.data.name if options.data else None
    name = f"predict_{place(about)}"
    results: Results = earlier(name, about)
    with images(options.data) as data:
        for arch in options.arch.split(","):
            found = results.pop(arch, {})
            results[arch] = found = {} if options.anew else found
            while min(map(len, found.values()), default=0) < options.repeats:
                repeat(found, contenders(about), data, arch, options.times)
                in_order = dict(sorted(results.items()))
                keep(name, {"machine": about, "results": in_order}, text(about, in_order))


def text(about: dict, results: Results) -> str:
    """Return the result as Markdown."""
    labels = labels_of(results)
    pairs = [(f"hemoscope {p}", f"OpenVINO {p}") for p in precisions(about)]
    pairs += [(f"hemoscope {p}", f"torchvision {untold(about)}") for p in precisions(about)]
    pairs += [("hemoscope fp32", "ONNX Runtime fp32")]
    pairs = [(a, b) for a, b in pairs if b in labels]
    rows = [
        [arch, *medians(found, labels), *(ratio(found, a, b) for a, b in pairs)]
        for arch, found in results.items()
    ]
    return "\n".join(
        [
            f"# Prediction on {place(about)}: images per second, from JPEG files to a CSV",
            "",
            *intro(about, results),
            "",
            table(["network", *labels, *(f"{a} / {b}" for a, b in pairs)], rows),
        ]
    )


if __name__ == "__main__":
    main()
