"""Figures that follow from the predictions and cards of committed runs, both sides."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from hemoscope import paper
from hemoscope.differential.reference import read_reference
from hemoscope.ensemble.members import assemble
from hemoscope.ensemble.vote import How, vote
from hemoscope.evaluation.paired import mcnemar
from hemoscope.evaluation.prevalence import precision_at
from hemoscope.evaluation.summary import score
from hemoscope.records import Predictions
from hemoscope.runs import Run, find_runs
from tests.docs.figures.quoting import (
    RESULTS,
    interval,
    listed,
    minutes,
    percent,
    quoted_in,
    record,
    row,
)

PBC, FAST = RESULTS / "2026-11-pbc-cpu" / "runs", RESULTS / "2026-11-pbc-fast-cpu" / "runs"
BUNDLE = "docs/results/2026-11-bundle"


@functools.cache
def run(name: str) -> Run:
    """Return the committed run whose name begins so."""
    return next(r for r in [*find_runs(PBC), *find_runs(FAST)] if r.name.startswith(name))


def accuracy(predictions: Predictions) -> str:
    return f"{percent(1 - predictions.n_errors / len(predictions))} %"


def told(val: Predictions, test: Predictions) -> list[str]:
    return [
        accuracy(val),
        accuracy(test),
        f"{interval(len(test) - test.n_errors, len(test))} %",
        str(test.n_errors),
    ]


@quoted_in("docs/results/2026-11-acquisition/README.md")
def the_second_acquisition() -> Iterator[str]:
    (apart,) = find_runs(RESULTS / "2026-11-acquisition" / "runs")
    second, val = apart.predictions("test"), apart.predictions("val")
    mixed = run("squeezenet1_1-fast").predictions("test")
    there = mixed.take([i for i, path in enumerate(mixed.paths) if path in set(second.paths)])
    n, wrong = len(second), second.n_errors
    yield f"| {accuracy(val)} of {len(val):,}, first acquisition | {accuracy(run('squeezenet1_1-fast').predictions('val'))} of 4,102"
    yield f"**{accuracy(second)}** of {n} (Wilson 95 %: {interval(n - wrong, n)})"
    yield f"{accuracy(there)} of {len(there)} on its test side, {there.n_errors} wrong ({interval(len(there) - there.n_errors, len(there))})"
    scores = score(second)
    for name, images, value in zip(second.classes, scores.support, scores.sensitivity.value, strict=True):
        yield row(name, images, f"{percent(value)} %" if images else None)


@quoted_in("README.md", "docs/results/README.md")
def the_second_acquisition_in_one_figure() -> Iterator[str]:
    (apart,) = find_runs(RESULTS / "2026-11-acquisition" / "runs")
    yield accuracy(apart.predictions("test"))


@quoted_in("docs/results/2026-11-pbc-cpu/README.md")
def scores_on_the_complete_set() -> Iterator[str]:
    runs = sorted(find_runs(PBC), key=lambda r: (r.predictions("test").n_errors, r.card["recipe"]["epochs"]))
    rows = [
        row(r.arch, r.card["recipe"]["epochs"], *told(r.predictions("val"), r.predictions("test")))
        for r in runs
    ]
    hows: tuple[How, ...] = ("majority", "soft")
    for how in hows:
        members = assemble(PBC, how=how).voters
        both = [vote([getattr(m, side) for m in members], how=how) for side in ("val", "test")]
        rows.append(
            row(f"ensemble of {len(members)}, {how} vote", " ", *told(*both)).replace("|   |", "|  |")
        )
    yield "|---|---:|---:|---:|---:|---:| " + " ".join(rows)


@quoted_in(
    "README.md", "docs/results/2026-11-pbc-cpu/README.md", "docs/results/2026-11-pbc-fast-cpu/README.md"
)
def sides_of_the_complete_set() -> Iterator[str]:
    sides = [sum(run("resnet18").card["data"]["counts"][side].values()) for side in ("train", "val", "test")]
    assert sum(sides) == paper.N_IMAGES
    yield f"({' / '.join(f'{n:,}' for n in sides)} images"


@quoted_in("README.md", "docs/limits.md")
def images_of_the_second_acquisition() -> Iterator[str]:
    card = record("docs/results/2026-11-past/runs/mobilenet_v2-best-s0-61f66edd/run.json")
    yield f"{sum(card['data']['second_acquisition'].values())} of its images come from a second acquisition"


@quoted_in("README.md")
def precision_in_blood() -> Iterator[str]:
    first = next(one for one in find_runs(RESULTS / "2026-11-past" / "runs") if one.arch == "mobilenet_v2")
    scores = score(first.predictions("test"))
    ig = scores.classes.index("ig")
    found = precision_at(scores.confusion, read_reference().shares(scores.classes))[ig]
    low, high, there = (percent(share, 0) for share in (found.low, found.high, found.value))
    here = percent(float(scores.precision.value[ig]), 0)
    yield f"precision for `ig` is {there} % (95 % interval {low} to {high} %), not {here} %"


@quoted_in("docs/results/2026-11-pbc-cpu/README.md")
def what_the_paper_reports() -> Iterator[str]:
    names = {"squeezenet1_1": "SqueezeNet 1.1", "mobilenet_v2": "MobileNet v2", "resnet18": "ResNet-18"}
    shown = [f"{percent(reported(arch))} % for {name}" for arch, name in names.items()]
    best = percent(1 - paper.ENSEMBLE_ERRORS / paper.N_TEST)
    yield f"The paper reports {listed(shown)}, each after {paper.RECIPE.epochs} epochs, and {best} % for its ensemble"
    yield f"the paper reports {percent(reported('squeezenet1_0'))} % with them"


def reported(arch: str) -> float:
    found = paper.classwise_accuracy(arch)
    assert found
    return found.overall


@quoted_in("README.md")
def the_fast_recipe_in_short() -> Iterator[str]:
    fast = run("squeezenet1_1-fast")
    spent = minutes(fast.card["timings"]["train_s"])
    yield f"`fast` took SqueezeNet 1.1 to {accuracy(fast.predictions('test'))} on test in {spent} of training"


@quoted_in("docs/results/2026-11-pbc-fast-cpu/README.md")
def the_fast_recipe_beside_the_papers() -> Iterator[str]:
    fast, slow = run("squeezenet1_1-fast"), run("squeezenet1_1-paper")
    timings = fast.card["timings"]
    spent = f"{minutes(timings['train_s'])}, {timings['images_per_s']:.0f} images/s"
    for one, name, time in (
        (fast, "`fast`", spent),
        (slow, "`paper`, shortened", "not timed: the cores were shared"),
    ):
        yield row(name, len(one.history), time, *told(one.predictions("val"), one.predictions("test")))
    only_fast, only_slow = apart(fast.predictions("test"), slow.predictions("test"))
    p = float(mcnemar(only_fast, only_slow))
    yield (
        f"differ on {only_fast + only_slow} test images, {only_fast} for `fast` and {only_slow} for `paper` "
        f"(McNemar, exact: p = {p:.2f})"
    )
    yield f"the paper reports {percent(reported('squeezenet1_1'))} % for them"


def apart(first: Predictions, second: Predictions) -> tuple[int, int]:
    """Return the images that only the first gets right, and only the second."""
    assert first.paths == second.paths
    a, b = first.pred == first.target, second.pred == second.target
    return int(np.sum(a & ~b)), int(np.sum(b & ~a))


@quoted_in(f"{BUNDLE}/README.md")
def what_the_bundle_says() -> Iterator[str]:
    card = record(f"{BUNDLE}/bundle.json")
    for name, trust in (("as they are", card["calibration"]), ("eight flips and turns", card["tta"])):
        m = trust["measured"]
        wrong = m["errors_among_accepted"]
        yield row(
            name,
            f"{m['accepted']['count']:,}",
            f"{wrong['count']} ({interval(wrong['count'], wrong['of'])} %)",
            m["review"]["count"],
            m["called_unknown"]["count"],
            *(m["strange_called_unknown"][kind]["count"] for kind in ("noise", "background", "corner")),
        )
    yield f"of {card['calibration']['measured']['n']:,} test cells"


@quoted_in(f"{BUNDLE}/README.md")
def the_exported_file() -> Iterator[str]:
    found = record(f"{BUNDLE}/export.json")
    int8 = found["int8"]
    n, fp32, less = int8["n"], int8["right_fp32"], int8["right_int8"]
    yield f"by at most {found['largest_difference']:.0e}".replace("e-0", "e-")
    yield f"INT8 has {percent(less / n)} % ({interval(less, n)}) of {n:,} test cells right where fp32 has {percent(fp32 / n)} % ({interval(fp32, n)})"
    yield f"the same class for {int8['same_pred']:,}"
    accepted, wrong = int8["measured"]["accepted"], int8["measured"]["errors_among_accepted"]
    yield f"it accepts {accepted['count']:,}, {wrong['count']} of them wrong"
    assert found["compared"] == found["same_class"] == 64 + 16


@quoted_in(f"{BUNDLE}/README.md")
def other_laboratories_are_unknown_to_it() -> Iterator[str]:
    said = {lab: record(f"{BUNDLE}/labs/{lab}.json") for lab in LABS}
    found = {lab: one["verdicts"] for lab, one in said.items()}
    n = {lab: sum(one[kind] for kind in ("accepted", "review", "unknown")) for lab, one in found.items()}
    assert all(one["unknown"] == n[lab] for lab, one in found.items())
    yield f"All {sum(n.values())} cells of {listed([f'{name} ({n[lab]})' for lab, name in LABS.items()])} are unknown to it"
    yield f"would have answered {listed([percent(one['accuracy'], 1) for one in said.values()])} % are right"


LABS = {
    "jiangxi": "Jiangxi",
    "bccd": "BCCD",
    "chula": "Chulalongkorn",
}


def evaluations() -> dict[str, dict]:
    return {lab: record(f"docs/results/2026-11-labs/{lab}/evaluation.json") for lab in LABS}


@quoted_in("docs/results/2026-11-labs/README.md")
def cells_of_other_laboratories() -> Iterator[str]:
    for lab, found in evaluations().items():
        stored = Run.open(next((RESULTS / "2026-11-labs" / lab).glob("*/DONE")).parent).predictions("test")
        assert (stored.n_errors, len(stored)) == (found["errors"], found["n"])
        low, high = map(percent, found["accuracy_ci"])
        yield row(
            LABS[lab],
            found["n"],
            f"{percent(found['balanced_accuracy'])} %",
            f"{percent(found['limited']['balanced_accuracy'])} %",
            f"{percent(found['accuracy'])} % ({low} to {high})",
            f"{percent(found['estimated']['thresholded_confidence'])} %",
            f"{percent(found['calibration']['ece'], 0)} %",
        )
    wrong = sorted(float(one["calibration"]["ece"]) for one in evaluations().values())
    promised = [percent(one["estimated"]["thresholded_confidence"], 0) for one in evaluations().values()]
    yield f"wrong by {percent(wrong[0], 0)} to {percent(wrong[-1], 0)} points"
    yield f"would have promised {listed(promised)} %"
    yield f"Jiangxi's {evaluations()['jiangxi']['classes']['neutrophil']['support']} neutrophils"


@quoted_in("docs/results/2026-11-labs/README.md")
def verdicts_on_cells_of_other_laboratories() -> Iterator[str]:
    for lab, name in LABS.items():
        found = record(f"docs/results/2026-11-labs/bundle/{lab}/evaluation.json")
        told = found["verdicts"]
        right = "–"
        if told["accepted"]:
            low, high = map(percent, told["accepted_accuracy_ci"])
            right = f"{percent(told['accepted_accuracy'])} % ({low} to {high})"
        yield row(
            name,
            found["n"],
            f"{percent(found['balanced_accuracy'])} %",
            f"{percent(found['limited']['balanced_accuracy'])} %",
            told["accepted"],
            right,
            told["review"],
            told["unknown"],
        )


@quoted_in("docs/limits.md")
def cells_of_other_laboratories_in_short() -> Iterator[str]:
    got = sorted(one["accuracy"] for one in evaluations().values())
    yield f"got {percent(got[0], 0)} to {percent(got[-1], 0)} % right"
