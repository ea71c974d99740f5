"""What adapting to a laboratory's unlabelled cells gains, whether or not the check would trust it.

Usage: python benchmarks/adapting.py MODEL LAB [LAB …] [--seeds 0 1]

Each LAB is a folder of class folders, named as the model's classes; the names are looked at only to score. Scored are answers
averaged over eight views: before, with new batch statistics, and after every seed.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from measure import headline, machine, table

from hemoscope.adapt.assumed import lean_of, prior_of
from hemoscope.adapt.cells import gather
from hemoscope.adapt.fit import Lesson, fit, with_new_statistics
from hemoscope.adapt.look import canvases_of, look
from hemoscope.adapt.recipe import ADAPT
from hemoscope.bundle.file import read_bundle
from hemoscope.data.camera import evenly
from hemoscope.predict.model import on_device
from hemoscope.predict.network import at_camera
from hemoscope.records import FloatArray, IntArray

LEAST = 10  # cells: one more row counts only classes that have as many


def scores(probs: FloatArray, target: IntArray) -> list[str]:
    """Return accuracy, balanced accuracy with all classes open and limited to those there, and both of the larger classes."""
    found = [f"{100 * (probs.argmax(axis=1) == target).mean():.1f}"]
    for least in (1, LEAST):
        there = [c for c in np.unique(target) if (target == c).sum() >= least]
        limited = np.full_like(probs, -1)
        limited[:, there] = probs[:, there]
        for said in (probs, limited):
            pred = said.argmax(axis=1)
            found.append(f"{100 * np.mean([(pred[target == c] == c).mean() for c in there]):.1f}")
    return found


def of_lab(model: Path, lab: Path, seeds: list[int]) -> list[list[str]]:
    """Adapt the model's first network to a laboratory; return a row a state."""
    bundle = read_bundle(model)
    classes = bundle.card.classes
    cells = gather(str(lab), classes, most=10**6)
    target = np.array([classes.index(Path(str(source)).parent.name) for source in cells.sources])
    network = at_camera(on_device(bundle, "auto", "auto").networks, evenly(cells.sources))[0]
    (canvas,) = canvases_of([network], cells.sources)
    rows, none = np.arange(len(target)), np.zeros(0, np.int64)
    prior, lean = prior_of(bundle.card, 0, network, ADAPT), lean_of(bundle.card, 0)
    lesson = Lesson(network, canvas, cells.unlabelled, none, none, prior, classes, lean)
    states = {"before": network, "new statistics": with_new_statistics(lesson, ADAPT)}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            states[f"seed {seed}"] = fit(lesson, ADAPT, seed=seed, folder=Path(work), digest="0" * 64)
    said = {name: look(state, canvas, rows, views=8).mean_probs for name, state in states.items()}
    return [[lab.name, name, *scores(probs, target)] for name, probs in said.items()]


def main() -> None:
    """Adapt to every laboratory, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("labs", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    found = [row for lab in options.labs for row in of_lab(options.model, lab, options.seeds)]
    head = [
        "lab",
        "state",
        "accuracy",
        "balanced, open",
        "limited",
        f"of {LEAST} cells or more, open",
        "limited",
    ]
    print(f"{headline(machine())}.\n\n{table(head, found)}")


if __name__ == "__main__":
    main()
