"""The whole way from Python, and that it is the command line's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hemoscope import api
from hemoscope.cli.app import app
from hemoscope.data.split_file import write_split
from hemoscope.errors import ConfigError, DataError, RunError, UnknownNameError
from hemoscope.evaluation.summary import score
from hemoscope.training.run import prepare
from tests.suspects.conftest import write_folds

SMALL = {"weights": "none", "epochs": 1, "image_px": 32, "canvas_px": 36, "precision": "fp32"}


def test_the_whole_way_from_cells_to_an_answer(discs: Path, tmp_path: Path):
    runs, told = tmp_path / "runs", []
    shutil.copytree(discs, tmp_path / "cells")  # read by nobody yet
    (tmp_path / "cells/red/broken.png").touch()
    discs = tmp_path / "cells"
    cells = api.scan(discs, skip_bad=True, progress=lambda *words: told.append(words))
    assert told[-1] == ("reading images", len(cells.images) + 1, len(cells.images) + 1)
    sides = api.split(cells)
    first, second = (
        api.train("resnet18", cells, sides, seed=seed, out=runs, device="cpu", **SMALL) for seed in (0, 1)
    )
    assert api.train("resnet18", cells, sides, out=runs, device="cpu", **SMALL).path == first.path  # done
    assert [problem["path"] for problem in first.card["data"]["left_out"]] == ["red/broken.png"]
    scores = api.evaluate(first)
    assert scores.n == sides.counts["test"]["red"] * 3
    assert scores.to_json() == score(first.predictions("test")).to_json()
    (discs / "red/broken.png").unlink()
    assert api.evaluate(second.path, discs, device="cpu").n == len(cells.images)
    both = [first.name, second.name]
    voted = api.vote(runs, members=both, how="soft")
    mean = (first.predictions("test").probs + second.predictions("test").probs) / 2
    assert np.allclose(voted.predictions.probs, mean)
    assert "ResNet-18" in api.report(runs, tmp_path / "report", members=both).read_text("utf-8")
    assert {*both, "ensemble"} == {subject.name for subject in api.compare(runs, members=both).subjects}
    for shown in (cells, sides, first, voted):  # in a notebook, where the cells may be a million
        assert not any(image.path in repr(shown) for image in cells.images)
        assert len(repr(shown)) < 5000
    card = api.bundle(runs, tmp_path / "both.hemo", members=both, device="cpu")
    assert sorted(member.seed for member in card.members) == [0, 1]
    model = api.load(tmp_path / "both.hemo", device="cpu")
    assert set(model.predict([discs / "red/00.png"])) <= set(cells.classes)


def test_a_run_made_here_is_a_run_made_there(discs: Path, tmp_path: Path):
    words = [f"--set={key}={value}" for key, value in SMALL.items()]
    there = CliRunner().invoke(
        app, ["train", "resnet18", "--data", str(discs), "--out", str(tmp_path), "--device=cpu", *words]
    )
    assert there.exit_code == 0, there.output
    (made,) = [path for path in tmp_path.iterdir() if path.name != "splits"]
    before = (made / "DONE").stat().st_mtime_ns
    cells = api.scan(discs)
    run = api.train("resnet18", cells, api.split(cells), out=tmp_path, device="cpu", **SMALL)
    assert (run.path, (run.path / "DONE").stat().st_mtime_ns) == (made, before)


@pytest.mark.parametrize("how", ["drawn", "fold", "read"])
def test_the_call_on_a_card_is_of_that_run(discs: Path, tmp_path: Path, how: str):
    root = shutil.copytree(discs, tmp_path / "cells")
    (root / "red/broken.png").touch()
    cells = api.scan(root, skip_bad=True)
    if how == "read":
        write_split(api.split(cells, seed=5), tmp_path / "mine.csv")
    sides = {
        "drawn": lambda: api.split(cells, policy="clean", seed=5),
        "fold": lambda: api.folds(cells, 3, seed=2)[1],
        "read": lambda: api.split(cells, file=tmp_path / "mine.csv"),
    }[how]()
    run = api.train("resnet18", cells, sides, seed=1, out=tmp_path / "runs", device="cpu", **SMALL)
    (tmp_path / "mine.csv").unlink(missing_ok=True)
    before = (run.path / "DONE").stat().st_mtime_ns
    first, _, second = run.card["command"].partition("; ")
    named: dict[str, object] = {"api": api}
    exec(first, named)
    again = eval(second, named)
    assert (again.path, (again.path / "DONE").stat().st_mtime_ns) == (run.path, before)


def test_folds_are_those_of_the_command_line_and_an_audit_of_them_is_written(discs: Path, tmp_path: Path):
    cells, prepared = api.scan(discs), prepare(discs, folds=3)
    assert api.folds(cells, 3) == tuple(prepared.in_fold(k).split for k in (1, 2, 3))
    write_folds(tmp_path / "runs", cells, {"red/05.png": "blue"})
    found = api.audit(tmp_path / "runs", out=tmp_path / "out")
    assert [(s.path, s.given, s.suggested) for s in found.suspects] == [("red/05.png", "red", "blue")]
    assert (tmp_path / "out" / "suspects.csv").is_file()
    with pytest.raises(DataError, match="is there already"):
        api.audit(tmp_path / "runs", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="a split or folds, not both"):
        prepare(discs, folds=3, split_file=tmp_path / "out" / "corrected.csv")
    with pytest.raises(ConfigError, match="at least 2 folds"):
        api.folds(cells, 1)


def test_what_is_not_there_is_said(discs: Path, tmp_path: Path):
    cells = api.scan(discs)
    with pytest.raises(UnknownNameError, match="epoch"):
        api.train("resnet18", cells, api.split(cells), out=tmp_path, epoch=3)
    with pytest.raises(UnknownNameError, match="resnet18"):
        api.train("resnet81", cells, api.split(cells), out=tmp_path, weights="none")
    with pytest.raises(RunError, match="no finished|found none|finished run"):
        api.vote(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_address_is_refused_where_a_path_belongs_and_looked_at_where_runs_are_read(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    cells = api.scan(discs)
    for wrong in (
        lambda: api.scan("s3://bucket/cells"),
        lambda: api.train("resnet18", cells, api.split(cells), out="s3://bucket/runs"),
        lambda: api.evaluate("s3://bucket/runs/one"),
        lambda: api.report("runs", "s3://bucket/report"),
    ):
        with pytest.raises(ConfigError, match="expected a path on this machine, got s3://bucket/"):
            wrong()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3")]
    with pytest.raises(RunError, match="expected finished runs in file://"):
        api.vote((tmp_path / "cache").as_uri())
