"""A sweep on a Ray cluster gives what the same sweep gives on this machine, also where workers and nodes die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hemoscope.cluster import connect
from hemoscope.errors import ConfigError
from hemoscope.runs import EpochRow
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.on_ray import gpu_share, sweep_on_ray
from hemoscope.sweep.one import Outcome
from hemoscope.sweep.plan import PlannedRun, plan
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, prepare

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)

SAME = ("predictions.parquet", "model.safetensors")
STORE_BYTES = 80 * 2**20


def _recipe(epochs: int) -> Recipe:
    return Recipe(weights="none", epochs=epochs, batch_size=16, image_px=32, precision="fp32")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, where the driver is, and two nodes of a core each, all processes of their own."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    made.wait_for_nodes()
    connect(made.address)
    yield made
    ray.shutdown()
    made.shutdown()


class _Heard:
    """What a sweep tells."""

    def __init__(self) -> None:
        self.begun: list[tuple[PlannedRun, str, int]] = []
        self.epochs: list[tuple[PlannedRun, int]] = []

    def watch(self, item: PlannedRun) -> Watcher:
        epochs = self.epochs

        class Hearer(Watcher):
            def on_epoch(self, row: EpochRow, _: int) -> None:
                epochs.append((item, row.epoch))

        return Hearer()


def _sweep(planned, recipe: Recipe, prepared: Prepared, out: Path, heard: _Heard) -> list[Outcome]:
    return sweep_on_ray(
        planned,
        recipe,
        prepared,
        out=out,
        cpus=1,
        gpus=0,
        device_name="cpu",
        watch=heard.watch,
        on_start=lambda *what: heard.begun.append(what),
    )


def _expect_same(outcomes: list[Outcome], out: Path) -> None:
    for outcome in outcomes:
        assert outcome.run is not None, outcome.reason
        for name in SAME:
            assert outcome.run.verified(name).read_bytes() == (out / outcome.run.name / name).read_bytes()


def _workers() -> list[int]:
    """The processes that are at a run now."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "ray::_on_worker" in line]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "cluster")
def test_ray_gives_byte_for_byte_what_this_machine_gives_and_lists_what_failed(discs: Path, tmp_path: Path):
    prepared, planned = prepare(discs), plan(["squeezenet1_1", "alexnet", "resnet18"], [0])
    run_sweep(planned, _recipe(2), prepared, out=tmp_path / "local", device_name="cpu")
    heard = _Heard()
    outcomes = _sweep(planned, _recipe(2), prepared, tmp_path / "ray", heard)
    assert [o.planned for o in outcomes] == list(planned)
    assert "too small" in outcomes[1].reason  # AlexNet cannot take 32 px
    del outcomes[1]
    _expect_same(outcomes, tmp_path / "local")
    assert sorted(heard.epochs, key=str) == sorted(
        [(o.planned, epoch) for o in outcomes for epoch in (1, 2)], key=str
    )
    assert {item for item, *_ in heard.begun} == set(planned)

    again = _sweep(plan(["resnet18"], [0]), _recipe(2), prepared, tmp_path / "ray", _Heard())
    assert not again[0].fresh

    with pytest.raises(ConfigError, match="no node has that many: .*--cpus"):
        sweep_on_ray(planned, _recipe(2), prepared, out=tmp_path, cpus=1000, gpus=0)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_workers_and_nodes_cost_no_run_and_no_run_is_done_twice(
    discs: Path, tmp_path: Path, cluster: Any
):
    prepared, planned = prepare(discs), plan(["squeezenet1_1", "resnet18"], [0, 1])
    recipe = _recipe(4)
    run_sweep(planned, recipe, prepared, out=tmp_path / "local", device_name="cpu")
    heard, killed = _Heard(), {"worker": 0, "node": 0}
    before: dict[PlannedRun, int] = {}

    class Killer(_Heard):
        """Kills a worker or a node, in turns, as the second epoch of a run ends."""

        def watch(self, item: PlannedRun) -> Watcher:
            inner = heard.watch(item)

            class Hearer(Watcher):
                def on_epoch(self, row: EpochRow, epochs: int) -> None:
                    inner.on_epoch(row, epochs)
                    if row.epoch == 2 and item not in before:
                        before[item] = sum(killed.values())
                        if before[item] % 2 == 0:
                            for pid in _workers()[:1]:
                                os.kill(pid, signal.SIGKILL)
                            killed["worker"] += 1
                        else:
                            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
                            killed["node"] += 1

            return Hearer()

    killer = Killer()
    outcomes = _sweep(planned, recipe, prepared, tmp_path / "ray", killer)
    _expect_same(outcomes, tmp_path / "local")
    assert killed == {"worker": 2, "node": 2}
    assert max(times for _, _, times in killer.begun) > 1
    last = [item for item, epoch in heard.epochs if epoch == recipe.epochs]
    assert len(last) == len(set(last))


@pytest.mark.skipif("UV" not in os.environ, reason="not started by `uv run`, which says where uv is")
def test_under_uv_run_workers_start_from_the_environment_as_it_is():
    """Ray reads at its import whether every worker is to call `uv run`; a driver may have imported it before."""
    probe = (
        "import ray, sys; from hemoscope.cluster import connect\n"
        "connect('local')\n"
        "def where():\n    import sys; return sys.executable\n"
        "print(ray.get(ray.remote(where).remote()) == sys.executable)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    uv_run = [os.environ.get("UV", ""), "run", "--frozen", "--no-sync", "python", "-W", "ignore", "-c"]
    done = subprocess.run([*uv_run, probe], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.long  # other tests would find its cluster and join it
def test_a_head_that_asks_for_the_token_of_this_machine_is_shown_it(tmp_path: Path):
    """What `ray start --head` does since tokens are there; a client of a cluster that is named sends none by itself."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"HOME": str(tmp_path)}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    port, client_port = _free_port(), _free_port()
    # Not tmp_path: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:
        head = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=1"),
                *(f"--port={port}", f"--ray-client-server-port={client_port}", f"--temp-dir={short}"),
                *("--include-dashboard=false", "--disable-usage-stats"),
                f"--object-store-memory={STORE_BYTES}",
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            probe = f"from hemoscope.cluster import connect; print(connect('127.0.0.1:{port}')['CPU'])"
            while (done := _python(probe, environment)).returncode and "refused" in done.stderr:
                assert head.poll() is None  # it is still on its way
            assert done.stdout == "1.0\n", done.stderr
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_where_no_cluster_is_the_address_and_the_way_to_start_one_are_told():
    with pytest.raises(ConfigError, match="expected a Ray cluster at 127.0.0.1:1.*ray start --head"):
        connect("127.0.0.1:1")


def test_a_share_of_a_gpu_never_promises_more_than_its_memory():
    for needed in range(1, 200):
        share = gpu_share(needed, 97)
        assert share == 1.0 or int(1 / share) * needed <= 97
