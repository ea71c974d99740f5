"""The verbs together: folds are trained, done ones are found again, wrong labels are named, the corrected split trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hemoscope.runs import find_runs
from tests.in_process import hemoscope

QUICK = ("--device", "cpu", "--weights", "none", "--batch-size", "16", "--set", "precision=fp32")
SMALL = ("--set", "image_px=32", "--set", "canvas_px=36")
SWEEP = ("benchmark", "--arch", "resnet18", "--folds", "3", *QUICK, *SMALL)
NAMES = ("blue", "green", "red")


def document(*words: object) -> dict:
    done = hemoscope(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_folds_that_are_done_are_found_again_and_answer_for_every_image(discs: Path, tmp_path: Path):
    sweep = (*SWEEP, "--epochs", "1", "--data", discs, "--out", tmp_path / "folds")
    first = document(*sweep)
    assert [(run["arch"], run["seed"], run["fold"], run["fresh"]) for run in first["runs"]] == [
        ("resnet18", 0, fold, True) for fold in (1, 2, 3)
    ]
    assert [run["n"] for run in first["runs"]] == [24, 24, 24]
    again = document(*sweep, "--jobs", "2")
    assert again["runs"] == [run | {"fresh": False} for run in first["runs"]]
    policies = {run.card["split"]["policy"] for run in find_runs(tmp_path / "folds")}
    assert policies == {f"fold {k} of 3" for k in (1, 2, 3)}
    assert len(list((tmp_path / "folds" / "splits").iterdir())) == 3
    found = document("data", "audit", tmp_path / "folds")
    assert (found["n"], found["unanswered"], found["duplicates_by"]) == (72, 0, "pixels")


@pytest.mark.slow
def test_wrong_labels_are_named_and_the_split_without_them_trains(discs: Path, tmp_path: Path):
    cells = tmp_path / "cells"
    shutil.copytree(discs, cells)
    wrong = {}
    for own, to in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True):
        (cells / own / "23.png").rename(cells / to / "wrong.png")
        wrong[f"{to}/wrong.png"] = own
    document(*SWEEP, "--epochs", "12", "--data", cells, "--out", tmp_path / "folds")
    told = hemoscope("data", "audit", tmp_path / "folds", "--out", tmp_path / "out", "--also-test")
    assert told.returncode == 0, told.stderr
    assert "labels look wrong" in told.stdout
    assert "72 images, answers of 3 runs on their test side, 1 an image" in told.stderr
    assert (tmp_path / "out" / "suspects.png").is_file()
    found = document("data", "audit", tmp_path / "folds")
    suspects = {item["path"]: item["suggested"] for item in found["suspects"]}
    assert {path: suspects.get(path) for path in wrong} == wrong
    refused = hemoscope("data", "audit", tmp_path / "folds", "--out", tmp_path / "out")
    assert (refused.returncode, "is there already" in refused.stderr) == (1, True)

    split = ("--split", tmp_path / "out" / "corrected.csv")
    document("train", "resnet18", "--data", cells, "--out", tmp_path, "--epochs", "1", *QUICK, *SMALL, *split)
    (card,) = (run.card for run in find_runs(tmp_path))
    kept = sum(sum(side.values()) for side in card["data"]["counts"].values())
    assert kept == 72 - len(suspects)


def test_folds_leave_a_brought_split_aside_and_say_so(discs: Path, tmp_path: Path):
    for side in ("train", "test"):
        for name in ("red", "blue"):
            place = tmp_path / "cells" / side / name
            place.mkdir(parents=True)
            for i in range(12):
                number = i + 12 * (side == "test")
                shutil.copy(discs / name / f"{number:02d}.png", place / f"{number:02d}.png")
    done = hemoscope(
        *SWEEP, "--epochs", "1", "--data", tmp_path / "cells", "--out", tmp_path / "runs", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert "the data bring a split; folds leave it aside" in done.stderr
    assert [run["n"] for run in json.loads(done.stdout)["runs"]] == [16, 16, 16]


def test_folds_and_a_split_are_refused_together(discs: Path, tmp_path: Path):
    done = hemoscope("benchmark", "--data", discs, "--folds", "3", "--split", tmp_path / "split.csv")
    assert done.returncode == 2
    assert "not together with --split" in done.stderr


def test_without_runs_a_sentence_says_how_to_make_some(tmp_path: Path):
    done = hemoscope("data", "audit", tmp_path)
    assert done.returncode == 1
    assert "expected finished runs" in done.stderr
