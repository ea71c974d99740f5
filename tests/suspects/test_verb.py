"""The verbs together: folds are trained, done ones are found again, wrong labels are named, the corrected split trains."""

from __future__ import annotations

import json
from pathlib import Path

from hemoscope.runs import find_runs
from tests.in_process import hemoscope
from tests.two_networks import MISFILED

QUICK = ("--device", "cpu", "--weights", "none", "--batch-size", "16", "--set", "precision=fp32")
SMALL = ("--set", "image_px=32", "--set", "canvas_px=36")
SWEEP = ("benchmark", "--arch", "resnet18", "--folds", "3", "--epochs", "8", *QUICK, *SMALL)


def document(*words: object) -> dict:
    done = hemoscope(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_way_from_folds_to_a_corrected_split(misfiled: Path, tmp_path: Path):
    sweep = (*SWEEP, "--data", misfiled, "--out", tmp_path / "folds")
    first = document(*sweep)
    assert [(run["arch"], run["seed"], run["fold"], run["fresh"]) for run in first["runs"]] == [
        ("resnet18", 0, fold, True) for fold in (1, 2, 3)
    ]
    assert sum(run["n"] for run in first["runs"]) == 72
    again = document(*sweep, "--jobs", "2")
    assert [run | {"fresh": True} for run in again["runs"]] == first["runs"]
    assert not any(run["fresh"] for run in again["runs"])
    policies = {run.card["split"]["policy"] for run in find_runs(tmp_path / "folds")}
    assert policies == {f"fold {k} of 3" for k in (1, 2, 3)}
    assert len(list((tmp_path / "folds" / "splits").iterdir())) == 3

    told = hemoscope("data", "audit", tmp_path / "folds", "--out", tmp_path / "out", "--also-test")
    assert told.returncode == 0, told.stderr
    assert "labels look wrong" in told.stdout
    assert "72 images, answers of 3 runs on their test side" in told.stderr
    assert (tmp_path / "out" / "suspects.png").is_file()
    found = document("data", "audit", tmp_path / "folds")
    assert (found["n"], found["unanswered"], found["duplicates_by"]) == (72, 0, "pixels")
    names = ("blue", "green", "red")
    filed = {
        f"{to}/{file}": own for own, to in zip(names, names[1:] + names[:1], strict=True) for file in MISFILED
    }
    suspects = {item["path"]: item["suggested"] for item in found["suspects"]}
    assert {path: suspects.get(path) for path in filed} == filed

    trained = document(
        *(
            "train",
            "resnet18",
            "--data",
            misfiled,
            "--out",
            tmp_path / "runs",
            "--epochs",
            "1",
            *QUICK,
            *SMALL,
        ),
        *("--split", tmp_path / "out" / "corrected.csv"),
    )
    assert trained["n"] + len(suspects) >= 24
    refused = hemoscope("data", "audit", tmp_path / "folds", "--out", tmp_path / "out")
    assert (refused.returncode, "is there already" in refused.stderr) == (1, True)


def test_folds_leave_a_brought_split_aside_and_say_so(discs: Path, tmp_path: Path):
    import shutil

    for side in ("train", "test"):
        for name in ("red", "blue"):
            place = tmp_path / "cells" / side / name
            place.mkdir(parents=True)
            for i in range(12):
                number = i + 12 * (side == "test")
                shutil.copy(discs / name / f"{number:02d}.png", place / f"{number:02d}.png")
    words = (*SWEEP[: -len((*QUICK, *SMALL)) - 2], "--epochs", "1", *QUICK, *SMALL)
    done = hemoscope(*words, "--data", tmp_path / "cells", "--out", tmp_path / "runs", "--json")
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
