"""The command line as users and scripts meet it: real processes, exit codes, clean JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hemoscope.cli import main
from hemoscope.models.registry import arch_names
from tests import in_process

CLASSES = ["basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet"]
QUICK = ["--weights", "none", "--epochs", "2", "--lr", "0.02", "--set", "image_px=32"]


def hemoscope(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hemoscope", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


def answer(*words: object, call: Callable[..., subprocess.CompletedProcess[str]] = hemoscope) -> dict:
    """Run a verb with --json; standard output must be one JSON document and nothing else."""
    result = call(*words, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def has_score_keys(scores: dict, classes: list[str]) -> bool:
    macro = {"precision", "sensitivity", "specificity"}
    return (
        {"n", "errors", "accuracy", "accuracy_ci", "macro", "classes"} <= set(scores)
        and set(scores["macro"]) >= macro
        and list(scores["classes"]) == classes
        and all(macro | {"support"} <= set(c) for c in scores["classes"].values())
    )


VERBS = [
    [],
    ["demo"],
    ["data"],
    *(["data", noun] for noun in ("fetch", "check", "list", "crop", "split", "audit", "synth", "cache")),
    ["models"],
    ["weights"],
    *(["weights", noun] for noun in ("list", "fetch", "verify", "import")),
    ["train"],
    ["benchmark"],
    ["tune"],
    ["track"],
    ["evaluate"],
    ["stress"],
    ["ensemble"],
    ["compare"],
    ["report"],
    ["bundle"],
    *(["bundle", noun] for noun in ("make", "show", "verify")),
    ["adapt"],
    ["predict"],
    ["differential"],
    ["explain"],
    ["export"],
    ["serve"],
    ["store"],
    *(["store", noun] for noun in ("user", "backup", "restore")),
    *(["store", "user", noun] for noun in ("add", "list", "remove")),
]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("train", "resnet18", "--data", "cells", "--out", "s3://bucket/runs"), "--out"),
        (("tune", "resnet18", "--data", "cells", "--search", "s.toml", "--out", "gs://b/x"), "--out"),
        (("evaluate", "s3://bucket/runs/one"), "RUN|RUNS|MODEL"),
        (("data", "check", "s3://bucket/cells"), "DIR"),
        (("bundle", "show", "s3://bucket/model.hemo"), "FILE"),
        (("report", "--out", "s3://bucket/report"), "--out"),
    ],
)
def test_an_address_where_a_path_belongs_is_refused_and_makes_no_folder(
    words: tuple[str, ...],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hemoscope", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    address = next(word for word in words if "://" in word)
    assert f"Invalid value for {named}: expected a path on this machine, got {address}" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself_without_loading_torch(verb: list[str]):
    probe = (
        "import sys; sys.argv = ['hemoscope', *sys.argv[1:]]\n"
        "from hemoscope.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'pyarrow', 'cv2', 'scipy', 'numpy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe, *verb, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout
    assert "HEAVY []" in result.stderr


def test_verbs_are_listed_in_the_order_in_which_they_are_met():
    verbs = [words[0] for words in VERBS if len(words) == 1]
    listed = hemoscope("--help").stdout.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line[:3].strip()] == verbs


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("report EMPTY", "expected finished runs"),
        ("data split EMPTY --out EMPTY/s.csv", "class folders"),
        ("data crop NONE --out cells", "expected a folder of pictures and boxes at EMPTY/none"),
        ("track EMPTY --to tensorboard", "expected finished runs"),
        ("evaluate EMPTY", "EMPTY"),
        ("bundle show EMPTY/none.hemo", "there is no bundle"),
        ("evaluate FILE", "is a file; expected a run folder"),
    ],
)
def test_a_failure_is_exit_1_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, what: str
):
    assert code_of(words, tmp_path, monkeypatch) == 1
    said = capsys.readouterr()
    assert what.replace("EMPTY", str(tmp_path)) in said.err
    assert said.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("train", "Missing"),
        ("train resnet81 --data NONE", "did you mean resnet18"),
        ("train resnet18 --data NONE --set epoch=3", "did you mean epochs"),
        ("train resnet18 --data NONE --epochs 0", "greater than or equal to 1"),
        ("train resnet18 --data NONE --lr -1", "greater than 0"),
        ("train resnet18 --data NONE --epochs 3 --set epochs=4", "epochs is given more than once"),
        ("train resnet18 --data NONE --weights some", "imagenet"),
        ("train resnet18 --data NONE --recipe papre", "did you mean paper"),
        ("benchmark --data NONE --arch resnet18,resnet81", "did you mean resnet18"),
        ("benchmark --data NONE --arch ,", "expected all, or names of architectures"),
        ("benchmark --data NONE --seeds one", "seeds such as 0,1,2"),
        ("benchmark --data NONE --jobs 0", "auto or a number"),
        ("benchmark --data NONE --folds 1", "--folds"),
        ("benchmark --data NONE --folds 5 --split s.csv", "not together with --split"),
        ("train resnet18 --data NONE --track wandb", "tensorboard"),
        ("track NONE", "Missing option"),
        ("track NONE --to tensorboard --weights", "needs --to mlflow"),
        ("data fetch pcb", "did you mean pbc"),
        ("data split NONE --out x --policy best", "paper"),
        ("data crop NONE --out x --context 0.9", "expected a factor from 1 to 10; got 0.9"),
        ("data crop NONE --out x --context nan", "expected a factor from 1 to 10; got nan"),
        ("ensemble NONE --vote loudest", "majority"),
        ("report NONE --vote loudest", "majority"),
        ("bundle NONE --out x --vote loudest", "majority"),
        ("bundle NONE --out x --coverage 1", "strictly between 0 and 1"),
        ("bundle NONE --out x --error-rate 0", "strictly between 0 and 1"),
        ("bundle NONE --out x --unknown-share nan", "strictly between 0 and 1"),
        ("predict NONE NONE --batch-size 0", "greater than or equal to 1"),
        ("predict NONE NONE --overwrite", "needs --out"),
        ("evaluate NONE --split NONE", "--split needs --data"),
        ("export NONE --out x --int8 y", "--int8 needs --data"),
        ("export NONE --out x --split y", "needs --int8"),
        ("export NONE --out x --format mlflow --int8 y", "goes with --format onnx only"),
        ("export NONE --out x --int8 x --data NONE", "another file than --out"),
        *(
            (f"{verb} --device cpu:x", "expected auto, cuda, cuda:N, mps or cpu")
            for verb in (
                "train resnet18 --data NONE",
                "benchmark --data NONE",
                "evaluate NONE",
                "bundle NONE --out x",
                "bundle verify NONE",
                "predict NONE NONE",
                "differential NONE NONE",
                "explain NONE NONE",
            )
        ),
        *(
            (f"{verb} --device cuda:999", "is not on this machine")
            for verb in (
                "train resnet18 --data NONE",
                "benchmark --data NONE",
                "evaluate NONE --data NONE",
                "bundle NONE --out x",
            )
        ),
    ],
)
def test_wrong_use_is_exit_2_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, what: str
):
    assert code_of(words, tmp_path, monkeypatch) == 2
    said = capsys.readouterr()
    assert what in " ".join(said.err.split())
    assert said.out == ""
    assert not list(tmp_path.iterdir())  # nothing was begun


def code_of(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Run a command in this process, for speed; EMPTY is an empty folder, NONE is not there."""
    named = {"EMPTY": str(folder), "NONE": str(folder / "none"), "FILE": __file__}
    filled = [re.sub("|".join(named), lambda match: named[match[0]], word) for word in words.split()]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hemoscope", *filled])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_models_lists_every_row():
    rows = json.loads(hemoscope("models", "--json").stdout)
    assert [row["arch"] for row in rows] == list(arch_names())
    assert set(rows[0]) >= {"arch", "params", "input_px", "canvas_px", "imagenet_top1_error", "weights"}
    assert {row["weights"] for row in rows} == {"absent"}


