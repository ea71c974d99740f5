"""Does the interval that shrinks with a review hold? Slides of known composition, reviewed by nobody, by half and wholly.

    uv run python benchmarks/review.py --runs docs/results/2026-11-pbc-cpu/runs --out docs/results/2026-11-review/coverage

Slides are drawn by a composition that is known: from a run's test cells, class by class with replacement, or as cells of
a drawn model, whose evidence of each class is normal and which is wrong on one cell in seven. Half of a slide is reviewed by
chance or the most doubtful first; a reader is never wrong. The figures are how many of a hundred 95 % intervals of a
class's cells for each white cell hold what the slide was drawn by, over all classes and in the worst class, and their
mean width in points. What is in the file already is left as it is. `all errors` is the same without
`hemoscope.review.unreviewed.shares_left`: as if the cells that nobody has looked at were as often wrong as all cells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measure import headline, machine, table

from hemoscope.differential.composition import Drawn, drawn
from hemoscope.differential.reference import read_reference
from hemoscope.evaluation.calibration import apply_temperature, fit_temperature
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.review.unreviewed import CHAINS, KEEP, SWEEPS, Sides, known, shares_left
from hemoscope.runs import Run, find_runs

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
SICK = {"neutrophil": 0.45, "ig": 0.15, "lymphocyte": 0.12, "monocyte": 0.1, "erythroblast": 0.1}
TRAINED = np.array([1218, 3117, 1551, 2895, 1214, 1420, 3329, 2348]) / 17092  # PBC
EVIDENCE = 2.6  # how far the drawn model's evidence of a class lies from that of the others
N_VAL = 2000
REVIEWS = (
    ("nobody", 0.0),
    ("by chance", 0.5),
    ("doubtful first", 0.5),
    ("doubtful first", 0.8),
    ("all", 1.0),
)

Cells = tuple[np.ndarray, np.ndarray, np.ndarray]  # target (N,), pred (N,), probs (N, C)
World = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, Cells]]


def drawn_model(sharpness: float) -> World:
    """Return what draws validation cells and a slide's cells of these classes; right probabilities have sharpness 1."""

    def cells(rng: np.random.Generator, target: np.ndarray) -> Cells:
        evidence = rng.normal(size=(len(target), len(CLASSES)))
        evidence[np.arange(len(target)), target] += EVIDENCE
        logits = EVIDENCE * evidence + np.log(TRAINED)
        probs = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
        return target, logits.argmax(axis=1), probs / probs.sum(axis=1, keepdims=True)

    def world(rng: np.random.Generator, target: np.ndarray) -> tuple[np.ndarray, Cells]:
        val = cells(rng, rng.choice(len(CLASSES), N_VAL, p=TRAINED))
        return confusion_matrix(val[0], val[1], len(CLASSES)), cells(rng, target)

    return world


def real_model(run: Run) -> World:
    """Return what draws a slide's cells from a run's test cells; its confusion is that of all validation cells."""
    val, test = run.predictions("val"), run.predictions("test")
    if val.classes != CLASSES:
        raise SystemExit(f"{run.name} knows the classes {val.classes}; expected {CLASSES}")
    temperature = fit_temperature(val.probs, val.target)
    probs = apply_temperature(test.probs, temperature)
    of_class = [np.flatnonzero(test.target == c) for c in range(len(CLASSES))]
    confusion = confusion_matrix(val.target, val.pred, len(CLASSES))

    def world(rng: np.random.Generator, target: np.ndarray) -> tuple[np.ndarray, Cells]:
        rows = np.array([rng.choice(of_class[c]) for c in target])
        return confusion, (test.target[rows], test.pred[rows], probs[rows])

    return world


def review(cells: Cells, how: str, share: float, rng: np.random.Generator) -> Sides:
    """Return a slide of which this share was reviewed."""
    target, pred, probs = cells
    n = len(target)
    two = np.sort(probs, axis=1)[:, -2:]
    order = np.argsort(two[:, 1] - two[:, 0]) if how == "doubtful first" else rng.permutation(n)
    reviewed = np.zeros(n, bool)
    reviewed[order[: round(share * n)]] = True
    return Sides(np.arange(n), pred, probs, np.ones(n, bool), reviewed, np.where(reviewed, target, -1))


