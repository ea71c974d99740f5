"""Training from a canvas larger than memory: images a second under a memory limit against those without one.

Usage: python benchmarks/beyond_memory.py --data DIR [--limit-gib 2] [--arch squeezenet1_1] [--repeats 3]

Linux, as root: the limit is a control group's, which counts the pages of files too. Before each run the system forgets the
canvas, so that both read it from the disk first. One epoch each, in turn; what counts is the speed of its steps.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure import headline, keep, machine, place, table

from hemoscope.places import cache_dir

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextmanager
def limited(n_bytes: int) -> Iterator[Path]:
    """Give the list of processes of a new control group that has so much memory."""
    above = V1 if V1.is_dir() else V2
    group = above / f"hemoscope-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if above == V1 else "memory.max")).write_text(str(n_bytes))
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def forget(folder: Path) -> int:
    """Take the canvases below a folder out of the system's memory; return the bytes of the largest."""
    sizes = [0]
    for path in folder.glob("*/pixels.npy"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        sizes.append(path.stat().st_size)
    return max(sizes)


def speed(words: list[str], group: Path | None) -> float:
    """Train one epoch in a process of its own, in the group where there is one; return its images a second."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "hemoscope", *words, "--out", out]
        if group:
            command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        (history,) = Path(out).glob("*/history.csv")
        with history.open(encoding="utf-8") as file:
            return float(next(csv.DictReader(file))["images_per_s"])


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit-gib", type=float, default=2.0)
    parser.add_argument("--arch", default="squeezenet1_1")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    about = machine()
    words = ["train", options.arch, "--data", str(options.data), "--epochs", "1"]
    found: dict[str, list[float]] = {"all of memory": [], "limited": []}
    canvas_bytes = 0
    with limited(int(options.limit_gib * 2**30)) as group:
        for _ in range(options.repeats):
            for name, where in (("all of memory", None), ("limited", group)):
                canvas_bytes = forget(cache_dir() / "canvas")
                found[name].append(speed(words, where))
                print(name, found[name][-1], file=sys.stderr, flush=True)
    free, bound = (np.array(found[name]) for name in found)
    ratios = bound / free
    row = [
        options.arch,
        f"{canvas_bytes / 2**30:.1f}",
        f"{options.limit_gib:g}",
        f"{np.median(free):.1f}",
        f"{np.median(bound):.1f}",
        f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
    ]
    head = ["network", "canvas, GiB", "memory, GiB", "images/s, all of it", "images/s, limited", "ratio"]
    text = "\n".join(
        [
            "# A canvas larger than memory",
            "",
            f"{headline(about)}.",
            f"Medians of {options.repeats} interleaved epochs of one process each, the canvas read from the disk.",
            "In brackets the smallest and largest ratio of one repeat.",
            "",
            table(head, [row]),
            "",
        ]
    )
    result = {
        "machine": about,
        "images_per_s": found,
        "canvas_bytes": canvas_bytes,
        "limit_gib": options.limit_gib,
    }
    keep(f"beyond_memory_{place(about)}", result, text)


if __name__ == "__main__":
    main()
