"""A sweep goes on past what fails, skips what is done, and says both."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ConfigError
from hemoscope.runs import EpochRow
from hemoscope.sweep.local import _Messenger, run_sweep, side_by_side
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


@pytest.mark.parametrize("text", ["", "1,x", "-1", "1.5"])
def test_what_is_no_list_of_seeds_is_refused(text: str):
    with pytest.raises(ConfigError, match="expected seeds such as 0,1,2"):
        parse_seeds(text)


def test_a_failed_run_does_not_stop_the_next_and_a_done_one_is_not_repeated(discs: Path, tmp_path: Path):
    prepared = prepare(discs)
    planned = plan(["resnet18", "alexnet", "squeezenet1_1"], [0])  # AlexNet cannot take 32 px

    def sweep() -> list[tuple[str, bool, bool]]:
        outcomes = run_sweep(planned, QUICK, prepared, out=tmp_path, device_name="cpu")
        assert "too small" in outcomes[1].reason
        return [(o.planned.arch, o.run is not None, o.fresh) for o in outcomes]

    assert sweep() == [("resnet18", True, True), ("alexnet", False, True), ("squeezenet1_1", True, True)]
    assert sweep() == [("resnet18", True, False), ("alexnet", False, True), ("squeezenet1_1", True, False)]


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two runs that each take every core of a small machine would only wait for each other."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
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


class Waiting:
    """A command whose arrival in a child makes the child wait after it told of its first epoch."""

    def __reduce__(self) -> tuple[Callable[[], str], tuple[()]]:
        return _wait_after_one_epoch, ()


def _wait_after_one_epoch() -> str:
    tell = _Messenger.on_epoch

    def tell_and_wait(self: _Messenger, row: EpochRow, epochs: int) -> None:
        tell(self, row, epochs)
        threading.Event().wait()

    _Messenger.on_epoch = tell_and_wait
    return "hemoscope benchmark ..."


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_whose_process_is_killed_is_told_and_the_same_sweep_goes_on(discs: Path, tmp_path: Path):
    prepared = prepare(discs)
    planned = plan(["resnet18"], [0, 1])
    killed: list[int] = []

    class Killer(Watcher):
        def __init__(self, _: PlannedRun) -> None:
            pass

        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            if not killed:
                children = multiprocessing.active_children()
                killed.append(len(children))
                for child in children:
                    child.kill()

    recipe = QUICK.model_copy(update={"epochs": 3})
    outcomes = run_sweep(
        planned,
        recipe,
        prepared,
        out=tmp_path,
        jobs=2,
        device_name="cpu",
        watch=Killer,
        command=Waiting(),  # type: ignore[arg-type]
    )
    assert killed[0] >= 1
    assert all(o.run is None and "its process ended" in o.reason for o in outcomes)
    assert all(o.run for o in run_sweep(planned, recipe, prepared, out=tmp_path, device_name="cpu"))


def test_none_at_once_is_refused_and_a_cpu_takes_one(discs: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="at least 1 run at once, got 0"):
        run_sweep([], QUICK, prepare(discs), out=tmp_path, jobs=0)
    assert side_by_side(2**30, "cpu") == 1
