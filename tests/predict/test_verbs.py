"""bundle, predict, differential, explain and export as a user types them.

They go through the program's entry in this process, since a new one takes seconds to import torch; tests/cli and the
tutorial start real ones.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.bundle.file import read_bundle
from hemoscope.cli.differential import _name_of
from hemoscope.differential.count import Differential, Doubt
from hemoscope.differential.reference import read_reference
from hemoscope.differential.smear import count_cells
from hemoscope.errors import DataError
from hemoscope.explain.write import explain_to
from hemoscope.predict.inputs import find_images
from hemoscope.predict.model import Model, load
from hemoscope.predict.rows import clear_parts, predict_to
from hemoscope.runs import Run
from tests.in_process import hemoscope

RANGES = """
name = "Discs"
source = "tests/conftest.py"
[classes.red]
label = "Red <discs>"
role = "white"
percent = [10, 30]
[classes.green]
label = "Green discs"
role = "white"
[classes.blue]
label = "Blue discs"
role = "platelet"
"""


def in_a_process(*words: object) -> subprocess.CompletedProcess[str]:
    """For exports, whose libraries warn and may end the process that they are in."""
    command = [sys.executable, "-m", "hemoscope", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture
def ranges(tmp_path: Path) -> Path:
    path = tmp_path / "ranges.toml"
    path.write_text(RANGES)
    return path


@pytest.fixture
def smear(misfiled: Path, tmp_path: Path) -> Path:
    """Ten red, ten green and two blue discs in one folder, and a file that is cut short."""
    folder = tmp_path / "smear"
    folder.mkdir()
    for colour, n in (("red", 10), ("green", 10), ("blue", 2)):
        for i in range(n):
            (folder / f"{colour}-{i}.png").write_bytes((misfiled / colour / f"{i:02d}.png").read_bytes())
    (folder / "z-cut.png").write_bytes((misfiled / "red/11.png").read_bytes()[:500])
    return folder


def test_two_runs_become_one_file_that_checks_itself_and_is_not_replaced(runs: list[Run], tmp_path: Path):
    out = tmp_path / "model.hemo"
    for run in runs:
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / run.name).symlink_to(run.path, target_is_directory=True)
    made = hemoscope("bundle", tmp_path / "runs", "--out", out, "--vote", "soft", "--json")
    assert made.returncode == 0, made.stderr
    card = json.loads(made.stdout)
    assert (card["vote"], card["classes"]) == ("soft", ["blue", "green", "red"])
    assert {member["arch"] for member in card["members"]} == {"resnet18"}
    verified = hemoscope("bundle", "verify", out)
    assert verified.returncode == 0, verified.stderr
    assert "is whole" in verified.stdout
    again = hemoscope("bundle", tmp_path / "runs", "--out", out)
    assert again.returncode != 0
    assert "is there already" in again.stderr
    before = read_bundle(out).digest
    replaced = hemoscope("bundle", tmp_path / "runs", "--out", out, "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert read_bundle(out).digest != before  # by majority now
    assert [path.name for path in tmp_path.iterdir() if path != tmp_path / "runs"] == ["model.hemo"]


@pytest.mark.slow
def test_the_order_in_which_python_hashes_texts_changes_no_bundle(runs: list[Run], tmp_path: Path):
    cards = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.hemo"
        words = [sys.executable, "-m", "hemoscope", "bundle", str(runs[0].path), "--out", str(out)]
        words += ["--unknown-share", "0.1"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(words, env=environment, check=True, capture_output=True, timeout=600)
        cards.append(read_bundle(out).card.model_dump(exclude={"created"}))
    assert cards[0] == cards[1]
    assert cards[0]["calibration"]["measured"]["strange_called_unknown"]["noise"]["of"] > 0


def test_a_process_ends_without_a_word_of_its_libraries(single_file: Path):
    told = in_a_process("bundle", "verify", single_file)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_bundle_is_shown_to_people_and_to_scripts(ensemble_file: Path):
    shown = hemoscope("bundle", "show", ensemble_file)
    assert shown.returncode == 0, shown.stderr
    bundle = read_bundle(ensemble_file)
    for what in ("blue", "green", "red", "resnet18", "Not a medical device", bundle.card.chosen):
        assert what in shown.stdout
    assert bundle.digest in shown.stderr
    told = json.loads(hemoscope("bundle", "show", ensemble_file, "--json").stdout)
    assert told["digest"] == bundle.digest
    assert told["calibration"]["review_below"] == bundle.card.calibration.review_below


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predictions_are_replaced_on_request_only(model: Model, misfiled: Path, tmp_path: Path, suffix: str):
    out = tmp_path / f"cells{suffix}"
    red, blue = (
        [(path.name, path) for path in sorted((misfiled / name).iterdir())] for name in ("red", "blue")
    )
    predict_to(out, model, red)
    before = out.read_bytes()
    with pytest.raises(DataError, match="--overwrite"):
        predict_to(out, model, blue)
    assert out.read_bytes() == before
    predict_to(out, model, blue, overwrite=True)
    assert out.read_bytes() != before
    assert list(tmp_path.iterdir()) == [out]
    if os.name == "posix":
        (tmp_path / "there").mkdir()
        out.rename(target := tmp_path / "there" / out.name)
        out.symlink_to(target)
        predict_to(out, model, red, overwrite=True)
        assert out.is_symlink()
        assert target.read_bytes() == before
        assert list(target.parent.iterdir()) == [target]


def test_predict_prints_rows_and_a_bad_file_is_one_of_them(single_file: Path, smear: Path):
    result = hemoscope("predict", single_file, smear, "--device", "cpu")
    assert result.returncode == 1
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["path"] for row in rows] == sorted(p.as_posix() for p in smear.iterdir())
    assert rows[-1]["status"] == "error"
    assert rows[-1]["error"]
    assert {row["pred"] for row in rows[:-1]} <= {"red", "green", "blue"}
    assert "23 images" in result.stderr


def test_predict_says_of_a_model_that_it_calls_everything_unknown_there_or_nothing(
    runs: list[Run], single_file: Path, smear: Path, tmp_path: Path
):
    noise, none = tmp_path / "noise", tmp_path / "none.hemo"
    noise.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)):
        Image.fromarray(image).save(noise / f"{i}.png")
    unlike = "12 of 12 images are unlike the cells it knows, of which it calls "
    assert unlike in hemoscope("predict", single_file, noise, "--device", "cpu").stderr
    assert (
        "unlike the cells it knows" not in hemoscope("predict", single_file, smear, "--device", "cpu").stderr
    )
    made = hemoscope(
        "bundle", runs[0].path, "--out", none
    )  # of 1 % of so few validation images nothing can be said
    assert "calls nothing unknown" in made.stderr
    assert "this model calls nothing unknown" in hemoscope("predict", none, smear, "--device", "cpu").stderr


def test_a_smear_becomes_a_page_a_table_and_figures(ensemble_file: Path, smear: Path, ranges: Path):
    out = smear.parent / "out"
    words = (ensemble_file, smear, "--ranges", ranges, "--out", out, "--title", "<b>Smear</b>", "--json")
    result = hemoscope("differential", *words)
    assert result.returncode == 1, result.stderr  # one file was bad
    found = json.loads(result.stdout)
    assert found["error"] == 1
    counted = {share["name"]: share["counted"] for share in found["shares"]}
    assert sum(counted.values()) + found["unknown"] == 22
    with (out / "cells.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] in ("accepted", "review")]
    assert counted == {name: sum(row["pred"] == name for row in rows) for name in ("red", "green", "blue")}
    assert found["n_white"] == counted["red"] + counted["green"]
    assert json.loads((out / "differential.json").read_text("utf-8"))["shares"] == found["shares"]
    page = (out / "report.html").read_text("utf-8")
    assert "&lt;b&gt;Smear&lt;/b&gt;" in page
    assert "<b>Smear" not in page
    assert "Red &lt;discs&gt;" in page
    assert "Research software, not a medical device" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/jpeg") == min(found["review"], 9) + min(found["unknown"], 9)
    again = hemoscope("differential", *words)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    before = (out / "cells.csv").read_bytes()
    assert hemoscope("differential", *words, "--overwrite").returncode == 1  # the bad file
    assert (out / "cells.csv").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["cells.csv", "differential.json", "report.html"]


def test_a_count_that_was_stopped_after_its_cells_goes_on(
    model: Model, smear: Path, ranges: Path, tmp_path: Path
):
    table, reference = tmp_path / "cells.csv", read_reference(ranges)

    def count() -> tuple[Differential, tuple[Doubt, ...]]:
        return count_cells(table, model, find_images([str(smear)]), reference)

    before, cells = count(), table.read_bytes()
    assert count() == before
    assert table.read_bytes() == cells
    clear_parts(table)  # as when the page is written
    with pytest.raises(DataError, match="is there already"):
        count()


def test_nothing_is_no_count(single_file: Path, ranges: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    result = hemoscope(
        "differential", single_file, tmp_path / "empty", "--ranges", ranges, "--out", out, "--json"
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "no image to count" in result.stderr
    assert "1 .txt" in result.stderr
    assert list(out.iterdir()) == []
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "torn.png").write_bytes(b"no image")
    words = ("--ranges", ranges, "--out", out, "--device", "cpu")
    result = hemoscope("differential", single_file, tmp_path / "bad", *words)
    assert result.returncode == 1
    assert "none of 1 files can be read" in result.stderr
    assert "torn.png" in result.stderr
    assert list(out.iterdir()) == []
    (out / "cells.csv").write_text("of an earlier count")
    hemoscope("differential", single_file, tmp_path / "empty", *words, "--overwrite")
    assert (out / "cells.csv").read_text() == "of an earlier count"
    result = hemoscope("predict", single_file, tmp_path / "empty", "--out", tmp_path / "rows.csv")
    assert result.returncode == 1
    assert "there was no image in" in result.stderr
    assert not (tmp_path / "rows.csv").exists()


def test_flips_and_turns_are_counted_by_a_confusion_measured_with_them(
    ensemble_file: Path, single_file: Path, smear: Path, ranges: Path
):
    out = smear.parent / "out"
    words = (smear, "--ranges", ranges, "--out", out, "--tta", "--json")
    refused = hemoscope("differential", single_file, *words)
    assert refused.returncode == 2
    assert "was calibrated without flips and turns" in refused.stderr
    assert not out.exists()
    found = json.loads(hemoscope("differential", ensemble_file, *words).stdout)
    trust = read_bundle(ensemble_file).card.tta
    assert trust is not None
    assert found["model"]["n_val"] == sum(map(sum, trust.confusion))


@pytest.mark.parametrize(
    ("given", "name"), [(".", "smear-17"), ("./", "smear-17"), ("..", "day-2"), ("-", "standard input")]
)
def test_a_smear_is_called_after_its_folder_however_that_is_named(
    given: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "day-2" / "smear-17").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "day-2" / "smear-17")
    assert _name_of(given) == name


def test_a_class_without_a_role_stops_the_count_before_it_begins(single_file: Path, smear: Path):
    out = smear.parent / "out"
    result = hemoscope("differential", single_file, smear, "--out", out)
    assert result.returncode == 2
    assert "--ranges" in result.stderr
    assert not out.exists()


def test_explain_shows_where_and_how_much_it_counts(single_file: Path, misfiled: Path, tmp_path: Path):
    pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")
    out = tmp_path / "maps"
    result = hemoscope(
        "explain", single_file, misfiled / "red/00.png", misfiled / "blue/01.png", "--out", out
    )
    assert result.returncode == 0, result.stderr
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1]
    rows = list(csv.DictReader((out / "explanations.csv").read_text("utf-8").splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["00.png", "01.png"]
    assert all(row["verdict"] in result.stdout for row in rows)
    words = ("explain", single_file, misfiled / "red/02.png", "--out", out)
    assert hemoscope(*words).returncode == 1
    assert hemoscope(*words, "--overwrite").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["000.png", "explanations.csv", "sheet.png"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    asked = load(single_file, device="cpu", precision="fp32")
    own = tmp_path / "photos"
    shutil.copytree(misfiled / "red", own)
    photos = sorted(path.name for path in own.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sheet.png").touch()
    for source, into, message in (
        ([], out, "no image to explain"),
        (find_images([str(out)]), out, "lies in"),
        (find_images([str(own)]), own, "is not empty"),
        (find_images([str(own)]), tmp_path / "mine", r"is not empty \(sheet\.png\)"),
    ):
        with pytest.raises(DataError, match=message):
            explain_to(into, asked, list(source), overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in own.iterdir()) == photos
    (out / "mine.txt").touch()
    refused = hemoscope(*words, "--overwrite")
    assert refused.returncode == 1
    assert "mine.txt" in refused.stderr
    assert (out / "sheet.png").is_file()


@pytest.mark.slow
def test_export_says_how_close_it_is(single_file: Path, misfiled: Path, tmp_path: Path):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    out, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    result = in_a_process("export", single_file, "--out", out, "--int8", small, "--data", misfiled, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["largest_difference"] <= 1e-3
    assert told["int8"]["mib_int8"] < told["int8"]["mib_fp32"]
    assert (told["int8"]["n"], told["int8"]["n_val"]) == (9, 18)
    assert "thresholds of its own, of 18 validation images" in result.stderr
    assert out.is_file()
    assert small.is_file()
    before = out.read_bytes(), small.read_bytes()
    small.unlink()
    refused = in_a_process("export", single_file, "--out", out, "--int8", small, "--data", misfiled)
    assert refused.returncode == 1
    assert not small.exists()
    again = in_a_process(
        "export", single_file, "--out", out, "--int8", small, "--data", misfiled, "--overwrite"
    )
    assert again.returncode == 0, again.stderr
    assert (out.read_bytes(), small.read_bytes()) == before


@pytest.mark.slow
def test_a_failed_int8_leaves_nothing_in_the_way(single_file: Path, misfiled: Path, tmp_path: Path):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    other = tmp_path / "cells"
    shutil.copytree(misfiled, other)
    (other / "red/00.png").unlink()
    out, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    words = ("export", single_file, "--out", out, "--int8", small, "--data")
    for data in (other, tmp_path):
        refused = in_a_process(*words, data)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert not out.exists()
        assert not small.exists()
    assert in_a_process(*words, misfiled).returncode == 0
