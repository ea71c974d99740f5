"""Start-up: the time of every verb's help, of the import, and of reading a report's 135 runs.

Usage: python benchmarks/startup.py [--repeats 7]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import headline, keep, machine, place, table

from hemoscope.files import write_json, write_text
from hemoscope.models.registry import arch_names
from hemoscope.paper import CLASSES
from hemoscope.records import Predictions
from hemoscope.runs import EpochRow, format_history, write_predictions

VERBS = (
    "",
    "demo",
    "data check",
    "models",
    "weights list",
    "train",
    "benchmark",
    "evaluate",
    "ensemble",
    "bundle",
    "predict",
    "explain",
    "export",
    "report",
)
SEEDS, VAL, TEST = 5, 4102, 2056


def seconds(command: list[str], repeats: int) -> float:
    """Return the median time of a command."""
    times = []
    for _ in range(repeats + 1):  # the first one warms the disk
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def write_runs(root: Path) -> None:
    """Write 27 x 5 runs of the paper's size with random predictions."""
    rng = np.random.default_rng(0)

    def side(n: int) -> Predictions:
        target = rng.integers(0, 8, n)
        probs = rng.dirichlet(np.ones(8), n)
        probs[np.arange(n), target] += 2
        probs /= probs.sum(axis=1, keepdims=True)
        paths = tuple(f"neutrophil/SNE_{i:06d}.jpg" for i in range(n))
        return Predictions(CLASSES, paths, target, probs, probs.argmax(axis=1))

    val, test = side(VAL), side(TEST)
    history = [EpochRow(e, 0.001, 0.1, 0.9, 0.1, 0.9, 100.0) for e in range(1, 26)]
    for arch in arch_names():
        for seed in range(SEEDS):
            folder = root / f"{arch}-paper-s{seed}-00000000"
            counts = {"train": {}, "val": {}, "test": {}}
            card = {
                "arch": arch,
                "seed": seed,
                "status": "done",
                "recipe": {"name": "paper"},
                "data": {"root": "pbc", "classes": CLASSES, "digest": "0" * 64, "counts": counts},
                "split": {"digest": "0" * 64, "policy": "paper", "seed": 0},
            }
            write_json(folder / "run.json", card)
            write_text(folder / "history.csv", format_history(history))
            write_predictions(folder / "predictions.parquet", {"val": val, "test": test})
            write_text(folder / "DONE", "")


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    python = [sys.executable, "-c"]
    found = {
        "python alone": seconds([*python, "pass"], options.repeats),
        "import hemoscope": seconds([*python, "import hemoscope"], options.repeats),
    }
    for verb in VERBS:
        command = [sys.executable, "-m", "hemoscope", *verb.split(), "--help"]
        found[f"hemoscope {verb} --help".replace("  ", " ")] = seconds(command, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder))
        code = f"from pathlib import Path; from hemoscope.report.collect import collect; collect(Path({folder!r}))"
        found["inputs of a report on 27 x 5 runs"] = seconds([*python, code], options.repeats)
    about = machine()
    text = "\n".join(
        [
            "# Start-up",
            "",
            f"{headline(about)}.",
            f"Medians of {options.repeats} repeats, whole processes.",
            "",
            table(["what", "seconds"], [[name, f"{value:.3f}"] for name, value in found.items()]),
        ]
    )
    keep(f"startup_{place(about)}", {"machine": about, "seconds": found}, text)


if __name__ == "__main__":
    main()
