"""The demo: synthetic cells, three small networks, their ensemble, the report; offline, in minutes.

It is the whole pipeline at a small size, not a film of it. Synthetic cells say nothing about real
ones, and the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemoscope.errors import RunError
from hemoscope.places import available_cores
from hemoscope.progress import Progress
from hemoscope.runs import Run
from hemoscope.sweep.plan import PlannedRun, plan
from hemoscope.training.loop import Watcher

__all__ = ["Demo", "run_demo"]

# Of the architectures tried from scratch on validation (docs/results/2026-11-demo), three families that learn
# most in a minute; the slowest first.
ARCHS = ("densenet121", "resnet18", "mobilenet_v2")
PER_CLASS, SIZE_PX, CELLS_SEED, SEED = 128, 128, 0, 0


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made.

    Attributes:
        report: The HTML file.
        runs: The run folders.
        ensemble: The ensemble's scores on its test cells, as in `Scores.to_json`.
        elapsed_s: Seconds it took.
    """

    report: Path
    runs: tuple[Path, ...]
    ensemble: dict[str, Any]
    elapsed_s: float


def run_demo(
    out: Path,
    *,
    progress: Progress | None = None,
    watch: Callable[[PlannedRun], Watcher] = lambda _: Watcher(),
    on_death: Callable[[PlannedRun, str], None] = lambda *_: None,
) -> Demo:
    """Run the demo into a folder; a second call goes on where the first one stopped.

    Raises:
        RunError: If one of the networks could not be trained.
    """
    from hemoscope.data.synthetic import write_dataset
    from hemoscope.ensemble.members import assemble
    from hemoscope.evaluation.summary import score
    from hemoscope.report import write_report
    from hemoscope.sweep.local import run_sweep, side_by_side
    from hemoscope.sweep.one import device_bytes
    from hemoscope.training.device import choose_device
    from hemoscope.training.recipe import load_recipe
    from hemoscope.training.run import prepare

    start = time.perf_counter()
    cores = available_cores()
    cells, runs_folder = out / "cells", out / "runs"
    if not cells.is_dir():
        write_dataset(
            cells,
            per_class=PER_CLASS,
            size_px=SIZE_PX,
            seed=CELLS_SEED,
            jobs=cores,
            progress=progress,
        )
    prepared = prepare(cells, progress=progress)
    recipe = load_recipe("demo")
    command = f"hemoscope demo --out {out}"
    # Networks this small: two at once on a core each trained 1.4 times as fast (docs/results/2026-11-demo).
    outcomes = run_sweep(
        plan(ARCHS, [SEED]),
        recipe,
        prepared,
        out=runs_folder,
        jobs=min(
            len(ARCHS), cores if choose_device().type == "cpu" else side_by_side(device_bytes(prepared))
        ),
        watch=watch,
        progress=progress,
        on_death=on_death,
        command=command,
    )
    runs: list[Run] = [o.run for o in outcomes if o.run]
    if len(runs) < len(outcomes):
        raise RunError("; ".join(f"{o.planned.arch}: {o.reason}" for o in outcomes if not o.run))
    members = ",".join(run.name for run in runs)  # all three; choosing among so few would say nothing
    ensemble = assemble(runs_folder, members=members).ensemble
    path = write_report(runs_folder, out / "report", members=members, data=cells)
    scores = (ensemble.scores if ensemble else score(runs[0].predictions("test"))).to_json()
    elapsed_s = round(time.perf_counter() - start, 1)
    return Demo(
        path, tuple(run.path for run in runs), {"members": [r.name for r in runs], **scores}, elapsed_s
    )
