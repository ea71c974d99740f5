"""Plant wrong labels among cells, train over folds, audit, and count how many of them are found and what else is doubted.

    uv run python benchmarks/planted_labels.py --data data/pbc --out docs/results/2026-11-labels/pbc
    uv run python benchmarks/planted_labels.py --runs docs/results/2026-11-pbc-cpu/runs --out docs/results/2026-11-labels/validation

A wrong label is a cell in the folder of another class, drawn with equal chance. Rate 0 says what is doubted where
nothing was planted. Exact duplicates whose labels contradict each other are among the cells wherever there are some.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from measure import headline, machine, table

from hemoscope.data.groups import content_groups
from hemoscope.data.synthetic import write_dataset
from hemoscope.evaluation.confident import confident_learning
from hemoscope.evaluation.intervals import wilson
from hemoscope.records import FloatArray, IntArray, Manifest
from hemoscope.suspects.audit import audit_labels
from hemoscope.suspects.gather import gather
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.plan import plan
from hemoscope.training.recipe import Recipe, load_recipe
from hemoscope.training.run import prepare
from hemoscope.training.scanned import scan_cached

RATES = (0.0, 0.01, 0.02, 0.05)
DRAWN_PX = 96


def chosen(manifest: Manifest, per_class: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Return the paths of cells of every class, and those of contradictory duplicates, which come on top."""
    groups = content_groups(manifest.images)
    single = [group[0] for group in groups if len(group) == 1]
    pairs = [image.path for group in groups if len({i.class_name for i in group}) > 1 for image in group]
    cells: list[str] = []
    for name in manifest.classes:
        own = [image.path for image in single if image.class_name == name]
        cells += [own[i] for i in rng.permutation(len(own))[:per_class].tolist()]
    return cells, pairs


def planted(cells: Sequence[str], classes: Sequence[str], rate: float, seed: int) -> dict[str, str]:
    """Return wrong classes of a share of the cells, by path; a higher rate plants all of a lower one, too."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(cells))
    turns = rng.integers(1, len(classes), len(cells))
    found = {}
    for i in map(int, order[: round(rate * len(cells))]):
        own = classes.index(PurePosixPath(cells[i]).parts[0])
        found[cells[i]] = classes[(own + int(turns[i])) % len(classes)]
    return found


def copied(root: Path, paths: Sequence[str], wrong: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Copy cells into a new folder of class folders, and return the paths there of those in a wrong one, by their class."""
    true: dict[str, str] = {}
    for path in paths:
        own, name = PurePosixPath(path).parts[0], path.replace("/", "_")  # no two alike in a folder
        to = f"{wrong.get(path, own)}/{name}"
        (folder / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, folder / to)
        if path in wrong:
            true[to] = own
    return true


def counted(probs: FloatArray, label: IntArray, truth: IntArray) -> dict[str, Any]:
    """Return what confident learning finds of the labels that are not the truth, and what it doubts beside them."""
    learnt, wrong = confident_learning(probs, label), label != truth
    found = learnt.suspects[wrong[learnt.suspects]]
    first = np.argsort(learnt.margin, kind="stable")[: wrong.sum()]
    pred = probs.argmax(axis=1)
    return {
        "n": len(label),
        "planted": int(wrong.sum()),
        "suspects": len(learnt.suspects),
        "found": len(found),
        "rightly_suggested": int((learnt.confident[found] == truth[found]).sum()),
        "found_in_the_first": int(wrong[first].sum()),
        "estimated_wrong": learnt.share,
        "right_by_label": float((pred == label).mean()),
        "right_by_truth": float((pred == truth).mean()),
    }