@pytest.mark.slow
def test_from_synthetic_cells_to_the_report(tmp_path: Path):
    here = partial(answer, call=in_process.hemoscope)  # the tutorial goes this way with processes
    cells, runs = tmp_path / "cells", tmp_path / "runs"
    assert here("data", "synth", cells, "--per-class", 9, "--size-px", 64)["images"] == 72
    check = here("data", "check", cells)
    assert check["images"] == 72
    assert check["classes"] == dict.fromkeys(CLASSES, 9)
    split = here("data", "split", cells, "--out", tmp_path / "split.csv", "--seed", 3)
    assert split["counts"]["test"] == dict.fromkeys(CLASSES, 2)
    header, *rows = (tmp_path / "split.csv").read_text().splitlines()
    assert header == "path,class,subtype,hash,split"
    assert len(rows) == 72

    train = here(
        "train", "mobilenet_v2", "--data", cells, "--split", tmp_path / "split.csv", "--out", runs, *QUICK
    )
    assert has_score_keys(train, CLASSES)
    assert train["n"] == 16
    again = here("evaluate", train["run"])
    assert again["errors"] == train["errors"]
    elsewhere = here("evaluate", train["run"], "--data", cells)
    assert elsewhere["n"] == 72
    assert elsewhere["seen_before"] == {side: sum(n.values()) for side, n in split["counts"].items()}
    told = in_process.hemoscope("evaluate", train["run"], "--data", cells)
    assert "was trained on 40 of these 72 images and validated on 16" in " ".join(told.stderr.split())

    sweep = ("benchmark", "--data", cells, "--split", tmp_path / "split.csv", "--out", runs, *QUICK)
    both = here(*sweep, "--arch", "mobilenet_v2,resnet18", "--seeds", "0,1")
    assert [(r["arch"], r["seed"], r["fresh"]) for r in both["runs"]] == [
        ("mobilenet_v2", 0, False),
        ("resnet18", 0, True),
        ("mobilenet_v2", 1, True),
        ("resnet18", 1, True),
    ]
    failing = in_process.hemoscope(*sweep, "--arch", "alexnet,resnet18", "--json")
    assert failing.returncode == 1
    assert [f["arch"] for f in json.loads(failing.stdout)["failed"]] == ["alexnet"]
    assert "FAILED alexnet seed 0" in failing.stderr

    ensemble = here("ensemble", runs, "--vote", "soft")
    assert has_score_keys(ensemble, CLASSES)
    assert len(ensemble["members"]) == 4
    refused = in_process.hemoscope("ensemble", runs, "--members", "paper")
    assert refused.returncode == 1
    assert "there is no run of wide_resnet50_2, vgg19, wide_resnet101_2, resnet34" in refused.stderr

    damaged = Path(both["runs"][3]["run"])
    (damaged / "run.json").write_text('{"arch":')
    without = in_process.hemoscope("ensemble", runs, "--json")
    assert f"left out: {damaged.name}: " in without.stderr
    assert damaged.name in [item["name"] for item in json.loads(without.stdout)["left_out"]]
    bundle = here("bundle", runs, "--out", tmp_path / "three.hemoscope")
    assert len(bundle["members"]) == 3

    report = Path(here("report", runs, "--out", tmp_path / "report", "--data", cells)["report"])
    text = report.read_text("utf-8")
    assert "MobileNet-v2" in text
    assert "not real cells" in text