def draw(sides: Sides, confusion: np.ndarray, left: np.ndarray | None) -> Drawn:
    unreviewed = np.bincount(sides.pred[sides.unreviewed], minlength=len(CLASSES))
    rest = {"draws": CHAINS, "sweeps": SWEEPS, "keep": KEEP}
    return drawn(unreviewed, confusion, known=known(sides), left=left, **rest)


def coverage(world: World, shares: np.ndarray, n: int, times: int) -> Iterator[dict]:
    """Yield a row a way of reviewing."""
    white = [i for i, entry in enumerate(read_reference().of(CLASSES)) if entry.role == "white"]
    truth, some = shares / shares[white].sum(), shares > 0
    held: dict[tuple, list[list[np.ndarray]]] = {}
    for time in range(times):
        rng = np.random.default_rng([n, time])
        confusion, cells = world(rng, rng.choice(len(shares), n, p=shares))
        for how, share in REVIEWS:
            sides = review(cells, how, share, rng)
            ways = {"": shares_left(sides, confusion), "all errors": None}
            for way, left in ways.items():
                ratio = draw(sides, confusion, left).shares
                ratio = ratio / ratio[:, white].sum(axis=1, keepdims=True)
                low, high = np.quantile(ratio, [0.025, 0.975], axis=0)
                both = held.setdefault((how, share, way), [[], []])
                both[0].append(((low <= truth) & (truth <= high))[some])
                both[1].append((high - low)[some])
                if (how, share) != ("doubtful first", 0.5):
                    break
    for (how, share, way), (inside, widths) in held.items():
        by_class = np.mean(inside, axis=0)
        yield {
            "reviewed": share,
            "how": how,
            "way": way,
            "held": 100 * float(by_class.mean()),
            "worst": 100 * float(by_class.min()),
            "width": 100 * float(np.mean(widths)),
        }


def write(out: Path, times: int, rows: list[dict]) -> None:
    about = machine()
    head = ["model", "composition", "cells", "reviewed", "", "hold", "worst class", "width"]
    lines = [
        [
            r["model"],
            r["composition"],
            r["cells"],
            f"{100 * r['reviewed']:.0f} %",
            ", ".join(filter(None, (r["how"], r["way"]))),
            f"{r['held']:.1f}",
            f"{r['worst']:.1f}",
            f"{r['width']:.1f}",
        ]
        for r in rows
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(
        json.dumps({"machine": about, "times": times, "rows": rows}, indent=2) + "\n"
    )
    out.with_suffix(".md").write_text(f"{headline(about)}.\n\n{table(head, lines)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    parser.add_argument("--times", type=int, default=1000, help="slides of each kind")
    args = parser.parse_args()
    blood = np.array(read_reference().shares(CLASSES))
    sick = np.array([SICK.get(name, 0.08 / 3) for name in CLASSES])
    worlds = {run.name.split("-")[0]: (real_model(run), 200) for run in find_runs(args.runs)}
    drawn_worlds = {"drawn": (drawn_model(1), 200), "drawn, many cells": (drawn_model(1), 1000)}
    sharp = {
        "drawn, twice too sharp": (drawn_model(2), 200),
        "drawn, many cells, twice too sharp": (drawn_model(2), 1000),
    }
    worlds = {**drawn_worlds, **worlds, **sharp}
    done = args.out.with_suffix(".json")
    rows = json.loads(done.read_text())["rows"] if done.is_file() else []
    for model, (world, n) in worlds.items():
        for name, shares in {"blood": blood, "left shift": sick / sick.sum()}.items():
            if any((row["model"], row["composition"]) == (model, name) for row in rows):
                continue
            for row in coverage(world, shares, n, args.times):
                rows.append({"model": model, "composition": name, "cells": n, **row})
                print(rows[-1], flush=True)
            write(args.out, args.times, rows)


if __name__ == "__main__":
    main()
