"""Which network errors are set against: the one that is named, else an AlexNet of the same folder."""

from __future__ import annotations

from pathlib import Path

from hemoscope.ensemble.candidates import read_runs
from hemoscope.predict.scorable import Scorable, a_run
from hemoscope.runs import CARD, Run
from hemoscope.stress.ask import ALEXNET

__all__ = ["find_reference"]


def find_reference(path: Path, named: Path | None, *, device: str = "auto") -> Scorable | None:
    """Return the run that is named, or the AlexNet with the lowest seed among the runs of a folder; None without one.

    Args:
        path: What is tried: a run, a folder of runs or a bundle.
        named: A run to take instead.
        device: Where to compute.

    Raises:
        RunError: If the run that is named is not finished or damaged.
    """
    if named:
        return a_run(Run.open(named), device=device)
    if not path.is_dir() or (path / CARD).is_file():
        return None
    runs = [entry for entry in read_runs(path)[0] if entry.arch == ALEXNET]
    if not runs:
        return None
    return a_run(Run.open(min(runs, key=lambda entry: (entry.seed, entry.name)).path), device=device)
