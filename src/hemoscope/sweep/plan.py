"""Which runs a sweep consists of. Pure: no torch, no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemoscope.errors import ConfigError
from hemoscope.training.job import SEED_LIMIT

DIGITS = len(str(SEED_LIMIT))  # Python reads no number of thousands

__all__ = ["PlannedRun", "parse_seeds", "plan"]


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run to do; `fold` counts from 1 where the data are divided into folds, and is 0 elsewhere."""

    arch: str
    seed: int
    fold: int = 0

    @property
    def label(self) -> str:
        """What the run is called while it goes on.

        >>> PlannedRun("vgg11", 0).label, PlannedRun("vgg11", 0, 2).label
        ('vgg11 s0', 'vgg11 s0 fold 2')
        """
        return f"{self.arch} s{self.seed}" + (f" fold {self.fold}" if self.fold else "")


def plan(archs: Sequence[str], seeds: Sequence[int], folds: int = 0) -> tuple[PlannedRun, ...]:
    """Return every architecture with every seed, one seed after the other, and with every fold where there are some.

    Seed by seed, so that a sweep cut short has one complete table and not a few complete rows.

    >>> [(run.arch, run.seed) for run in plan(["alexnet", "vgg11"], [0, 1])]
    [('alexnet', 0), ('vgg11', 0), ('alexnet', 1), ('vgg11', 1)]
    >>> [run.fold for run in plan(["alexnet"], [0], folds=3)]
    [1, 2, 3]
    """
    return tuple(
        PlannedRun(arch, seed, fold)
        for seed in dict.fromkeys(seeds)
        for arch in dict.fromkeys(archs)
        for fold in (range(1, folds + 1) if folds else (0,))
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a comma-separated list.

    Raises:
        ConfigError: If one is not a whole number of at least 0, or is too large for a run.

    >>> parse_seeds("0, 1,2")
    (0, 1, 2)
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bad = [part for part in parts if not part.isdecimal() or len(part) > DIGITS or int(part) >= SEED_LIMIT]
    if bad or not parts:
        raise ConfigError(
            f"expected seeds such as 0,1,2, none above {SEED_LIMIT - 1}; got {', '.join(bad) or repr(text)}"
        )
    return tuple(int(part) for part in parts)
