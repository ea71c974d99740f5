"""The run folder: nothing half-written, odd names survive, damage is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hemoscope.predictions_file as predictions_file
from hemoscope.errors import DataError, RunError
from hemoscope.files import (
    atomic_path,
    lock_folder,
    new_folder,
    refuse_existing,
    refuse_inside,
    write_json,
    write_text,
)
from hemoscope.records import Predictions
from hemoscope.runs import EpochRow, Run, find_runs, format_history, write_predictions

ODD = "ig/caf\udce9 \u00e9,\n'.jpg"


def predictions(n: int = 5) -> Predictions:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), n).astype(np.float32).astype(np.float64)
    paths = (*(f"a/{i}.jpg" for i in range(n - 1)), ODD)
    return Predictions(("a", "b<c>", "ig"), paths, rng.integers(0, 3, n), probs, probs.argmax(axis=1))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "runs" / "one"
    write_json(
        folder / "run.json",
        {
            "arch": "vgg11",
            "seed": 1,
            "recipe": {"epochs": 2},
            "data": {"classes": ["a", "b<c>", "ig"], "root": ODD},
            "split": {"digest": "0" * 64},
        },
    )
    write_predictions(folder / "predictions.parquet", {"val": predictions(3), "test": predictions()})
    write_text(folder / "DONE", "x")
    return Run.open(folder)


def test_predictions_come_back_exactly_and_ordered_by_path(run: Run):
    want = predictions()
    order = sorted(range(5), key=want.paths.__getitem__)
    got = run.predictions("test")
    assert got.paths == tuple(want.paths[i] for i in order)
    assert ODD in got.paths
    np.testing.assert_array_equal(got.probs, want.probs[order])
    np.testing.assert_array_equal(got.target, want.target[order])
    assert len(run.predictions("val")) == 3


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="elsewhere predictions stay in memory")
def test_predictions_too_large_for_memory_are_read_from_a_file_without_a_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    want = {side: run.predictions(side) for side in ("val", "test")}
    monkeypatch.setattr(predictions_file, "IN_MEMORY", 0)
    monkeypatch.setattr(predictions_file, "_AT_ONCE", 6)  # two images of three classes
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    again = Run.open(run.path)
    for side, predictions in want.items():
        got = again.predictions(side)
        assert got.paths == predictions.paths
        for name in ("target", "pred", "probs"):
            np.testing.assert_array_equal(getattr(got, name), getattr(predictions, name))
        assert isinstance(got.probs.base, np.memmap)
    assert list((tmp_path / "cache" / "votes").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="elsewhere predictions stay in memory")
def test_no_room_for_predictions_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predictions_file, "IN_MEMORY", 0)
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    resource = pytest.importorskip("resource")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(RunError, match=r"predictions.parquet cannot be read: .*large"):
            run.predictions("val")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_name_of_any_bytes_survives_in_the_card(run: Run):
    assert Run.open(run.path).card["data"]["root"] == ODD


def test_history_comes_back(run: Run):
    rows = [EpochRow(i, 0.001, 0.5 / i, 0.9, 0.25, 0.95, 70.0) for i in (1, 2)]
    write_text(run.path / "history.csv", format_history(rows))
    assert Run.open(run.path).history == tuple(rows)


def test_only_finished_runs_are_found(run: Run, tmp_path: Path):
    other = tmp_path / "runs" / "two"
    write_json(other / "run.json", {"arch": "vgg11"})
    assert [r.name for r in find_runs(tmp_path / "runs")] == ["one"]
    assert [r.name for r in find_runs(tmp_path / "runs", done_only=False)] == ["one", "two"]
    assert [r.name for r in find_runs(run.path)] == ["one"]
    with pytest.raises(RunError, match="found none"):
        find_runs(tmp_path)


def test_damage_is_told(run: Run, tmp_path: Path):
    (run.path / "predictions.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RunError, match="predictions.parquet cannot be read"):
        run.predictions("test")
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match="run.json is damaged"):
        Run.open(run.path)
    with pytest.raises(RunError, match="expected a run folder"):
        Run.open(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "file.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="permissions of another kind")
def test_who_may_read_a_file_is_for_the_user_to_say(tmp_path: Path):
    for mask, mode in ((0o077, 0o600), (0o027, 0o640), (0o022, 0o644)):
        before = os.umask(mask)
        try:
            write_text(tmp_path / "file.txt", "private")
        finally:
            os.umask(before)
        assert (tmp_path / "file.txt").stat().st_mode & 0o777 == mode


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path):
    def fail() -> None:
        with new_folder(tmp_path / "above" / "new") as folder:
            (folder / "a").write_text("half")
            assert not (tmp_path / "above" / "new").exists()
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert list((tmp_path / "above").iterdir()) == []
    (tmp_path / "above" / "new").mkdir()
    with new_folder(tmp_path / "above" / "new") as folder:
        (folder / "a").write_text("whole")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
        "above",
        "above/new",
        "above/new/a",
    ]
    with pytest.raises(DataError, match="is there already"), new_folder(tmp_path / "late"):
        (tmp_path / "late").touch()
    assert (tmp_path / "late").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["above", "late"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_to_an_empty_folder_is_a_place_for_a_new_one(tmp_path: Path):
    (tmp_path / "room").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "room")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("whole")
    assert (tmp_path / "link" / "a").read_text() == "whole"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="there is no umask")
def test_who_may_read_a_new_folder_is_for_the_user_to_say(tmp_path: Path):
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750


def test_json_has_no_nan(tmp_path: Path):
    write_json(
        tmp_path / "a.json", {"x": float("nan"), "y": [np.float64(1.5), np.int64(2)], "z": np.arange(2)}
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.5, 2], "z": [0, 1]}


def _hold(folder: Path, ready: object, leave: object) -> None:
    with lock_folder(folder):
        ready.set()  # type: ignore[attr-defined]
        leave.wait()  # type: ignore[attr-defined]


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, leave))
    process.start()
    while not ready.wait(1):
        assert process.is_alive(), "it ended before it held the lock"
    with pytest.raises(RunError, match="in use by another process"), lock_folder(tmp_path):
        pass
    process.kill()
    process.join()
    with lock_folder(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_deleted_and_what_another_is_writing_is_not(tmp_path: Path, kind: str):
    path = tmp_path / "[a].txt"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hemoscope.files import atomic_path, new_folder\n"
        "make = atomic_path if sys.argv[2] == 'file' else new_folder\n"
        "with make(Path(sys.argv[1])) as part:\n"
        "    (part if sys.argv[2] == 'file' else part / 'half').write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(path), kind]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 2
    writers[0].kill()
    writers[0].communicate()
    if kind == "file":
        write_text(path, "whole")
    else:
        with new_folder(path):
            pass
    assert len(list(tmp_path.glob(".*.part"))) == 1  # of the one that still writes
    if kind == "folder":
        path.rmdir()
    writers[1].communicate("")
    assert writers[1].returncode == 0
    assert (path if kind == "file" else path / "half").read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("there/file.txt")
    refuse_existing(tmp_path / "link.txt", overwrite=True)
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "there" / "file.txt").read_text() == "new"
    assert len(list(tmp_path.rglob("*"))) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe and a link")
def test_only_files_are_replaced_and_all_else_is_named(tmp_path: Path):
    paths = [tmp_path / name for name in ("folder", "pipe", "nowhere", "file", "absent")]
    paths[0].mkdir()
    os.mkfifo(paths[1])
    paths[2].symlink_to("absent")
    paths[3].touch()
    with pytest.raises(DataError) as refused:
        refuse_existing(*paths, overwrite=True)
    assert [part.partition("got ")[2] for part in str(refused.value).split("; ")] == [
        "a folder",
        "a pipe or a device",
        "a link to nothing",
    ]
    with pytest.raises(OSError, match="expected a plain file"):
        write_text(paths[1], "text")
    assert paths[1].is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_where_there_is_no_room_for_a_folder_the_error_names_it(tmp_path: Path):
    with (
        pytest.raises(OSError, match="No space left") as full,
        new_folder(tmp_path / "cells"),
        Path("/dev/full").open("w", encoding="utf-8") as device,
    ):
        device.write("x")
    assert full.value.filename == str(tmp_path / "cells")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_inside_the_data_is_refused(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    with pytest.raises(DataError, match=r"x lies inside .*cells, where it would be read as data"):
        refuse_inside(tmp_path / "cells" / "x", tmp_path / "cells")
    refuse_inside(tmp_path / "x", tmp_path / "cells")
    refuse_inside(tmp_path / "cells" / ".x", tmp_path / "cells")
    (tmp_path / "labels.csv").touch()
    refuse_inside(tmp_path / "x", tmp_path / "labels.csv")  # a list names its images


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_where_there_is_no_room_the_error_names_the_file(tmp_path: Path):
    with (
        pytest.raises(OSError, match="No space left") as full,
        atomic_path(tmp_path / "weights"),
        Path("/dev/full").open("w", encoding="utf-8") as device,
    ):
        device.write("x")
    assert full.value.filename == str(tmp_path / "weights")
    assert list(tmp_path.iterdir()) == []
