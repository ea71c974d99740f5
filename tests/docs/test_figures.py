"""Figures that documents quote are computed again from the committed predictions and measurements."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from hemoscope.differential.reference import read_reference
from hemoscope.ensemble.members import assemble
from hemoscope.ensemble.vote import vote
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.prevalence import precision_at
from hemoscope.evaluation.summary import score
from hemoscope.records import Predictions
from hemoscope.runs import find_runs
from hemoscope.suspects.audit import audit_labels

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "docs" / "results" / "2026-11-pbc-cpu" / "runs"
SCORED = ["README.md", "docs/results/2026-11-pbc-cpu/README.md"]


def rows(document: str, head: str) -> list[list[str]]:
    """Return the cells of the table whose head line begins like this."""
    lines = (ROOT / document).read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    body = lines[first + 2 :]
    end = next((i for i, line in enumerate(body) if not line.startswith("|")), len(body))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[:end]]


def told(val: Predictions, test: Predictions) -> list[str]:
    low, high = wilson(len(test) - test.n_errors, len(test))
    return [
        f"{100 * (1 - val.n_errors / len(val)):.2f} %",
        f"{100 * (1 - test.n_errors / len(test)):.2f} %",
        f"{100 * low:.2f} to {100 * high:.2f} %",
        str(test.n_errors),
    ]


@pytest.mark.parametrize("document", SCORED)
def test_scores_of_single_networks_are_those_of_their_predictions(document: str):
    runs = {run.arch: run for run in find_runs(RUNS)}
    single = [row for row in rows(document, "| network | epochs |") if not row[0].startswith("ensemble")]
    assert {row[0] for row in single} == set(runs)
    for arch, epochs, *figures in single:
        run = runs[arch]
        assert int(epochs) == run.card["recipe"]["epochs"]
        assert figures == told(run.predictions("val"), run.predictions("test")), arch


@pytest.mark.parametrize("document", SCORED)
@pytest.mark.parametrize("how", ["majority", "soft"])
def test_scores_of_the_ensemble_are_those_of_the_vote(document: str, how):
    row = next(r for r in rows(document, "| network | epochs |") if r[0] == f"ensemble of 3, {how} vote")
    members = assemble(RUNS, how=how).voters
    assert row[2:] == told(vote([m.val for m in members], how=how), vote([m.test for m in members], how=how))


def test_the_precision_in_blood_is_that_of_the_predictions():
    run = next(run for run in find_runs(RUNS) if run.arch == "mobilenet_v2")
    scores = score(run.predictions("test"))
    ig = scores.classes.index("ig")
    found = precision_at(scores.confusion, read_reference().shares(scores.classes))[ig]
    low, high = round(100 * found.low), round(100 * found.high)
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    here, there = round(100 * scores.precision.value[ig]), round(100 * found.value)
    assert f"precision for `ig` is {there} % (95 % interval {low} to {high} %), not {here} %" in text


LABELS = {
    "AlexNet": "alexnet",
    "SqueezeNet 1.1": "squeezenet1_1",
    "MobileNet v2": "mobilenet_v2",
    "ResNet-18": "resnet18",
    "ResNet-50": "resnet50",
    "DenseNet-121": "densenet121",
    "VGG-16": "vgg16",
    "Inception v3": "inception_v3",
}


def measured(capability: str) -> dict[str, dict[str, list[float]]]:
    text = (ROOT / "benchmarks" / "results" / f"train_cpu_{capability}.json").read_text("utf-8")
    return {
        arch: {name: [repeat["images_per_s"] for repeat in repeats] for name, repeats in found.items()}
        for arch, found in json.loads(text)["results"].items()
    }


def test_training_speeds_are_medians_of_the_kept_repeats_and_their_ratios():
    shown = rows("README.md", "| training |")
    wide, narrow = measured("avx512_bf16"), measured("avx2")
    assert [LABELS[row[0]] for row in shown] == [a for a in LABELS.values() if a in {*wide, *narrow}]
    for label, *figures in shown:
        arch = LABELS[label]
        want = [
            *of(wide.get(arch), "hemoscope bf16", "torchvision fp32", "tuned bf16"),
            *of(narrow.get(arch), "hemoscope fp32", "torchvision fp32", "tuned fp32"),
        ]
        for got, value in zip(figures, want, strict=True):
            if value is None:
                assert got == "", label
            else:
                digits = len(got.partition(".")[2])
                assert float(got) == pytest.approx(value, abs=0.51 * 10**-digits), label


def of(found: dict[str, list[float]] | None, ours: str, *theirs: str) -> list[float | None]:
    if found is None:
        return [None] * (1 + len(theirs))
    return [rate(found, ours), *(ratio(found, ours, other) for other in theirs)]


def rate(found: dict[str, list[float]], name: str) -> float:
    return statistics.median(found[name])


def ratio(found: dict[str, list[float]], ours: str, theirs: str) -> float:
    return rate(found, ours) / rate(found, theirs)


@pytest.mark.parametrize(("name", "place"), [("pbc", 0), ("validation", 1)])
def test_what_was_found_of_planted_labels_is_what_was_measured(name: str, place: int):
    folder = ROOT / "docs" / "results" / "2026-11-labels"
    measured = json.loads((folder / f"{name}.json").read_text("utf-8"))["rows"]
    text = (folder / "README.md").read_text("utf-8").split("| planted |")[1:][place]
    lines = [line for line in text.splitlines() if line.startswith(("| 0", "| 1", "| 2", "| 5"))]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for cells, row in zip(shown, measured, strict=True):
        n = row["planted"]
        assert cells[0] == (f"{100 * row['rate']:g} %: {n}" if n else "0")
        assert cells[1:4] == [f"{row['n']:,}", str(row["suspects"]), str(row["found"])]
        for cell, hits, of in (
            (cells[4], row["found"], row["suspects"]),
            (cells[5], row["found"], n),
            (cells[6], row["found_in_the_first"], n),
        ):
            low, high = (100 * float(bound) for bound in wilson(hits, of))
            assert cell == (f"{100 * hits / of:.0f} ({low:.0f} to {high:.0f})" if n else "–")
        shares = [row[key] for key in ("estimated_wrong", "right_by_label", "right_by_truth")]
        assert cells[7:] == [f"{100 * share:.1f} %" for share in shares]


def test_the_labels_that_good_networks_doubt_are_those_named():
    text = (ROOT / "docs" / "results" / "2026-11-labels" / "README.md").read_text("utf-8")
    doubted = [suspect.path for suspect in audit_labels(RUNS).suspects]
    assert len(doubted) == 3
    assert all(f"`{path}`" in text for path in doubted)
