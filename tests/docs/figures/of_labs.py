"""Figures of other laboratories' cells, from the confusions of every state that `benchmarks/adapting.py` kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hemoscope.evaluation.bootstrap import balanced_accuracy, balanced_estimate
from hemoscope.evaluation.intervals import wilson
from hemoscope.paper import CLASSES
from hemoscope.records import IntArray
from tests.docs.figures.quoting import listed, quoted_in, record, row

FOLDER = "docs/results/2026-11-other-labs"
PAGE = f"{FOLDER}/README.md"
LABS = {"jiangxi": "Jiangxi", "bccd": "BCCD", "chula": "Chulalongkorn"}
SMALL = "resnet18-robust.image_px128.canvas_px176-s0-f0f01404"
FULL = "resnet18-robust-s0-813c5ce9"
STATES = {
    "nothing": ["before"],
    "its cells, new batch statistics": ["new statistics"],
    "its cells, without labels": ["seed 0", "seed 1"],
}


def kept(model: str, lab: str) -> dict[str, Any]:
    return record(f"{FOLDER}/adapting/{model}-{lab}.json")["labs"][lab]


def scored(model: str, lab: str, state: str, answers: str) -> IntArray:
    """Return the confusion of the classes that are scored, the other rows empty."""
    found = kept(model, lab)
    counts = np.array(found["states"][state][answers])
    counts[[name not in found["scored"] for name in CLASSES]] = 0
    return counts


def whole(share: float) -> str:
    return f"{100 * share:.0f}"


def limited_and_open(model: str, lab: str, state: str) -> tuple[float, float]:
    """Return balanced accuracy over the classes scored and limited to them, and accuracy with all classes open."""
    every = np.array(kept(model, lab)["states"][state]["open"])
    return float(balanced_accuracy(scored(model, lab, state, "limited"))), np.trace(every) / every.sum()


def of_state(model: str, known: str, states: Sequence[str], goal: str | None) -> str:
    found = [[limited_and_open(model, lab, state) for state in states] for lab in LABS]
    mean = np.mean(found, axis=(0, 1))
    told = [", ".join(f"{whole(a)} ({whole(b)})" for a, b in seeds) for seeds in found]
    return row(known, *told, f"{whole(mean[0])} ({whole(mean[1])})", goal).replace("||", "| |")


@quoted_in(PAGE)
def by_what_is_known() -> Iterator[str]:
    goals = ("80 each", None, "90 to 95")
    for (known, states), goal in zip(STATES.items(), goals, strict=True):
        yield of_state(SMALL, known, states, goal)
    yield of_state(FULL, "nothing, at 224 px", ["before"], "80 each")
    yield of_state(FULL, "its cells, new batch statistics, at 224 px", ["new statistics"], None)


@quoted_in(PAGE)
def adapted_at_full_size() -> Iterator[str]:
    for lab, name in LABS.items():
        if "seed 0" in kept(FULL, lab)["states"]:
            (a, b), (c, d) = (limited_and_open(FULL, lab, state) for state in ("before", "seed 0"))
            yield f"{name} {whole(c)} ({whole(d)}) in place of {whole(a)} ({whole(b)})"
    c = CLASSES.index("lymphocyte")
    before, after = (scored(FULL, "jiangxi", state, "limited")[c] for state in ("before", "seed 0"))
    yield f"of {before.sum()} lymphocytes {before[c]} were right before and {after[c]} after, {after[CLASSES.index('monocyte')]} are called monocytes"


@quoted_in("README.md")
def at_full_size() -> Iterator[str]:
    limited, opened = (
        [whole(share) for share in shares]
        for shares in zip(*(limited_and_open(FULL, lab, "before") for lab in LABS), strict=True)
    )
    yield f"at 224 px, nothing known, {listed(limited)} % ({listed(opened)} %)"


@quoted_in("README.md")
def in_short() -> Iterator[str]:
    before = [limited_and_open(SMALL, lab, "before") for lab in LABS]
    after = [limited_and_open(SMALL, lab, state) for lab in LABS for state in ("seed 0", "seed 1")]
    limited, opened = ([whole(share) for share in shares] for shares in zip(*before, strict=True))
    yield f"is {listed(limited)} % on three other laboratories (accuracy with all eight classes open: {listed(opened)} %)"
    (least, most), (low, high) = ((whole(min(s)), whole(max(s))) for s in zip(*after, strict=True))
    yield f"{least} to {most} after adapting ({low} to {high})"


def with_bounds(value: float, low: float, high: float) -> str:
    return f"{whole(value)} ({whole(low)} to {whole(high)})"


def by_class(model: str, states: Sequence[str]) -> Iterator[str]:
    """Yield a row for every class and laboratory: sensitivity with Wilson's interval, open and limited, state by state."""
    for lab, label in LABS.items():
        confusions = [
            scored(model, lab, state, answers) for state in states for answers in ("open", "limited")
        ]
        for c, name in enumerate(CLASSES):
            if n := confusions[0][c].sum():
                rates = [(counts[c, c] / n, *wilson(counts[c, c], n)) for counts in confusions]
                yield row(label, name, n, *(with_bounds(*map(float, rate)) for rate in rates))
        found = [balanced_estimate(counts) for counts in confusions]
        told = [with_bounds(one.value, one.low, one.high) for one in found]
        yield row(label, "balanced", confusions[0].sum(), *told)


@quoted_in(PAGE)
def class_by_class() -> Iterator[str]:
    yield " ".join(by_class(SMALL, ("before", "seed 0")))