def into_validation(runs: Path, seed: int) -> list[dict[str, Any]]:
    """Plant among the validation labels of runs that are there: networks that learnt from right labels, the best case."""
    answers = gather(runs, side="val")
    rows = []
    for rate in RATES:
        rng = np.random.default_rng([seed, 1])
        order = rng.permutation(len(answers.paths))
        turns = rng.integers(1, len(answers.classes), len(answers.paths))
        wrong = order[: round(rate * len(order))]
        label = answers.target.copy()
        label[wrong] = (label[wrong] + turns[wrong]) % len(answers.classes)
        rows.append({"rate": rate, **counted(answers.probs, label, answers.target)})
    return rows


def over_folds(args: argparse.Namespace, recipe: Recipe) -> list[dict[str, Any]]:
    """Plant among cells, train over folds on what there is then, and audit, a rate after the other."""
    rows = []
    with tempfile.TemporaryDirectory() as work:
        root = args.data
        if root is None:
            root = Path(work) / "drawn"
            write_dataset(root, per_class=args.per_class, size_px=DRAWN_PX, seed=args.seed)
        manifest = scan_cached(root)
        cells, pairs = chosen(manifest, args.per_class, np.random.default_rng([args.seed, 0]))
        for rate in RATES:
            start = time.perf_counter()
            place = Path(work) / f"{rate}"
            wrong = planted(cells, manifest.classes, rate, args.seed)
            true = copied(root, [*cells, *pairs], wrong, place / "cells")
            prepared = prepare(place / "cells", folds=args.folds)
            outcomes = run_sweep(
                plan([args.arch], [args.seed], args.folds), recipe, prepared, out=place / "runs"
            )
            if failed := [outcome.reason for outcome in outcomes if outcome.run is None]:
                sys.exit("; ".join(failed))
            found = audit_labels(place / "runs")
            answers = found.answers
            truth = answers.target.copy()
            for i, path in enumerate(answers.paths):
                if path in true:
                    truth[i] = answers.classes.index(true[path])
            row = {"rate": rate, **counted(answers.probs, answers.target, truth)}
            row["contradictions"] = len(found.contradictions)
            rows.append({**row, "seconds": round(time.perf_counter() - start)})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of class folders; by default drawn cells")
    parser.add_argument("--runs", type=Path, help="plant among the validation labels of these runs instead")
    parser.add_argument("--per-class", type=int, default=250)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--arch", default="squeezenet1_1")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, args.set or ["image_px=96", "canvas_px=110"])
    about = machine()
    rows = into_validation(args.runs, args.seed) if args.runs else over_folds(args, recipe)
    how = {"arch": args.arch, "recipe": recipe.model_dump(), "folds": args.folds}
    document = {
        "machine": about,
        "data": args.data.name if args.data else None if args.runs else f"drawn, {DRAWN_PX} px",
        **({"runs": str(args.runs)} if args.runs else how),
        "seed": args.seed,
        "rows": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    text = f"{headline(about)}.\n\n{markdown(rows)}\n"
    args.out.with_suffix(".md").write_text(text, "utf-8")
    print(text)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line a rate."""
    head = ["planted", "cells", "suspects", "planted among them", "precision", "recall"]
    head += [
        "planted in the first as many",
        "estimated wrong",
        "right by label",
        "right by truth",
        "contradictions",
    ]
    lines = [
        [
            f"{100 * row['rate']:g} %: {row['planted']}",
            *(row[key] for key in ("n", "suspects", "found")),
            _share(int(row["found"]), int(row["suspects"])) if row["planted"] else "–",
            _share(int(row["found"]), int(row["planted"])),
            _share(int(row["found_in_the_first"]), int(row["planted"])),
            *(f"{100 * row[key]:.1f} %" for key in ("estimated_wrong", "right_by_label", "right_by_truth")),
            row.get("contradictions", "–"),
        ]
        for row in rows
    ]
    return table(head, lines)


def _share(hits: int, n: int) -> str:
    """Return a share in percent with its Wilson interval; a dash of nothing."""
    if not n:
        return "–"
    low, high = (100 * float(bound) for bound in wilson(hits, n))
    return f"{100 * hits / n:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
