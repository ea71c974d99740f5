"""Do the runs of a sweep on a Ray cluster, or on this machine through Ray.

Ray places the runs, moves those of a lost worker or node elsewhere, and ends all of them with the driver. What goes on
where is decided by run folders alone, so that nothing is lost with the driver either: the same command goes on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from hemoscope.cluster import nodes
from hemoscope.errors import ConfigError
from hemoscope.runs import EpochRow
from hemoscope.sweep.one import Outcome, device_bytes, fetched, train_one
from hemoscope.sweep.plan import PlannedRun
from hemoscope.sweep.storage import RunStore
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared

__all__ = ["default_cpus", "default_gpus", "gpu_share", "sweep_on_ray"]

RETRIES = 100  # of a run whose worker or node died; a checkpoint makes each cost an epoch at most
LOOK_S = 0.5  # between two looks at the news


def gpu_share(needed_bytes: int, gpu_bytes: int) -> float:
    """Return the share of a GPU that a run of this size needs, in hundredths, as Ray counts GPUs.

    >>> gpu_share(20 * 2**30, 80 * 2**30), gpu_share(100, 80), gpu_share(1, 300)
    (0.25, 1.0, 0.01)
    """
    return min(1.0, math.ceil(100 * needed_bytes / gpu_bytes) / 100)


def sweep_on_ray(
    planned: Sequence[PlannedRun],
    recipe: Recipe,
    prepared: Prepared,
    *,
    out: Path | RunStore,
    cpus: float | None = None,
    gpus: float | None = None,
    device_name: str = "auto",
    watch: Callable[[PlannedRun], Watcher] = lambda _: Watcher(),
    on_start: Callable[[PlannedRun, str, int], None] = lambda *_: None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    command: str = "",
) -> list[Outcome]:
    """Do every planned run on the cluster that `cluster.connect` connected to.

    Args:
        planned: The runs, begun in this order.
        recipe: Of all of them.
        prepared: Their data; images and imported weights lie where every node can read them.
        out: A folder that every node sees under this path, or where runs are kept behind a URL.
        cpus: Cores of a run, and its threads; by default those of the smallest node, without GPUs, or 4 with them.
        gpus: GPUs of a run, also a part of one; by default what its memory needs, 0 without GPUs.
        device_name: Where to compute on its node.
        watch: Gives the watcher of a run; it hears of epochs.
        on_start: Called with a run, the node it began on, and how often it has begun.
        on_outcome: Called as each run ends.
        command: What the run cards say.

    Returns:
        The outcomes, in the order of the plan.

    Raises:
        ConfigError: If no node has what a run asks for.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    gpus = default_gpus(prepared) if gpus is None else gpus
    cpus = default_cpus(gpus) if cpus is None else cpus
    _refuse_what_no_node_has(cpus, gpus)
    # Beside the driver, so that news are lost only with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper: Any = ray.remote(_News)
    news = keeper.options(num_cpus=0, scheduling_strategy=here).remote()
    ray.get(news.take.remote())  # it lives before anybody speaks to it
    one = ray.put(
        partial(
            train_one,
            recipe=recipe,
            prepared=prepared,
            out=out,
            device_name=device_name,
            command=command,
            wait=True,  # for the process that Ray gave up and that still lives, or for another sweep
        )
    )
    task = ray.remote(_on_worker).options(
        num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
    )
    going = {task.remote(one, item, news, cpus): item for item in planned}
    watchers = {item: watch(item) for item in planned}
    outcomes: dict[PlannedRun, Outcome] = {}
    begun = dict.fromkeys(planned, 0)
    with redirect_stdout(sys.stderr):  # Ray prints what became of workers
        while going:
            ended, _ = ray.wait(list(going), num_returns=1, timeout=LOOK_S)
            for item, what in _heard(news):
                if isinstance(what, str):
                    begun[item] += 1
                    on_start(item, what, begun[item])
                else:
                    watchers[item].on_epoch(*what)
            for ref in ended:
                outcomes[going[ref]] = outcome = _outcome(going[ref], ref, out)
                del going[ref]
                on_outcome(outcome)
    return [outcomes[item] for item in planned]


def _heard(news: Any) -> list[tuple[PlannedRun, Any]]:
    """Return what workers said since the last call; nothing where the news are lost, which no run needs."""
    import ray
    from ray.exceptions import RayActorError

    try:
        return ray.get(news.take.remote())
    except RayActorError:
        return []


class _News:
    """An actor that keeps what workers say until the driver asks."""

    def __init__(self) -> None:
        self._said: list[tuple[PlannedRun, Any]] = []

    def tell(self, item: PlannedRun, what: Any) -> None:
        """Keep a node's name, where a run begins, or an epoch."""
        self._said.append((item, what))

    def take(self) -> list[tuple[PlannedRun, Any]]:
        """Return what was said since the last call."""
        said, self._said = self._said, []
        return said


class _Teller(Watcher):
    """Tells the driver of every epoch."""

    def __init__(self, news: Any, item: PlannedRun) -> None:
        self._news, self._item = news, item

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Send the epoch; nobody waits for its arrival."""
        self._news.tell.remote(self._item, (row, epochs))


def _on_worker(one: Callable[..., Outcome], item: PlannedRun, news: Any, cpus: float) -> Outcome:
    import ray
    import torch

    torch.set_num_threads(max(1, int(cpus)))
    news.tell.remote(item, ray.util.get_node_ip_address())
    return one(item, watcher=_Teller(news, item))


def _outcome(item: PlannedRun, ref: Any, out: Path | RunStore) -> Outcome:
    import ray
    from ray.exceptions import RayError

    try:
        return fetched(ray.get(ref), out)
    except RayError as error:  # its last try, or hemoscope is not installed there
        return Outcome(item, None, str(error).strip(), fresh=True, elapsed_s=0.0)


def default_cpus(gpus: float) -> float:
    """Return the cores of a run: those of the smallest node, or at most 4 beside a GPU."""
    least = min((node["CPU"] for node in nodes() if node.get("CPU")), default=1.0)
    return min(4.0, least) if gpus else least


def default_gpus(prepared: Prepared) -> float:
    """Return the GPUs of a run, as its memory needs: a share of one, or 0 where the cluster has none."""
    import ray

    if not ray.cluster_resources().get("GPU"):
        return 0.0
    total = ray.get(ray.remote(_gpu_bytes).options(num_cpus=0, num_gpus=1).remote())
    return gpu_share(device_bytes(prepared), total) if total else 1.0


def _gpu_bytes() -> int:
    import torch

    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def _refuse_what_no_node_has(cpus: float, gpus: float) -> None:

    found = nodes()
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in found):
        have = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in found)
        raise ConfigError(
            f"a run asks for {cpus:g} CPU and {gpus:g} GPU, and no node has that many: {have}. Ask for less with "
            "--cpus and --gpus; a run on several GPUs is torchrun's"
        )
