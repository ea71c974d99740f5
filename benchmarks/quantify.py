"""Mixtures of known composition: how near the differential's posterior comes, beside QuaPy's EMQ and PACC.

    uv run --group bench python benchmarks/quantify.py --runs docs/results/2026-11-pbc-cpu/runs --out docs/results/2026-11-quantify/mixtures

Smears are drawn from a run's test cells by a known composition, class by class with replacement. `counted` takes
predictions as they are; `posterior` is the median of `hemoscope.differential.composition.composition`, which knows the
validation confusion; EMQ (Saerens et al. 2002) and PACC (Bella et al. 2010) see every cell's probabilities, PACC also
those of the validation cells. The error of a smear is the mean over the classes of the absolute difference from the
composition it was drawn from, in points.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
from measure import headline, machine, table

from hemoscope.differential.composition import composition
from hemoscope.differential.reference import read_reference
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.records import Predictions
from hemoscope.runs import Run, find_runs

peer = importlib.import_module("quapy.method.aggregative")  # of the group `bench`, which is not everywhere
SIZES = (200, 500)
SICK = {"neutrophil": 0.45, "ig": 0.15, "lymphocyte": 0.12, "monocyte": 0.1, "erythroblast": 0.1}


def compositions(run: Run, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what smears are made of, by name: shares of the classes, each summing to 1."""
    counts = run.card["data"]["counts"]["train"]
    sick = np.array([SICK.get(name, 0.08 / 3) for name in classes])
    return {
        "as in PBC": np.array([counts[name] for name in classes]) / sum(counts.values()),
        "even": np.full(len(classes), 1 / len(classes)),
        "blood": np.array(read_reference(None).shares(classes)),
        "left shift, erythroblasts": sick / sick.sum(),
    }


def estimates(
    val: Predictions, said: Predictions, trained: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the shares that every method gives a smear, and the posterior's 95 % intervals, shape (2, C)."""
    c = len(val.classes)
    counts = np.bincount(said.pred, minlength=c)
    drawn = composition(counts, confusion_matrix(val.target, val.pred, c))
    rates = peer.PACC.getPteCondEstim(np.arange(c), val.target, val.probs)
    pacc = peer.ACC.solve_adjustment(rates, said.probs.mean(axis=0), method="inversion", solver="minimize")
    middle = np.median(drawn, axis=0)
    found = {
        "counted": counts / len(said),
        "posterior": middle / middle.sum(),
        "EMQ": peer.EMQ.EM(trained.copy(), said.probs)[0],
        "PACC": np.clip(pacc, 0, None) / np.clip(pacc, 0, None).sum(),
    }
    return found, np.quantile(drawn, [0.025, 0.975], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    parser.add_argument("--times", type=int, default=100, help="smears of each kind")
    args = parser.parse_args()
    rows = []
    for run in find_runs(args.runs):
        val, test = run.predictions("val"), run.predictions("test")
        trained = compositions(run, val.classes)["as in PBC"]
        for name, shares in compositions(run, val.classes).items():
            for n in SIZES:
                rng = np.random.default_rng(n)
                errors: dict[str, list[float]] = {}
                held = []
                for _ in range(args.times):
                    wanted = rng.choice(len(shares), n, p=shares)
                    cells = [rng.choice(np.flatnonzero(test.target == c)) for c in wanted]
                    found, (low, high) = estimates(val, test.take(cells), trained)
                    for method, each in found.items():
                        errors.setdefault(method, []).append(100 * float(np.abs(each - shares).mean()))
                    some = shares > 0
                    held.append(float(((low <= shares) & (shares <= high))[some].mean()))
                mean = {method: float(np.mean(each)) for method, each in errors.items()}
                rows.append(
                    {
                        "run": run.name,
                        "composition": name,
                        "cells": n,
                        "error": mean,
                        "held": float(np.mean(held)),
                    }
                )
                print(rows[-1], flush=True)
    about = machine()
    head = ["network", "composition", "cells", *rows[0]["error"], "intervals that hold"]
    lines = [
        [
            r["run"].split("-")[0],
            r["composition"],
            r["cells"],
            *(f"{e:.2f}" for e in r["error"].values()),
            f"{100 * r['held']:.1f}",
        ]
        for r in rows
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(
        json.dumps({"machine": about, "times": args.times, "rows": rows}, indent=2) + "\n"
    )
    args.out.with_suffix(".md").write_text(f"{headline(about)}.\n\n{table(head, lines)}\n")


if __name__ == "__main__":
    main()