def test_a_bloodmnist_file_is_taken_as_it_is_with_its_own_split(tmp_path: Path):
    rng = np.random.default_rng(0)
    arrays = {}
    for side, n in {"train": 32, "val": 8, "test": 8}.items():
        labels = np.arange(n) % 8
        images = rng.integers(0, 60, (n, 28, 28, 3)) + (labels * 24)[:, None, None, None]
        arrays[f"{side}_images"], arrays[f"{side}_labels"] = (
            images.astype(np.uint8),
            labels.reshape(n, 1).astype(np.uint8),
        )
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    run = answer(
        "train", "mobilenet_v2", "--data", tmp_path / "bloodmnist.npz", "--out", tmp_path / "runs", *QUICK
    )
    assert has_score_keys(run, CLASSES)
    card = json.loads((Path(run["run"]) / "run.json").read_text())
    assert card["split"]["policy"] == "given"
    assert {side: sum(n.values()) for side, n in card["data"]["counts"].items()} == {
        "train": 32,
        "val": 8,
        "test": 8,
    }
    words = ("data", "split", tmp_path / "bloodmnist.npz", "--out", tmp_path / "split.csv")
    assert "brings its own sides" in hemoscope(*words, "--seed", 7).stderr
    refused = hemoscope(*words, "--policy", "clean")
    assert refused.returncode == 1
    assert "leave --policy out" in " ".join(refused.stderr.split())


