"""A pipe would be waited for and a device never ends: every verb says so instead."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemoscope.cli import main
from hemoscope.runs import CARD, HISTORY, MODEL, PREDICTIONS, Run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

LONGEST_S = 300  # a hang, on any machine


@pytest.fixture
def awake() -> Iterator[None]:
    """Fail where a verb hangs."""

    def wake(*_: object) -> None:
        raise TimeoutError("it waits for a pipe, or reads a device without end")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def code_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["hemoscope", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize("special", ["pipe", pytest.param("/dev/zero", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "words",
    [
        "train resnet18 --weights none --data SPECIAL",
        "train resnet18 --weights none --data CELLS --split SPECIAL",
        "train resnet18 --recipe TOML --data CELLS",
        "data check SPECIAL",
        "data split SPECIAL --out out.csv",
        "data list SPECIAL --out out.csv",
        "evaluate SPECIAL",
        "evaluate RUN --data SPECIAL --device cpu",
        "evaluate RUN --data CELLS --split SPECIAL --device cpu",
        "report SPECIAL",
        "bundle SPECIAL --out out.hemo",
        "bundle verify SPECIAL",
        "bundle show SPECIAL",
        "predict SPECIAL CELLS",
        "predict BUNDLE SPECIAL --device cpu",
        "differential BUNDLE SPECIAL --device cpu",
        "differential BUNDLE CELLS --ranges SPECIAL --device cpu",
        "explain BUNDLE SPECIAL --device cpu",
        "export SPECIAL --out out.onnx",
        "weights import SPECIAL",
    ],
)
def test_what_is_no_plain_file_is_refused(
    words: str,
    special: str,
    misfiled: Path,
    runs: list[Run],
    single_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    awake: None,
):
    monkeypatch.chdir(tmp_path)
    source = Path("/dev/zero")
    if special == "pipe":
        source = tmp_path / "pipe"
        os.mkfifo(source)
    elif not source.exists():
        pytest.skip("this system has no /dev/zero")
    (tmp_path / "recipe.toml").symlink_to(source)
    named = {
        "SPECIAL": source,
        "TOML": tmp_path / "recipe.toml",
        "CELLS": misfiled,
        "RUN": runs[0].path,
        "BUNDLE": single_file,
    }
    assert code_of([str(named.get(word, word)) for word in words.split()], monkeypatch) in (1, 2)
    said = capsys.readouterr()
    assert said.err.strip()
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", [CARD, HISTORY, PREDICTIONS, MODEL])
def test_pipes_in_a_run_folder_are_waited_for_by_nobody(
    name: str,
    runs: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    awake: None,
):
    folder = tmp_path / "runs" / runs[0].name
    shutil.copytree(runs[0].path, folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    monkeypatch.chdir(tmp_path)
    codes = {
        "report": code_of(["report", "runs"], monkeypatch) if name != MODEL else 1,  # it needs no network
        "bundle": code_of(["bundle", "runs", "--out", "out.hemo", "--device", "cpu"], monkeypatch),
    }
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    wanted = 0 if name == HISTORY else 1  # a run without a history has its scores
    assert codes == {"report": wanted, "bundle": wanted}
