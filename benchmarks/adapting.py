"""What adapting to a laboratory's cells gains, whether or not the check would trust it.

Usage: python benchmarks/adapting.py MODEL LAB [LAB …] [--seeds 0 1] [--labelled 10] [--views 4] [--out FILE.json]

MODEL is a run or a bundle, of which the first network is taken. Each LAB is a folder of class folders, named as the model's classes;
the names are looked at to score, and of the labelled cells that are drawn. Scored are all cells before, with new batch statistics and
after every seed, and with labelled cells the others. `--out` keeps the confusion of every state, rows true and columns answered.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import headline, machine, table

from hemoscope.adapt.assumed import lean_of, prior_of
from hemoscope.adapt.cells import gather
from hemoscope.adapt.fit import Lesson, fit, with_new_statistics
from hemoscope.adapt.look import canvases_of, look
from hemoscope.adapt.recipe import ADAPT, AdaptRecipe, adapt_recipe
from hemoscope.bundle.file import read_bundle
from hemoscope.data.camera import evenly
from hemoscope.evaluation.metrics import confusion_matrix
from hemoscope.predict.model import on_device
from hemoscope.predict.network import Network, at_camera, load_run
from hemoscope.records import FloatArray, IntArray
from hemoscope.runs import Run
from hemoscope.training.blood import lean

LEAST = 10  # cells: only classes that have as many are scored, but for accuracy


def network_of(path: Path) -> tuple[Network, FloatArray, FloatArray | None]:
    """Return the first network of a run or a bundle, the shares that it assumes, and what its logits lean by."""
    if path.is_dir():
        run = Run.open(path)
        recipe = {"in_blood": 0.0, **run.card["recipe"]}  # older runs lack it
        if recipe["sampler"] != "balanced":
            raise SystemExit(f"{path} is a run whose classes were not drawn alike; make a bundle of it")
        leant = lean(run.classes, recipe["in_blood"]) if recipe["in_blood"] else None
        return load_run(run), np.full(len(run.classes), 1 / len(run.classes)), leant
    bundle = read_bundle(path)
    network = on_device(bundle, "auto", "auto").networks[0]
    return network, prior_of(bundle.card, 0, network, ADAPT), lean_of(bundle.card, 0, network)


def scores(
    probs: FloatArray, target: IntArray, scored: list[int]
) -> tuple[list[str], dict[str, list[list[int]]]]:
    """Return accuracy and balanced accuracy with all classes open, the latter limited to those scored; and both confusions."""
    limited = np.full_like(probs, -1)
    limited[:, scored] = probs[:, scored]
    kept = {
        name: confusion_matrix(target, said.argmax(axis=1), probs.shape[1])
        for name, said in (("open", probs), ("limited", limited))
    }
    balanced = [np.mean([counts[c, c] / counts[c].sum() for c in scored]) for counts in kept.values()]
    accuracy = np.trace(kept["open"]) / len(target)
    return [f"{100 * value:.1f}" for value in (accuracy, *balanced)], {k: v.tolist() for k, v in kept.items()}


def states(
    lesson: Lesson, recipe: AdaptRecipe, seeds: list[int], *, with_labels: bool
) -> Iterator[tuple[str, Network]]:
    """Give the network before, with new statistics, and after every seed; with labels after every seed only."""
    if not with_labels:
        yield "before", lesson.network
        yield "new statistics", with_new_statistics(lesson, recipe)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            yield f"seed {seed}", fit(lesson, recipe, seed=seed, folder=Path(work), digest="0" * 64)


def of_lab(options: argparse.Namespace, lab: Path) -> tuple[list[list[str]], dict[str, object]]:
    """Adapt the model's first network to a laboratory; return a row a state, and what is kept."""
    trained, prior, leant = network_of(options.model)
    classes = trained.classes
    cells = gather(str(lab), classes, most=10**6)
    target = np.array([classes.index(Path(str(source)).parent.name) for source in cells.sources])
    least = max(LEAST, options.labelled + 1)  # some are left to score
    scored = [c for c in range(len(classes)) if (target == c).sum() >= least]
    network = at_camera([trained], evenly(cells.sources))[0]
    (canvas,) = canvases_of([network], cells.sources)
    rng = np.random.default_rng(options.draw)
    drawn = [rng.choice(np.flatnonzero(target == c), options.labelled, replace=False) for c in scored]
    labelled = np.sort(np.concatenate(drawn)) if options.labelled else np.zeros(0, np.int64)
    others = np.setdiff1d(np.arange(len(target)), labelled)
    lesson = Lesson(network, canvas, others, labelled, target[labelled], prior, classes, leant)
    recipe = adapt_recipe(with_labels=bool(options.labelled))
    rows, kept = [], {}
    for name, state in states(lesson, recipe, options.seeds, with_labels=bool(options.labelled)):
        said = look(state, canvas, others, views=options.views).mean_probs
        row, kept[name] = scores(said, target[others], scored)
        rows.append([lab.name, name, *row])
        print(*rows[-1], flush=True)
    return rows, {"scored": [classes[c] for c in scored], "labelled": len(labelled), "states": kept}


def main() -> None:
    """Adapt to every laboratory, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("labs", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--labelled", type=int, default=0, help="cells of each class that is scored")
    parser.add_argument("--draw", type=int, default=0, help="seed of their draw")
    parser.add_argument("--views", type=int, default=4, choices=(1, 4, 8))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {lab.name: of_lab(options, lab) for lab in options.labs}
    head = [
        "lab",
        "state",
        "accuracy, open",
        f"balanced over classes of {LEAST} cells, open",
        "limited to them",
    ]
    rows = [row for each, _ in found.values() for row in each]
    print(f"{headline(machine())}.\n\n{table(head, rows)}")
    if options.out:
        about = {
            "model": options.model.name,
            "seeds": options.seeds,
            "views": options.views,
            "draw": options.draw,
        }
        kept = {name: labs for name, (_, labs) in found.items()}
        options.out.write_text(
            json.dumps(about | {"machine": machine(), "labs": kept}, ensure_ascii=False) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