def test_a_side_that_the_data_lack_is_drawn_by_the_seed(discs: Path, tmp_path: Path):
    for place in sorted(discs.rglob("*.png")):
        side = "test" if place.stem < "05" else "train"
        (tmp_path / "cells" / side / place.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(place, tmp_path / "cells" / side / place.parent.name)
    drawn = [tmp_path / f"{seed}.csv" for seed in (1, 2)]
    for seed, out in enumerate(drawn, start=1):
        told = hemoscope("data", "split", tmp_path / "cells", "--out", out, "--seed", seed).stderr
        assert "--policy says nothing here" in " ".join(told.split())
    assert drawn[0].read_text() != drawn[1].read_text()


def test_a_bad_file_is_reported_by_check_and_stops_training_unless_skipped(discs: Path, tmp_path: Path):
    folder = tmp_path / "cells"
    shutil.copytree(discs, folder)
    (folder / "red" / "torn.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "empty").mkdir()
    result = hemoscope("data", "check", folder, "--json")
    assert result.returncode == 1
    errors = [p["path"] for p in json.loads(result.stdout)["problems"] if p["level"] == "error"]
    assert errors == ["empty", "red/torn.jpg"]
    refused = hemoscope("train", "mobilenet_v2", "--data", folder, "--out", tmp_path / "runs", *QUICK)
    assert refused.returncode == 1
    assert "red/torn.jpg" in refused.stderr
    assert not (tmp_path / "runs").exists()
    answer("train", "mobilenet_v2", "--data", folder, "--out", tmp_path / "runs", "--skip-bad", *QUICK)


def test_a_finished_run_without_its_weights_says_so(discs: Path, tmp_path: Path):
    words = ("--data", discs, "--out", tmp_path, "--epochs", "1", *QUICK[:2], *QUICK[4:])
    train, sweep = ("train", "resnet18", *words), ("benchmark", "--arch", "resnet18", *words)
    (weights,) = [Path(answer(*train)["run"]) / "model.safetensors"]
    for verb in (train, sweep):
        assert "model.safetensors" not in in_process.hemoscope(*verb).stderr
    weights.unlink()
    for verb in (train, sweep):
        told = in_process.hemoscope(*verb)
        assert told.returncode == 0
        assert f"{weights.parent} holds no model.safetensors" in told.stderr
        assert "delete the folder and run the same command again" in told.stderr


def test_a_split_is_not_replaced_by_another(discs: Path, tmp_path: Path):
    out = tmp_path / "split.csv"
    first = answer("data", "split", discs, "--out", out)
    assert answer("data", "split", discs, "--out", out) == first
    other = hemoscope("data", "split", discs, "--out", out, "--seed", 1)
    assert other.returncode == 1
    assert "holds another split" in other.stderr
    assert answer("data", "split", discs, "--out", out, "--seed", 1, "--overwrite") != first
    assert hemoscope("data", "split", discs, "--out", out).returncode == 1


def test_a_list_that_says_a_split_keeps_its_columns(discs: Path, tmp_path: Path):
    cells = shutil.copytree(discs, tmp_path / "cells")
    answer("data", "split", cells, "--out", tmp_path / "split.csv")
    rows = [line.split(",") for line in (tmp_path / "split.csv").read_text().splitlines()]
    own = "\n".join(f"{row[0]},{row[1]},{row[4]},{'ward' if i == 0 else i % 7}" for i, row in enumerate(rows))
    (cells / "list.csv").write_text(own)
    (tmp_path / "own.csv").write_text(own)
    itself = hemoscope("data", "split", cells / "list.csv", "--out", cells / "list.csv", "--overwrite")
    assert itself.returncode == 1
    assert "is the list itself" in itself.stderr
    assert (cells / "list.csv").read_text() == own
    answer("data", "split", cells / "list.csv", "--out", tmp_path / "own.csv")
    answer("data", "split", cells / "list.csv", "--out", tmp_path / "own.csv", "--overwrite")
    assert (tmp_path / "own.csv").read_text() == own


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_the_shell_completes_verbs(tmp_path: Path):
    environment = {
        **os.environ,
        "_HEMOSCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": "hemoscope b",
        "COMP_CWORD": "1",
    }
    probe = "import sys; sys.argv = ['hemoscope']; from hemoscope.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["benchmark", "bundle"], done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(discs: Path, tmp_path: Path):
    words = [
        "train",
        "mobilenet_v2",
        "--data",
        str(discs),
        "--out",
        str(tmp_path),
        *QUICK,
        "--epochs",  # the last one counts
        "12",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "hemoscope", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  background jobs ignore it
    )
    while not list(tmp_path.glob("*/history.csv")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "The same command goes on from there" in errors
    assert "Traceback" not in errors
    (history,) = tmp_path.glob("*/history.csv")
    before = history.read_text().splitlines()
    assert 2 <= len(before) < 13
    assert hemoscope(*words[:-1]).returncode == 0
    after = history.read_text().splitlines()
    assert len(after) == 13
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_give_their_core_away_unless_the_person_said_otherwise(own, expected):
    script = (
        "import os, runpy, sys\nsys.argv = ['hemoscope', 'data', 'fetch', '--help']\n"
        "try: runpy.run_module('hemoscope', run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | own, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"False {expected}"
