"""Run folders behind a URL: what arrives is whole, one process at a time is at a run, and any machine goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pyarrow.fs import FileSelector, FileType

from hemoscope.errors import ConfigError, RunError
from hemoscope.places import is_url
from hemoscope.runs import EpochRow, Run, find_runs
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.plan import plan
from hemoscope.sweep.storage import RunStore, runs_at
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

QUICK = Recipe(weights="none", epochs=2, batch_size=16, image_px=32, precision="fp32")
SAME = ("predictions.parquet", "model.safetensors")
BEAT_S, STALE_S = 0.05, 5.0


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server in a process of its own."""
    pytest.importorskip("moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/moto-api/"))
        yield f"127.0.0.1%3A{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL of an empty folder in a bucket; this machine has no credentials but these."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "here"))
    query = f"endpoint_override={s3}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    return f"s3://{tmp_path.name.replace('_', '-')}/runs?{query}"


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url).status == 200
    except OSError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def _names(store: RunStore) -> set[str]:
    root = store._root
    found = store.fs.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
    return {info.path.removeprefix(f"{root}/") for info in found if info.type == FileType.File}


@pytest.mark.parametrize("url", ["ftp://host/runs", "nonsense://x", "s3:///"])
def test_a_storage_that_nobody_knows_is_refused_with_what_was_expected(url: str):
    with pytest.raises(ConfigError, match=r"expected a storage such as s3://bucket/runs"):
        RunStore(url)


def test_a_place_without_finished_runs_is_refused(bucket: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="expected finished runs in file"):
        runs_at((tmp_path / "empty").as_uri())
    with pytest.raises(RunError, match="cannot be read"):
        runs_at((tmp_path / "not there").as_uri())
    assert runs_at(str(tmp_path)) == tmp_path


def test_what_is_read_from_a_storage_is_what_it_holds_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    there = tmp_path / "runs"
    for name, file in (("a", "DONE"), ("b", "DONE"), ("unfinished", "history.csv"), ("splits", "0a.csv")):
        (there / name).mkdir(parents=True)
        for each in ("run.json", file):
            (there / name / each).write_text("{}")
    (there / "splits" / "run.json").unlink()
    found = runs_at(there.as_uri())
    assert {path.name for path in found.iterdir()} == {"a", "b", "splits"}
    assert (found / "splits" / "0a.csv").is_file()
    before = (found / "a" / "run.json").stat().st_ino
    assert runs_at(there.as_uri()) == found
    assert (found / "a" / "run.json").stat().st_ino == before  # nothing is brought twice
    (found / "tensorboard").mkdir()
    (found / "tensorboard" / "events").touch()
    shutil.rmtree(there / "b")
    (there / "a" / "run.json").write_text('{"trained": "again"}')
    assert {path.name for path in runs_at(there.as_uri()).iterdir()} == {"a", "splits", "tensorboard"}
    assert (found / "tensorboard" / "events").exists()  # which track has written there
    assert "again" in (found / "a" / "run.json").read_text()


def test_a_windows_path_is_no_url():
    assert not is_url("C:/runs")
    assert is_url("gs://bucket/runs")


def test_a_run_in_a_bucket_is_that_of_a_folder_and_is_not_done_again_elsewhere(
    discs: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    prepared, planned = prepare(discs), plan(["squeezenet1_1"], [0])
    (in_folder,) = run_sweep(planned, QUICK, prepared, out=tmp_path / "runs", device_name="cpu")
    (in_bucket,) = run_sweep(planned, QUICK, prepared, out=RunStore(bucket), device_name="cpu")
    assert in_folder.run is not None
    assert in_bucket.run is not None, in_bucket.reason
    for name in SAME:
        assert (in_folder.run.path / name).read_bytes() == (in_bucket.run.path / name).read_bytes()
    store = RunStore(bucket)
    run_name = in_folder.run.name
    assert _names(store) == {f"{run_name}/{file}" for file in (*SAME, "run.json", "history.csv", "DONE")} | {
        f"splits/{prepared.split.digest[:16]}.csv"
    }

    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "a third machine"))
    folder = runs_at(bucket)
    assert [run.name for run in find_runs(folder)] == [run_name]
    assert [file.name for file in (folder / "splits").iterdir()] == [f"{prepared.split.digest[:16]}.csv"]

    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "another machine"))
    (again,) = run_sweep(planned, QUICK, prepared, out=RunStore(bucket), device_name="cpu")
    assert again.run is not None
    assert not again.fresh
    assert str(again.run.path).startswith(str(tmp_path / "another machine"))
    assert (
        Run.open(again.run.path).verified("model.safetensors").read_bytes()
        == (in_folder.run.path / "model.safetensors").read_bytes()
    )


