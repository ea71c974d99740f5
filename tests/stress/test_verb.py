"""The verb, its folder, and that every kind of model and every architecture is asked the same."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hemoscope import api
from hemoscope.errors import ConfigError, DataError
from hemoscope.models.build import build, head_path
from hemoscope.models.registry import arch_names, get_arch
from hemoscope.predict.evaluate import predict_labelled, scanned
from hemoscope.predict.model import Model
from hemoscope.predict.network import Network
from hemoscope.predict.scorable import Member, Scorable, a_bundle, a_run, some_runs
from hemoscope.predict.stream import stream
from hemoscope.runs import Run
from hemoscope.stress.ask import stress
from hemoscope.stress.grounds import TESTS
from hemoscope.stress.result import CLEAN, NOT_ASKED, Stressed, errors_of, scores_of
from hemoscope.stress.sample import blocks_of, choose
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES
from hemoscope.stress.write import TABLE_COLUMNS, document_of
from hemoscope.training.device import Device
from tests import in_process
from tests.two_networks import MadeOnce

CONDITIONS = 1 + len(CORRUPTIONS) * len(SEVERITIES) + len(TESTS)


@pytest.fixture(scope="module")
def found(runs: list[Run], misfiled: Path) -> Stressed:
    """Two networks and their vote, tried on two discs of each class."""
    return api.stress(runs[0].path.parent, misfiled, limit=2, device="cpu")


def test_clean_answers_are_those_of_evaluate(found: Stressed, runs: list[Run], misfiled: Path):
    asked, data = some_runs(runs[0].path.parent, device="cpu"), scanned(misfiled)
    every = predict_labelled(asked, data)
    rows = [every.predictions.paths.index(image.path) for image in choose(asked, data, limit=2).images]
    np.testing.assert_array_equal(found.target, every.predictions.target[rows])
    for subject, said in zip(found.subjects, (*every.members, every.predictions), strict=True):
        np.testing.assert_array_equal(subject.preds[CLEAN], said.pred[rows])
    assert [subject.arch for subject in found.subjects] == ["resnet18", "resnet18", ""]


def test_every_network_is_asked_under_every_condition(found: Stressed):
    assert found.reference is None
    for subject in found.subjects:
        assert len(subject.preds) == CONDITIONS
        assert all((subject.preds[c.name, s] != NOT_ASKED).all() for c in CORRUPTIONS for s in SEVERITIES)
        hidden = subject.preds["hidden", 0] != NOT_ASKED
        np.testing.assert_array_equal(hidden, found.usable)


def test_a_sample_is_some_of_each_class_whatever_else_is_there(runs: list[Run], misfiled: Path):
    asked, data = a_run(runs[0], device="cpu"), scanned(misfiled)
    five, three = (choose(asked, data, limit=limit) for limit in (5, 3))
    assert np.bincount(five.target).tolist() == [5, 5, 5]
    assert {image.path for image in three.images} < {image.path for image in five.images}
    assert len(choose(asked, data, limit=0).images) == len(data.images)
    side_of = asked.sides()
    assert side_of is not None
    val = choose(asked, data, side="val", limit=0)
    assert {side_of[image.hash] for image in val.images} == {"val"}
    assert {image.path for image in choose(asked, data, limit=5, seed=1).images} != {
        image.path for image in five.images
    }
    assert [place for block in blocks_of(data.images) for place in block] == list(range(len(data.images)))
    assert max(map(len, blocks_of(data.images))) == 64


def test_a_side_that_nobody_knows_is_refused(model: Model, runs: list[Run], misfiled: Path, image_folder):
    with pytest.raises(ConfigError, match="leave --side out"):
        choose(a_bundle(model, "both"), scanned(misfiled), side="val")
    elsewhere = scanned(image_folder({"blue": 3, "red": 3}))
    with pytest.raises(DataError, match="no image of the val side"):
        choose(a_run(runs[0], device="cpu"), elsewhere, side="val")


def test_the_verb_prints_a_table_and_writes_every_figure_and_two_pictures(
    runs: list[Run], misfiled: Path, tmp_path: Path
):
    out = tmp_path / "out"
    words = (runs[0].path, "--data", misfiled, "--limit", 1, "--device", "cpu", "--reference", runs[1].path)
    told = in_process.hemoscope("stress", *words, "--out", out)
    assert told.returncode == 0, told.stderr
    assert "images of each class: at most 1" in told.stderr
    for wanted in ("mCE", "With the cell hidden", *(corruption.name for corruption in CORRUPTIONS)):
        assert wanted in told.stdout
    document = json.loads((out / "stress.json").read_text("utf-8"))
    assert document["reference"] == document["networks"][1]["name"] == runs[1].name
    rows = list(csv.DictReader((out / "stress.csv").read_text("utf-8").splitlines()))
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert len(rows) == 2 * CONDITIONS
    for row in rows:
        if row["n"] != "0":
            assert float(row["error"]) == pytest.approx(int(row["errors"]) / int(row["n"]))
            assert float(row["error_low"]) <= float(row["error"]) <= float(row["error_high"])
    mine = [row for row in rows if row["network"] == runs[0].name]
    for corruption in document["networks"][0]["corruptions"]:
        errors = [float(row["error"]) for row in mine if row["condition"] == corruption["name"]]
        assert corruption["mean_error"] == pytest.approx(np.mean(errors))
    assert sorted(path.name for path in out.iterdir()) == [
        *("corruptions.jpg", "errors.png", "errors.svg", "stress.csv", "stress.json")
    ]
    with Image.open(out / "corruptions.jpg") as picture:
        assert picture.size[0] > 800
    again = in_process.hemoscope("stress", *words, "--out", out)
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_the_figures_are_of_the_answers(found: Stressed):
    subject, network = found.subjects[0], document_of(found)["networks"][0]
    errors, clean = errors_of(found, subject)
    assert clean == np.mean(subject.preds[CLEAN] != found.target)
    assert network["mean_error"] == pytest.approx(np.mean(errors))
    assert network["added_error"] == pytest.approx(np.mean(errors) - clean)
    assert network["mce"] is None
    scores = scores_of(found, subject, ("jpeg", 5))
    assert scores.errors / scores.n == pytest.approx(errors[1, 4])


def test_a_bundle_is_one_network_a_member_and_its_vote(model: Model, misfiled: Path):
    shipped = stress(a_bundle(model, "both"), scanned(misfiled), limit=1, device="cpu")
    assert [subject.name for subject in shipped.subjects] == [*(m.run for m in model.card.members), "both"]
    assert shipped.seen is None


def test_a_reference_of_other_classes_is_refused(runs: list[Run], misfiled: Path):
    first = a_run(runs[0], device="cpu")
    other = replace(first, classes=("a", "b", "c"))
    with pytest.raises(ConfigError, match="the reference knows a, b, c"):
        stress(first, scanned(misfiled), reference=other, limit=1)


def random_network(arch: str, classes: tuple[str, ...]) -> Scorable:
    """Return a network of an architecture with random weights, ready to be asked."""
    image_px, canvas_px = get_arch(arch).sides_px(96)
    network = Network(
        build(arch, len(classes)).eval(),
        classes,
        image_px,
        canvas_px,
        "black",
        "center_crop",
        Device(torch.device("cpu"), "fp32"),
        head_path(get_arch(arch), "replace_last"),
    )

    def ask(images):
        return ((answer, None) for answer in stream([network], images))

    return Scorable(
        arch,
        classes,
        (Member(arch, {"arch": arch}),),
        "majority",
        "",
        ask,
        seen_px=lambda _: None,
        at_nucleus=lambda _: ask,
    )


# One of each; the others by hand.
FAMILIES = (
    "alexnet",
    "vgg11",
    "resnet18",
    "densenet121",
    "inception_v3",
    "googlenet",
    "mobilenet_v2",
    "resnext50_32x4d",
)


@pytest.mark.parametrize(
    "arch",
    [
        arch
        if arch == "squeezenet1_1"
        else pytest.param(arch, marks=pytest.mark.slow if arch in FAMILIES else pytest.mark.long)
        for arch in arch_names()
    ],
)
def test_every_architecture_is_asked(arch: str, discs: Path, made_once: MadeOnce):
    def two(folder: Path) -> None:
        for name in ("blue", "red"):
            (folder / "cells" / name).mkdir(parents=True)
            (folder / "cells" / name / "0.png").write_bytes((discs / name / "00.png").read_bytes())

    data = scanned(made_once("two-cells", two) / "cells")
    found = stress(random_network(arch, ("blue", "red")), data, limit=1, device="cpu")
    assert len(found.target) == 2
    assert (found.reference == 0) == (arch == "alexnet")
    assert document_of(found)["networks"][0]["arch"] == arch
