"""Runs beside each other: what is counted, what is said, what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from hemoscope.comparison.compare import LEVEL, compare
from hemoscope.comparison.words import sentences
from hemoscope.comparison.write import write_comparison
from hemoscope.ensemble.members import assemble
from hemoscope.ensemble.vote import vote
from hemoscope.errors import DataError, RunError
from hemoscope.evaluation.paired import images_needed, mcnemar
from hemoscope.records import Predictions
from hemoscope.runs import PREDICTIONS, find_runs, write_predictions
from hemoscope.training.recipe import load_recipe
from tests import in_process
from tests.report.conftest import PBC, Side

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)


def said(found, i: int):
    return found.subjects[i].predictions


def test_every_score_and_pair_is_that_of_the_predictions(runs):
    for arch, rate in (("resnet18", 0.05), ("vgg19", 0.2), ("alexnet", 0.6)):
        runs.add(arch, test=SMALL, error_rate=rate)
    found = compare(runs.root, draws=200)
    assert [s.scores.errors for s in found.subjects] == sorted(s.scores.errors for s in found.subjects)
    assert {s.name for s in found.subjects} == {run.name for run in find_runs(runs.root)} | {"ensemble"}
    for subject in found.subjects:
        p = subject.predictions
        assert subject.estimates["balanced_accuracy"].value == pytest.approx(
            balanced_accuracy_score(p.target, p.pred)
        )
        probs = p.probs / p.probs.sum(axis=1, keepdims=True)
        area = roc_auc_score(p.target, probs, multi_class="ovr", average="macro")
        assert subject.estimates["auroc"].value == pytest.approx(area, abs=1e-5)
    assert len(found.pairs) == 6
    for pair in found.pairs:
        first, second = (said(found, i).pred == said(found, i).target for i in (pair.first, pair.second))
        a, b = int((first & ~second).sum()), int((second & ~first).sum())
        assert (pair.only_first, pair.only_second) == (a, b)
        assert pair.p == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1)
    differ = {(p.first, p.second) for p in found.pairs if p.p_holm < LEVEL}
    assert any(3 in pair for pair in differ)  # the worst is told apart
    for first, last in found.groups:
        assert not any(first <= a and b <= last for a, b in differ)


def test_the_ensemble_is_the_one_that_is_assembled_on_either_side(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.1)
    wanted = assemble(runs.root, how="soft").ensemble
    assert wanted is not None
    for side, errors in (("test", wanted.predictions.n_errors), ("val", wanted.val_errors)):
        found = compare(runs.root, how="soft", side=side, draws=50)  # type: ignore[arg-type]
        assert {s.name: s.scores.errors for s in found.subjects}["ensemble"] == errors
        assert any("flatters" in sentence for sentence in sentences(found)) == (side == "val")


def test_equals_are_not_distinguishable_and_the_words_say_so(runs):
    for seed in range(3):
        runs.add("resnet18", seed=seed, test=SMALL, error_rate=0.05)
    found = compare(runs.root, draws=50)
    assert found.groups == ((0, 3),)
    told = list(sentences(found))
    prefers = assemble(runs.root)
    name = prefers.best.label if not prefers.ensemble_leads else "Ensemble of 3, majority"
    assert told[0].startswith(
        f"Validation prefers {name}. On these 225 images, not distinguishable from it: "
    )
    assert all(s.label in told[0] for s in found.subjects)
    assert "ResNet-18, seed" in told[1]
    (of_seeds,) = (sentence for sentence in told if "3 seeds" in sentence)
    rates = [1 - run.predictions("test").n_errors / 225 for run in find_runs(runs.root)]
    assert (
        f"{100 * np.mean(rates):.2f} % on average, from seed to seed ± {100 * np.std(rates, ddof=1):.2f}"
        in of_seeds
    )


def test_what_is_worse_than_the_preferred_one_is_named_so(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.02)
    runs.add("alexnet", test=SMALL, error_rate=0.7)
    found = compare(runs.root, members="resnet18", draws=50)
    assert found.subjects[found.preferred].label == "ResNet-18"
    assert "worse: AlexNet (McNemar's" in next(iter(sentences(found)))


def with_errors(name: str, errors: range) -> Predictions:
    side = Side(PBC, SMALL, name)
    pred = side.target.copy()
    pred[errors] = (pred[errors] + 1) % len(PBC)
    probs = np.eye(len(PBC))[pred]
    return Predictions(PBC, side.paths, side.target, probs, pred)


def test_of_one_image_seeds_say_nothing_and_the_rest_is_said(runs):
    test = with_errors("test", range(0)).take([0])
    for seed in (0, 1):
        runs.add(
            "resnet18", seed=seed, test=SMALL, predictions={"val": with_errors("val", range(9)), "test": test}
        )
    found = compare(runs.root, draws=50)
    assert found.seeds == ()
    assert found.to_json()["seeds"] == []
    assert " On this one image, not distinguishable from it: " in next(iter(sentences(found)))


@pytest.mark.parametrize("errors", [0, 225])
def test_where_all_images_are_right_or_none_is_no_spread_is_claimed(runs, errors):
    side = with_errors("test", range(errors))
    for seed in (0, 1):
        runs.add("resnet18", seed=seed, test=SMALL, predictions={"val": side, "test": side})
    told = list(sentences(compare(runs.root, draws=50)))[-1]
    assert "0.00 % with each of them" in told
    assert "these images cannot tell" in told
    assert "±" not in told


def test_how_many_images_are_needed_is_said_of_the_nearest_at_the_level_that_holm_leaves(runs):
    wrong = {
        "vgg11": range(100, 112),
        "resnet18": range(20),
        "vgg19": range(12, 38),
        "alexnet": range(60, 130),
        "vgg16": range(61, 131),
    }
    for arch, errors in wrong.items():
        val = with_errors("val", range(0 if arch == "resnet18" else 9))
        runs.add(arch, test=SMALL, predictions={"val": val, "test": with_errors("test", errors)})
    found = compare(runs.root, members="resnet18", draws=50)
    assert [s.scores.errors for s in found.subjects] == [12, 20, 26, 70, 70]
    assert found.preferred == 1
    larger = [(pair.first, pair.second) for pair in found.pairs if pair.p > mcnemar(18, 12)]
    assert larger == [(3, 4)]  # so that Holm compares the pair's p-value with a half of the level
    needed = images_needed(18 / 225, 12 / 225, alpha=0.025)
    _, told, *_ = sentences(found)
    assert told.startswith("ResNet-18 against VGG-19: 18 images that only the one gets right, 12 that")
    assert told.endswith(
        f"about {float(f'{needed:.1e}'):,.0f} images would tell these two apart at the level of 2.5 % that Holm leaves to them "
        "four times in five."
    )


def test_seeds_of_two_recipes_of_one_network_are_told_apart(runs):
    for name in ("paper", "robust"):
        for seed in range(2):
            recipe = load_recipe(name, []).model_dump()
            runs.add("resnet18", test=SMALL, seed=seed, recipe=recipe, name=f"{name}-{seed}")
    told = [text.partition(",")[0] for text in sentences(compare(runs.root, draws=50)) if ", 2 seeds" in text]
    assert told[:2] == ["ResNet-18 (recipe paper)", "ResNet-18 (recipe robust)"]


def test_one_run_alone_has_intervals_and_no_pair(runs):
    runs.add("resnet18", test=SMALL)
    found = compare(runs.root, draws=50)
    assert (len(found.subjects), found.pairs, found.groups) == (1, (), ((0, 0),))
    assert list(sentences(found)) == []


def test_runs_of_another_split_are_named_and_left_out(runs):
    for seed in range(2):
        runs.add("resnet18", seed=seed, test=SMALL)
    other = runs.add("vgg19", test=(9,) * 8)
    found = compare(runs.root, draws=50)
    assert [item.name for item in found.left_out] == [other.name]


def test_a_folder_without_runs_and_a_side_without_images_are_errors(runs, tmp_path: Path):
    with pytest.raises(RunError, match="finished run"):
        compare(tmp_path)
    folder = runs.add("resnet18", test=SMALL)
    test = find_runs(folder)[0].predictions("test")
    write_predictions(folder / PREDICTIONS, {"val": test.take([]), "test": test})
    assert len(compare(runs.root, draws=20).subjects) == 1
    with pytest.raises(RunError, match="val side .* holds no image"):
        compare(runs.root, side="val")


def test_the_verb_prints_writes_once_and_gives_scripts_one_document(runs, tmp_path: Path):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.1)
    out = tmp_path / "out"
    told = in_process.hemoscope("compare", runs.root, "--out", out)
    assert told.returncode == 0, told.stderr
    assert "Ensemble of 2, majority" in told.stdout
    assert "McNemar" in told.stdout
    files = {"comparison.json", "groups.png", "groups.svg"}
    files |= {f"{name}.{ending}" for name in ("scores", "pairs") for ending in ("csv", "md", "tex")}
    assert {path.name for path in out.iterdir()} == files
    document = json.loads(in_process.hemoscope("compare", runs.root, "--json").stdout)
    assert json.loads((out / "comparison.json").read_text()) == document
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["errors"]) for row in rows] == [run["errors"] for run in document["runs"]]
    again = in_process.hemoscope("compare", runs.root, "--out", out)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    with pytest.raises(DataError):
        write_comparison(compare(runs.root, draws=20), out)


def test_networks_that_share_seeds_vote_a_seed_at_a_time(runs):
    for arch in ("resnet18", "vgg19"):
        for seed in (0, 1, 2):
            runs.add(arch, seed=seed, test=SMALL, error_rate=0.1)
    runs.add("alexnet", seed=0, test=SMALL, error_rate=0.01)  # with one seed it would be another ensemble
    found = compare(runs.root, how="soft", draws=200)
    *_, votes = found.seeds
    assert (votes.label, votes.n_seeds) == ("Votes of networks of one seed, soft", 3)
    entries = [e for e in assemble(runs.root).entries if e.arch != "alexnet"]
    each = [vote([e.test for e in entries if e.seed == seed], how="soft") for seed in (0, 1, 2)]
    assert votes.spread.mean == pytest.approx(np.mean([1 - one.n_errors / len(one) for one in each]))
    assert (
        sum(text.startswith("Votes of networks of one seed, soft, 3 seeds: ") for text in sentences(found))
        == 1
    )
    assert len(compare(runs.root, members="resnet18,vgg19", draws=200).seeds) == 2  # nothing was chosen