def test_another_machine_goes_on_from_the_checkpoint_in_the_bucket(
    discs: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    prepared, planned = prepare(discs), plan(["squeezenet1_1"], [0])
    three = QUICK.model_copy(update={"epochs": 3})
    heard: list[int] = []

    class Second(Watcher):
        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            heard.append(row.epoch)
            if row.epoch == 2 and len(heard) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(planned, three, prepared, out=RunStore(bucket), device_name="cpu", watch=lambda _: Second())
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "another machine"))
    (outcome,) = run_sweep(
        planned, three, prepared, out=RunStore(bucket), device_name="cpu", watch=lambda _: Second()
    )
    assert outcome.run is not None, outcome.reason
    assert heard == [1, 2, 2, 3]  # the second epoch's checkpoint had not been kept when it stopped
    (whole,) = run_sweep(planned, three, prepared, out=tmp_path / "runs", device_name="cpu")
    assert whole.run is not None
    for name in SAME:
        assert (outcome.run.path / name).read_bytes() == (whole.run.path / name).read_bytes()


def test_of_many_that_claim_a_run_one_at_a_time_has_it(bucket: str):
    store, inside, most, done = RunStore(bucket, beat_s=BEAT_S), 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        with store.held("a"):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with guard:
                inside -= 1
                done += 1

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (most, done) == (1, 6)
    assert not _names(store)


HOLD = """
import sys, time
from hemoscope.sweep.storage import RunStore
with RunStore(sys.argv[1], beat_s=0.05).held("a"):
    print("held", flush=True)
    time.sleep(3600)
"""


def test_a_claim_of_a_killed_process_counts_for_nothing_and_of_a_living_one_for_all(bucket: str):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, bucket], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        store, taken = RunStore(bucket, beat_s=BEAT_S, stale_s=STALE_S), threading.Event()

        def take() -> None:
            with store.held("a"):
                taken.set()

        waiting = threading.Thread(target=take, daemon=True)
        waiting.start()
        assert not taken.wait(1.5 * STALE_S)
        holder.kill()
        waiting.join()
        assert taken.is_set()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_process_that_slept_too_long_learns_that_its_run_is_another_s(bucket: str):
    store = RunStore(bucket, beat_s=BEAT_S, stale_s=STALE_S)
    with store.held("a") as claim:
        claim.check()
        for name in _names(store):  # as whoever took it over does
            store.fs.delete_file(f"{store._root}/{name}")
        claim.lost.wait()
        with pytest.raises(RunError, match="was taken over by another process"):
            claim.check()


SWEEP = """
import sys
from pathlib import Path
import torch
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.plan import plan
from hemoscope.sweep.storage import RunStore
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

url, recipe, threads, cells = sys.argv[1:]

class Tell(Watcher):
    def on_epoch(self, row, epochs):
        print(row.epoch, flush=True)

torch.set_num_threads(int(threads))
run_sweep(
    plan(["squeezenet1_1"], [0]),
    Recipe.model_validate_json(recipe),
    prepare(Path(cells)),
    out=RunStore(url, beat_s=0.05, stale_s=5.0),
    device_name="cpu",
    watch=lambda _: Tell(),
)
"""


@pytest.mark.slow
def test_killed_again_and_again_on_new_machines_a_run_in_a_bucket_ends_as_if_never_killed(
    discs: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    """Every process is killed after it has kept a checkpoint, and the next one is another machine."""
    prepared, planned = prepare(discs), plan(["squeezenet1_1"], [0])
    five = QUICK.model_copy(update={"epochs": 5})
    (whole,) = run_sweep(planned, five, prepared, out=tmp_path / "runs", device_name="cpu")
    assert whole.run is not None
    told: list[int] = []
    for machine in range(40):
        environment = os.environ | {"HEMOSCOPE_CACHE": str(tmp_path / f"machine {machine}")}
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SWEEP,
                bucket,
                five.model_dump_json(),
                str(torch.get_num_threads()),
                str(discs),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        for n, line in enumerate(process.stdout):
            told.append(int(line))
            if n:  # the epoch before has been kept
                process.send_signal(signal.SIGKILL)
        process.stdout.close()
        if process.wait() == 0:
            break
    assert RunStore(bucket).is_done(whole.run.name)
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "reader"))
    (outcome,) = run_sweep(planned, five, prepared, out=RunStore(bucket), device_name="cpu")
    assert outcome.run is not None
    assert not outcome.fresh
    for name in SAME:
        assert (outcome.run.path / name).read_bytes() == (whole.run.path / name).read_bytes()
    assert len(told) > 5  # it was killed
