"""A sweep goes on past what fails, skips what is done, and says both."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ConfigError
from hemoscope.runs import EpochRow, Run
from hemoscope.sweep.children import _Messenger
from hemoscope.sweep.local import _device_names, run_sweep, side_by_side
from hemoscope.sweep.plan import PlannedRun, parse_seeds, plan
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

QUICK = Recipe(weights="none", epochs=1, batch_size=16, image_px=32, precision="fp32")


@given(st.lists(st.sampled_from(["a", "b", "c"])), st.lists(st.integers(0, 5)))
def test_a_plan_holds_every_pair_once_seed_by_seed(archs: list[str], seeds: list[int]):
    planned = plan(archs, seeds)
    assert {(p.arch, p.seed) for p in planned} == {(a, s) for a in archs for s in seeds}
    assert len(set(planned)) == len(planned)
    order = [seeds.index(p.seed) for p in planned]
    assert order == sorted(order)


@pytest.mark.parametrize("text", ["", "1,x", "-1", "1.5", "0,99999999999999999999", f"{2**63}", "9" * 5000])
def test_what_is_no_list_of_seeds_is_refused(text: str):
    with pytest.raises(ConfigError, match="expected seeds such as 0,1,2"):
        parse_seeds(text)


def test_the_largest_seed_of_a_list_trains(discs: Path, tmp_path: Path):
    (outcome,) = run_sweep(
        plan(["resnet18"], parse_seeds(f"{2**63 - 1}")),
        QUICK,
        prepare(discs),
        out=tmp_path,
        device_name="cpu",
    )
    assert outcome.run, outcome.reason
    assert Run.open(outcome.run.path).seed == 2**63 - 1


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(discs: Path, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    (outcome,) = run_sweep(
        plan(["resnet18"], [0]), QUICK, prepare(discs), out=tmp_path / "file" / "runs", device_name="cpu"
    )
    assert outcome.reason.startswith(f"{tmp_path / 'file'}")
    assert outcome.reason.endswith("Not a directory; the same command goes on with it")


def test_a_failed_run_does_not_stop_the_next_and_a_done_one_is_not_repeated(discs: Path, tmp_path: Path):
    prepared = prepare(discs)
    planned = plan(["resnet18", "alexnet", "squeezenet1_1"], [0])  # AlexNet cannot take 32 px

    def sweep() -> list[tuple[str, bool, bool]]:
        outcomes = run_sweep(planned, QUICK, prepared, out=tmp_path, device_name="cpu")
        assert "too small" in outcomes[1].reason
        return [(o.planned.arch, o.run is not None, o.fresh) for o in outcomes]

    assert sweep() == [("resnet18", True, True), ("alexnet", False, True), ("squeezenet1_1", True, True)]
    for done in tmp_path.glob("*/DONE"):  # by a clock that was set back since
        os.utime(done, (2**32, 2**32))
    assert sweep() == [("resnet18", True, False), ("alexnet", False, True), ("squeezenet1_1", True, False)]
    (failed,) = tmp_path.glob("alexnet-*")
    card = Run.open(failed).card
    assert (card["status"], "too small" in card["reason"]) == ("failed", True)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_side_by_side_gives_the_same_numbers_failures_and_news(discs: Path, tmp_path: Path):
    prepared = prepare(discs)
    planned = plan(["alexnet", "resnet18"], [0, 1])
    heard: list[tuple[str, int, int]] = []

    class Listener(Watcher):
        def __init__(self, item: PlannedRun) -> None:
            self.item = item

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            heard.append((self.item.arch, self.item.seed, row.epoch))

    alone = run_sweep(planned, QUICK, prepared, out=tmp_path / "alone", device_name="cpu")
    together = run_sweep(
        planned, QUICK, prepared, out=tmp_path / "together", jobs=2, device_name="cpu", watch=Listener
    )
    assert [o.planned for o in together] == list(planned)
    for a, b in zip(alone, together, strict=True):
        assert a.reason == b.reason
        assert (a.run is None) == (b.run is None) == (a.planned.arch == "alexnet")
        if a.run and b.run:
            for side in ("val", "test"):
                np.testing.assert_array_equal(a.run.predictions(side).probs, b.run.predictions(side).probs)
    assert sorted(heard) == [("resnet18", 0, 1), ("resnet18", 1, 1)]
    again = run_sweep(planned, QUICK, prepared, out=tmp_path / "together", jobs=3, device_name="cpu")
    assert [o.fresh for o in again] == [o.planned.arch == "alexnet" for o in again]


class Held:
    """A command whose arrival in a child makes the child wait after each epoch until a file is there."""

    def __init__(self, until: Path) -> None:
        self.until = until

    def __reduce__(self) -> tuple[Callable[[Path], str], tuple[Path]]:
        return _hold, (self.until,)


def _hold(until: Path) -> str:
    tell = _Messenger.on_epoch

    def tell_and_wait(self: _Messenger, row: EpochRow, epochs: int) -> None:
        tell(self, row, epochs)
        while not until.exists():
            time.sleep(0.05)

    _Messenger.on_epoch = tell_and_wait
    return "hemoscope benchmark ..."


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 2])
@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_costs_itself_alone_and_is_tried_once_more(discs: Path, tmp_path: Path, deaths: int):
    prepared = prepare(discs)
    planned = plan(["resnet18"], [0, 1])
    heard: list[tuple[int, int]] = []
    retried: list[tuple[int, str]] = []

    class Killer(Watcher):
        def __init__(self, item: PlannedRun) -> None:
            self.seed = item.seed

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            heard.append((self.seed, row.epoch))
            if self.seed == 0 and row.epoch <= deaths:
                (child,) = [c for c in multiprocessing.active_children() if c.name == "resnet18 s0"]
                child.kill()
            if sum(seed == 0 for seed, _ in heard) == deaths:
                (tmp_path / "go").touch()

    outcomes = run_sweep(
        planned,
        QUICK.model_copy(update={"epochs": 3}),
        prepared,
        out=tmp_path / "runs",
        jobs=2,
        device_name="cpu",
        watch=Killer,
        on_death=lambda item, reason: retried.append((item.seed, reason)),
        command=Held(tmp_path / "go"),  # type: ignore[arg-type]
    )
    assert retried == [(0, "its process was killed by SIGKILL")]
    assert outcomes[1].run is not None
    if deaths == 1:
        assert [epoch for seed, epoch in heard if seed == 0] == [1, 2, 3]  # it went on from its checkpoint
        assert outcomes[0].run is not None
    else:
        assert outcomes[0].run is None
        assert outcomes[0].reason == "its process was killed by SIGKILL"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(discs: Path, tmp_path: Path, sent: signal.Signals):
    never = tmp_path / "never"
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # background jobs ignore it
        "sys.path.insert(0, sys.argv[1]); import test_local; test_local._held_sweep(*sys.argv[2:])"
    )
    arguments = [str(Path(__file__).parent), str(discs), str(tmp_path / "runs"), str(never)]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as parent:
        assert parent.stdout is not None
        assert len({int(parent.stdout.readline()) for _ in range(2)}) == 2
        parent.send_signal(sent)
        # Its children hold its standard output, so this ends when the last of them has.
        assert parent.stdout.read() == ""


def _held_sweep(cells: str, out: str, never: str) -> None:
    """Begin two runs that wait after their first epoch, and print their process numbers."""

    class Teller(Watcher):
        def __init__(self, item: PlannedRun) -> None:
            self.name = f"{item.arch} s{item.seed}"

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            print(*(c.pid for c in multiprocessing.active_children() if c.name == self.name), flush=True)  # noqa: T201

    run_sweep(
        plan(["resnet18"], [0, 1]),
        QUICK,
        prepare(Path(cells)),
        out=Path(out),
        jobs=2,
        device_name="cpu",
        watch=Teller,
        command=Held(Path(never)),  # type: ignore[arg-type]
    )


def test_none_at_once_is_refused_and_a_cpu_takes_one(discs: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="at least 1 run at once, got 0"):
        run_sweep([], QUICK, prepare(discs), out=tmp_path, jobs=0)
    assert side_by_side(2**30, "cpu") == 1


def test_every_gpu_of_a_machine_has_a_run_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))  # no daemon listens there
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for name in ("cuda", "auto"):
        assert _device_names(name) == ["cuda:0", "cuda:1", "cuda:2"]
        assert side_by_side(13 * 2**30, name) == 3
    assert _device_names("cuda:1") == ["cuda:1"]
    assert side_by_side(13 * 2**30, "cuda:1") == 1
    (tmp_path / "control").touch()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * 2**30, 80 * 2**30))
    assert side_by_side(13 * 2**30, "cuda") == 3 * 3  # 13 GiB each
