"""Cost against size: the time and memory of a training step must not grow with the number of images.

Usage: python benchmarks/size.py [--data DIR] [--arch squeezenet1_1] [--repeats 3]
"""

import argparse
import statistics
from pathlib import Path

from measure import headline, images, keep, machine, measure, place, table

SIZES = (1_000, 4_000, 17_000, 68_000)


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default="squeezenet1_1")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    about = machine()
    results: dict[int, list[dict]] = {size: [] for size in SIZES}
    with images(options.data) as data:
        n = measure("hemoscope_training", data, options.arch, 1)["canvas_images"]
        for _ in range(options.repeats):
            for size in SIZES:
                times = round(size / n)
                results[size].append(
                    measure("hemoscope_training", data, options.arch, 20, "end", about["precision"], times)
                )
    rows = [
        [
            f"{found[0]['canvas_images']:,}",
            f"{statistics.median(r['images_per_s'] for r in found):.1f}",
            f"{100 * statistics.median(r['data_share_of_step'] for r in found):.1f} %",
            f"{statistics.median(r['anonymous_mib'] for r in found):,.0f}",
        ]
        for found in results.values()
    ]
    head = ["images in the canvas", "images/s", "data plane, share of a step", "memory of the process, MiB"]
    text = "\n".join(
        [
            f"# Cost against size: training {options.arch}",
            "",
            f"{headline(about)}.",
            (
                f"Medians of {options.repeats} interleaved repeats of 20 batches of 32 in {about['precision']}, after a "
                "warm-up. The canvas is "
                "the same images over and over; its pages belong to the memory map, which the system may drop, and "
                "are not counted."
            ),
            "",
            table(head, rows),
        ]
    )
    keep(f"size_{place(about)}", {"machine": about, "options": vars(options), "results": results}, text)


if __name__ == "__main__":
    main()
