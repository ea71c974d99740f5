"""A run, an ensemble and a bundle on labelled cells, of whatever names."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hemoscope import api
from hemoscope.ensemble.members import assemble
from hemoscope.ensemble.vote import vote
from hemoscope.errors import ConfigError, DataError, RunError
from hemoscope.predict.evaluate import limited_vote, predict_labelled, scanned
from hemoscope.predict.evaluation import SUMMARY, figures, write_evaluation
from hemoscope.predict.model import Model
from hemoscope.predict.scorable import a_bundle, a_run, open_scorable, some_runs
from hemoscope.report import write_report
from hemoscope.report.checklists import checklists
from hemoscope.report.collect import collect
from hemoscope.report.model_card import model_card
from hemoscope.runs import Run, find_runs
from tests import in_process

NAMES = {"blue": "Blau", "green": "Gruen"}


@pytest.fixture
def elsewhere(misfiled: Path, tmp_path: Path) -> Path:
    """The blue and the green discs under names of their own, and red ones that are of no class there."""
    for name, other in {**NAMES, "red": "dirt"}.items():
        shutil.copytree(misfiled / name, tmp_path / "elsewhere" / other)
    return tmp_path / "elsewhere"


PARTS = [("blue", 60), ("green", 20), ("red", 20)]  # of blood

DECIDED = {"Blau": "blue", "Gruen": "green", "dirt": None}


def test_other_names_change_no_answer(runs: list[Run], misfiled: Path, elsewhere: Path):
    asked = a_run(runs[0], device="cpu")
    ours = predict_labelled(asked, scanned(misfiled))
    found = predict_labelled(asked, scanned(elsewhere), given=DECIDED)
    rows = np.flatnonzero(ours.predictions.target < 2)
    np.testing.assert_allclose(
        found.predictions.probs, ours.predictions.probs[rows], atol=2e-2
    )  # other batches
    np.testing.assert_array_equal(found.predictions.target, ours.predictions.target[rows])
    assert found.strangers == {"not judged": len(list((elsewhere / "dirt").iterdir()))}
    assert ours.limited is None


def test_the_limited_answer_is_the_likeliest_of_the_classes_that_are_there(runs: list[Run], elsewhere: Path):
    found = predict_labelled(a_run(runs[0], device="cpu"), scanned(elsewhere), given=DECIDED)
    assert found.limited is not None
    np.testing.assert_array_equal(found.limited.pred, found.predictions.probs[:, :2].argmax(axis=1))
    np.testing.assert_allclose(found.limited.probs.sum(axis=1), 1)
    assert (found.limited.probs[:, 2] == 0).all()


def test_a_limited_majority_is_that_of_the_limited_members():
    probs = np.array([[[0.9, 0.06, 0.04]], [[0.9, 0.04, 0.06]], [[0.0, 0.3, 0.7]], [[1.0, 0.0, 0.0]]])
    there = np.array([False, True, True])
    assert limited_vote(probs, there, "majority")[0].tolist() == [
        2
    ]  # one, two, two, and one that says nothing
    pred, mean = limited_vote(probs[3:], there, "soft")
    assert (pred.tolist(), mean.tolist()) == ([1], [[0, 0.5, 0.5]])


def test_an_ensemble_is_the_vote_of_its_members(runs: list[Run], misfiled: Path):
    asked = some_runs(runs[0].path.parent, vote="soft", device="cpu")
    found = predict_labelled(asked, scanned(misfiled))
    each = [
        predict_labelled(a_run(Run.open(m.run.path), device="cpu"), scanned(misfiled))
        for m in asked.members
        if m.run
    ]
    wanted = vote([one.predictions for one in each], how="soft")
    np.testing.assert_array_equal(found.predictions.pred, wanted.pred)
    np.testing.assert_allclose(found.predictions.probs, wanted.probs, atol=1e-6)
    assert [m.name for m in asked.members] == [e.name for e in assemble(runs[0].path.parent).voters]


def test_a_bundle_is_scored_by_the_verdicts_it_gives(model: Model, elsewhere: Path):
    asked, data = a_bundle(model, "discs"), scanned(elsewhere)
    found = predict_labelled(asked, data, given=DECIDED)
    every = list(
        model.judge([elsewhere / image.path for image in data.images])
    )  # in batches of the same images
    classes = [DECIDED[image.class_name] for image in data.images]
    verdicts = [v for v, name in zip(every, classes, strict=True) if name]
    assert found.status == tuple(v.status for v in verdicts)
    assert [found.predictions.classes[c] for c in found.predictions.pred] == [v.pred for v in verdicts]
    np.testing.assert_allclose(found.predictions.probs, [v.probs for v in verdicts], atol=1e-6)
    assert found.strangers == Counter(
        v.status for v, name in zip(every, classes, strict=True) if name is None
    )
    said = figures(asked, found)["verdicts"]
    right = [
        v.pred == name for v, name in zip(every, classes, strict=True) if name and v.status == "accepted"
    ]
    assert (said["accepted"], said["accepted_right"]) == (len(right), sum(right))


def test_a_side_without_an_image_of_the_classes_is_named_before_anything_is_asked(
    runs: list[Run], model: Model, elsewhere: Path, tmp_path: Path
):
    data = scanned(elsewhere)
    side_of = {"Blau": "train", "Gruen": "val", "dirt": "test"}
    rows = [f"{image.path},{image.class_name},{side_of[image.class_name]}" for image in data.images]
    split = tmp_path / "split.csv"
    split.write_text("\n".join(["path,class,split", *rows]) + "\n")
    n = sum(image.class_name == "dirt" for image in data.images)
    for asked in (a_run(runs[0], device="cpu"), a_bundle(model, "discs")):
        with pytest.raises(DataError, match=rf"test side of .*split\.csv; none of its {n} images"):
            predict_labelled(asked, data, split_file=split, given=DECIDED)


def test_a_class_that_nobody_decided_is_asked_for_and_a_file_is_written_once(
    runs: list[Run], elsewhere: Path, tmp_path: Path
):
    run, file = runs[0].path, tmp_path / "map.toml"
    words = ("evaluate", run, "--data", elsewhere, "--device", "cpu")
    told = in_process.hemoscope(*words)
    assert told.returncode == 1
    assert "Blau, Gruen, dirt" in told.stderr
    told = in_process.hemoscope(*words, "--classes", file)
    assert told.returncode == 1
    assert "decide the 3 that no name settles" in told.stderr
    told = in_process.hemoscope(*words, "--classes", file)
    assert 'Blau = "?"' in told.stderr
    inside = in_process.hemoscope(*words, "--classes", file, "--out", elsewhere / "x")
    assert inside.returncode == 1
    assert "where it would be read as data" in inside.stderr
    file.write_text('[classes]\nBlau = "blue"\nGruen = "green"\ndirt = false\nRot = "red"\n')
    told = in_process.hemoscope(*words, "--classes", file)
    assert told.returncode == 0
    assert "map.toml decides names that are no class of the data: Rot" in told.stderr
    assert "n/a" not in told.stdout.split("mean of 2 classes")[1].split("red")[0]
    assert "no images, and left out of the means: red" in told.stdout
    assert "limited to the 2 classes that are there" in told.stdout
    assert "none of the model's classes, and in no score: dirt" in told.stderr


def test_precision_in_blood_says_which_classes_have_no_image_and_which_shares_are_left(
    runs: list[Run], elsewhere: Path, tmp_path: Path
):
    (tmp_path / "map.toml").write_text('[classes]\nBlau = "blue"\nGruen = "green"\ndirt = false\n')
    ranges = [
        f'[classes.{name}]\nlabel = "x"\nrole = "white"\npercent = [{n - 1}, {n + 1}]' for name, n in PARTS
    ]
    (tmp_path / "ranges.toml").write_text("\n".join(['name = "x"\nsource = "x"', *ranges]))
    words = ("evaluate", runs[0].path, "--data", elsewhere, "--classes", tmp_path / "map.toml", "--in-blood")
    words = (*words, "--ranges", tmp_path / "ranges.toml", "--device", "cpu")
    told = in_process.hemoscope(*words, "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)["in_blood"]
    assert found["without_images"] == ["red"]
    assert [found["classes"][name]["share"] for name, _ in PARTS] == pytest.approx([0.6, 0.2, 0.2])
    met = [found["classes"][name]["share_met"] for name, _ in PARTS]
    assert met == [pytest.approx(0.75), pytest.approx(0.25), None]
    assert found["classes"]["red"]["precision"] is None
    assert found["classes"]["blue"]["precision"] is not None
    told = in_process.hemoscope(*words).stdout
    assert "75.00 %" in told
    assert "no image of red, of 20.00 % of these cells" in told


def test_the_answers_are_a_folder_that_a_report_takes(runs: list[Run], elsewhere: Path, tmp_path: Path):
    (tmp_path / "map.toml").write_text('[classes]\nBlau = "blue"\nGruen = "green"\ndirt = false\n')
    told = in_process.hemoscope(
        *("evaluate", runs[0].path.parent, "--data", elsewhere, "--classes", tmp_path / "map.toml"),
        *("--device", "cpu", "--out", tmp_path / "out", "--json"),
    )
    document = json.loads(told.stdout)
    assert json.loads((tmp_path / "out" / SUMMARY).read_text()) == document
    found = collect(tmp_path / "out")
    assert found.caveats[0].title == "Cells of the training are among these."
    assert found.ensemble is not None
    assert sorted(m.name for m in found.ensemble.members) == sorted(document["members"])
    assert found.ensemble.scores.to_json()["classes"] == document["classes"]
    for run in find_runs(tmp_path / "out"):
        own = Run.open(runs[0].path.parent / run.name)
        assert run.predictions("val").n_errors == own.predictions("val").n_errors
        assert run.history == own.history
    again = in_process.hemoscope(
        "evaluate",
        runs[0].path,
        "--data",
        elsewhere,
        "--classes",
        tmp_path / "map.toml",
        "--out",
        tmp_path / "out",
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_the_answers_of_a_bundle_are_such_a_folder_too(ensemble_file: Path, misfiled: Path, tmp_path: Path):
    told = in_process.hemoscope(
        "evaluate", ensemble_file, "--data", misfiled, "--device", "cpu", "--out", tmp_path / "out"
    )
    assert told.returncode == 0
    assert "accepted" in told.stdout
    assert "is not known" in told.stderr  # a bundle does not name the images it was trained on
    found = collect(tmp_path / "out")
    assert len(found.entries) == 2
    told = {caveat.title: caveat.text for caveat in found.caveats}
    assert "is not known" in told["These cells may be those of the training."]
    assert "its digest is the same" in told["These cells may be those of the training."]  # the card has it
    assert "in the bundle both " in told["Not the bundle's own probabilities."]
    assert "no external data" in checklists(found)
    page = write_report(tmp_path / "out", tmp_path / "report").read_text("utf-8")
    assert "The bundle both has thresholds" in page
    assert "these runs have none" not in page
    assert "A bundle of it has thresholds" not in (tmp_path / "report" / "model-card.md").read_text("utf-8")


def test_a_report_says_how_many_of_the_cells_scored_were_trained_on(
    runs: list[Run], misfiled: Path, tmp_path: Path
):
    asked = ("evaluate", runs[0].path.parent, "--data", misfiled, "--vote", "soft", "--device", "cpu")
    told = in_process.hemoscope(*asked, "--out", tmp_path / "out", "--json")
    document = json.loads(told.stdout)
    seen = document["seen_before"]
    assert seen["train"]
    found = collect(tmp_path / "out")
    assert found.ensemble is not None
    assert found.ensemble.how == document["vote"] == "soft"
    assert found.ensemble.scores.errors == document["errors"]
    told = {caveat.title: caveat.text for caveat in found.caveats}["Cells of the training are among these."]
    assert f"trained on {seen['train']:,} and validated on {seen['val']:,}," in told
    for text in (checklists(found), model_card(found)):
        assert "another data set than" not in text
    assert "of the data set of the training (digest" in checklists(found)
    page = write_report(tmp_path / "out", tmp_path / "report").read_text("utf-8")
    assert "All figures above are of the cells that <code>hemoscope evaluate</code> was given" in page
    assert "images like those it was trained on" not in page


@pytest.mark.parametrize("name", ["../outside", "/outside", "..", ".hidden", "a/b", "twice"])
def test_a_name_in_a_strangers_bundle_becomes_no_path_and_no_folder_twice(
    model: Model, misfiled: Path, tmp_path: Path, name: str
):
    members = tuple(member.model_copy(update={"run": name}) for member in model.card.members)
    theirs = Model(model.card.model_copy(update={"members": members}), model.networks, model.digest)
    asked = a_bundle(theirs, "discs")
    found = predict_labelled(asked, scanned(misfiled))
    write_evaluation(tmp_path / "in" / "out", asked, found, {}, "")
    assert {path.name for path in (tmp_path / "in" / "out").iterdir()} == {"member-0", "member-1", SUMMARY}
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_from_python_a_bundle_is_scored_as_on_the_command_line(
    ensemble_file: Path, elsewhere: Path, model: Model
):
    scores = api.evaluate(ensemble_file, elsewhere, classes=DECIDED, device="cpu")
    assert (
        scores.errors
        == predict_labelled(a_bundle(model, "x"), scanned(elsewhere), given=DECIDED).predictions.n_errors
    )


def test_a_path_with_nothing_there_is_told_as_that_and_not_as_a_folder_to_train_into(tmp_path: Path):
    for missing in ("blod.hemo", "runs/resnet"):
        with pytest.raises(DataError, match=f"there is no .*{missing}; expected a run folder"):
            open_scorable(tmp_path / missing)


def test_an_option_that_does_not_fit_is_refused(runs: list[Run], ensemble_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="is a bundle"):
        open_scorable(ensemble_file, members="paper")
    with pytest.raises(ConfigError, match="is one run"):
        open_scorable(runs[0].path, vote="soft")
    with pytest.raises(ConfigError, match="views=8"):
        open_scorable(runs[0].path, tta=True)
    shutil.copytree(runs[0].path, tmp_path / "one" / runs[0].name)
    with pytest.raises(RunError, match=f"Score the run: .*{runs[0].name}"):
        open_scorable(tmp_path / "one")
    told = in_process.hemoscope("evaluate", runs[0].path.parent)
    assert "hemoscope ensemble" in told.stderr
    told = in_process.hemoscope("evaluate", runs[0].path, "--in-blood")
    assert told.returncode == 2
    assert "does not know the model's classes blue, green, red" in told.stderr
