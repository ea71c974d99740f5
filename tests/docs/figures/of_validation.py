"""Figures of 2026-11-past: validation cells only. What its runs say of test cells is read once, at the end; not here."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hemoscope import paper
from hemoscope.evaluation.paired import discordant, holm, mcnemar
from hemoscope.evaluation.seeds import spread_of
from hemoscope.records import FloatArray
from hemoscope.runs import find_runs
from tests.docs.figures.quoting import RESULTS, listed, percent, quoted_in, record, row

PAGE = "docs/results/2026-11-past/README.md"
RUNS = RESULTS / "2026-11-past" / "runs"
LABELS = {
    "mobilenet_v2": "MobileNet v2",
    "resnet18": "ResNet-18",
    "squeezenet1_1": "SqueezeNet 1.1",
    "resnet50": "ResNet-50",
}
PAPERS = "paper, all 25 epochs (one view)"


class OnValidation(NamedTuple):
    """A run without its test side: probabilities (N, C), whether right (N,), errors by one view after the last epoch."""

    arch: str
    recipe: str
    seed: int
    timings: dict[str, Any]
    probs: FloatArray
    target: NDArray[np.int64]
    right: NDArray[np.bool_]
    one_view: float

    @property
    def errors(self) -> int:
        return int(np.sum(~self.right))

    @property
    def one_view_errors(self) -> int:
        return round(len(self.right) * (1 - self.one_view))


@functools.cache
def runs() -> list[OnValidation]:
    """Return the runs in the order of the page's table."""
    found = []
    for done in sorted(RUNS.glob("*/DONE")):
        folder = done.parent
        card = record(str(folder / "run.json"))
        rows = pq.read_table(folder / "predictions.parquet", filters=[("split", "==", "val")]).sort_by("path")
        probs = np.stack([rows[f"prob_{name}"].to_numpy() for name in card["data"]["classes"]], axis=1)
        target = rows["target"].to_numpy().astype(np.int64)
        last = (folder / "history.csv").read_text("utf-8").splitlines()
        column = last[0].split(",").index("val_accuracy")
        lr = card["recipe"]["lr"]
        recipe = PAPERS if card["recipe"]["name"] == "paper" else f"best{'' if lr == 0.01 else f', lr {lr}'}"
        right = rows["pred"].to_numpy() == target
        one_view = float(last[-1].split(",")[column])
        found.append(
            OnValidation(card["arch"], recipe, card["seed"], card["timings"], probs, target, right, one_view)
        )
    order = list(LABELS)
    return sorted(found, key=lambda r: (order.index(r.arch), r.recipe, r.seed))


def of(arch: str) -> list[OnValidation]:
    """Return the runs of an architecture with the recipe `best`."""
    return [one for one in runs() if one.arch == arch and one.recipe != PAPERS]


def soft_vote(members: Sequence[OnValidation]) -> NDArray[np.bool_]:
    """Return whether a soft vote is right, shape (N,)."""
    mean = np.sum([np.float64(one.probs) for one in members], axis=0)
    return mean.argmax(axis=1) == members[0].target


def errors(members: Sequence[OnValidation]) -> int:
    return int(np.sum(~soft_vote(members)))


@quoted_in(PAGE)
def scores() -> Iterator[str]:
    yield (
        "| ---: | ---: | ---: | "
        + " ".join(
            row(
                LABELS[one.arch],
                one.recipe,
                one.seed,
                percent(one.one_view),
                percent(one.right.mean()),
                one.errors,
                f"{one.timings['train_s']:,.0f}",
            )
            for one in runs()
        )
        + " - Soft votes"
    )


@quoted_in(PAGE)
def votes() -> Iterator[str]:
    n = len(runs()[0].right)
    least = min(errors(some) for n_of in range(1, len(runs()) + 1) for some in combinations(runs(), n_of))
    yield f"{least} errors at best ({percent(1 - least / n)} %,"
    yield f"the best of {2 ** len(runs()) - 1:,} subsets"
    mobile = of("mobilenet_v2")
    yield f"{errors(mobile)} for the three MobileNets, {errors(runs())} for all {len(runs())}"
    never, none = (int(np.sum(~np.any([one.right for one in some], axis=0))) for some in (mobile, runs()))
    yield f"{never} cells are wrong by all three MobileNets, {none} by every run"


@quoted_in(PAGE)
def votes_of_one_seed() -> Iterator[str]:
    n, seeds = len(runs()[0].right), (0, 1, 2)
    same = [[of(arch)[seed] for arch in ("mobilenet_v2", "resnet18", "squeezenet1_1")] for seed in seeds]
    best = [min(errors(some) for k in (1, 2, 3) for some in combinations(three, k)) for three in same]
    yield f"has {percent(1 - np.mean(best) / n)} % as a mean over three seeds ({listed(best)} errors;"
    yield f"the vote of all three {percent(1 - np.mean([errors(three) for three in same]) / n)} %"


@quoted_in(PAGE)
def what_eight_views_gain() -> Iterator[str]:
    before, after = (
        {arch: [getattr(one, e) for one in of(arch)] for arch in LABELS}
        for e in ("one_view_errors", "errors")
    )
    first, *others, last = (
        f"{listed(before[arch])} to {listed(after[arch])}{' errors' if arch == 'mobilenet_v2' else ''} ({label})"
        for arch, label in LABELS.items()
    )
    yield f"Eight views took {first}, {', '.join(others)} and {last}"


@quoted_in(PAGE)
def recipes_beside_each_other() -> Iterator[str]:
    resnet = sorted(percent(one.one_view, 1) for one in of("resnet18"))
    squeeze = [percent(one.one_view) for one in of("squeezenet1_1")]
    papers = next(one for one in runs() if one.recipe == PAPERS)
    yield f"{resnet[0]} to {resnet[-1]} % by one view"
    yield f"{listed(squeeze)} % by one view, {percent(papers.one_view)} %"


def differ(right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pairs McNemar's test tells apart at 5 % after Holm, shape (M, M), for answers of shape (M, N)."""
    only_first = discordant(right)
    first, second = np.triu_indices(len(right), k=1)
    told = np.zeros(only_first.shape, dtype=bool)
    told[first, second] = holm(mcnemar(only_first[first, second], only_first[second, first])) < 0.05
    return told | told.T


@quoted_in(PAGE)
def what_can_be_told_apart() -> Iterator[str]:
    best = sorted(runs(), key=lambda one: one.errors)[:4]  # whom `--members auto` lets vote
    right = soft_vote(best)
    first = of("mobilenet_v2")[0].right
    apart = int(np.sum(right & ~first)), int(np.sum(first & ~right))
    yield (
        f"({errors(best)} errors) not from any MobileNet v2 ({apart[0]} images against {apart[1]} with seed 0, "
        f"p = {float(mcnemar(*apart)):.2f}) nor from ResNet-18, seed 1"
    )
    yield "it and the MobileNets from every SqueezeNet and the ResNet-50"
    names = ["vote", *(one.arch for one in runs())]
    told = differ(np.stack([right, *(one.right for one in runs())]))
    for better, others in (
        ("vote", ("squeezenet1_1", "resnet50")),
        ("mobilenet_v2", ("squeezenet1_1", "resnet50")),
    ):
        rows, columns = ([i for i, name in enumerate(names) if name in some] for some in ((better,), others))
        assert told[np.ix_(rows, columns)].all(), better
    alike = [
        names.index("vote") + 1 + i
        for i, one in enumerate(runs())
        if one.arch == "mobilenet_v2" or one in best
    ]
    assert not told[0, alike].any()


@quoted_in(PAGE)
def spread_of_seeds() -> Iterator[str]:
    resnet, squeeze = (
        spread_of(np.stack([one.right for one in of(arch)])) for arch in ("resnet18", "squeezenet1_1")
    )
    mobile = spread_of(np.stack([one.right for one in of("mobilenet_v2")]))
    mean = np.mean([one.right.mean() for one in of("mobilenet_v2")])
    yield f"MobileNet v2 has {percent(mean)} % (± {percent(mobile.sd)} from seed to seed)"
    yield f"ResNet-18 varies by ± {percent(resnet.sd)} points, SqueezeNet 1.1 by ± {percent(squeeze.sd)}"
    yield f"{len(runs()[0].right):,} images alone is worth ± {percent(resnet.sd_images)} and ± {percent(squeeze.sd_images)}"


@quoted_in(PAGE)
def what_is_left() -> Iterator[str]:
    mobile = [run.predictions("val") for run in find_runs(RUNS) if run.arch == "mobilenet_v2"]
    first, n = mobile[0], len(mobile[0])
    answers = np.stack([said.pred for said in mobile])
    left = np.flatnonzero((answers != first.target).sum(axis=0) >= 2)
    mostly = {
        first.paths[i]: {first.classes[c] for c in answers[:, i]} - {first.paths[i].split("/")[0]}
        for i in left
    }
    border = [
        path for path, taken_for in mostly.items() if {path.split("/")[0], *taken_for} == {"ig", "neutrophil"}
    ]
    young, bands = (sum(f"/{kind}_" in path for path in border) for kind in ("MMY", "BNE"))
    yield f"The {len(left)} validation cells that at least two of the three MobileNets get wrong"
    yield f"{len(border)} of them are taken across the border"
    yield f"{young} of the {len(left)} are metamyelocytes taken for neutrophils and {bands} band neutrophils"
    yield f"would have {percent(1 - 9 / n)} % by the labels as they are"


@quoted_in(PAGE)
def what_is_to_be_beaten() -> Iterator[str]:
    n, wrong = paper.N_TEST, paper.ENSEMBLE_ERRORS
    yield f"has {wrong} errors on {n:,} test cells ({percent(1 - wrong / n)} %, the paper's figure)"


@quoted_in("docs/results/2026-11-gpu/README.md")
def a_run_on_the_gpu() -> Iterator[str]:
    train_s = round(of("mobilenet_v2")[0].timings["train_s"])
    epochs, images, images_per_s = 10, 10_934, 22
    yield f"in {train_s // 60} min {train_s % 60} s while it has four others to train"
    yield f"at their {images_per_s} images/s, need {epochs * images / images_per_s / 60:.0f} minutes"


@quoted_in("docs/results/2026-11-labs/README.md", "docs/limits.md")
def at_home() -> Iterator[str]:
    at_home = next(one for one in of("squeezenet1_1") if one.seed == 2)
    yield f"a network with {percent(at_home.right.mean())} %"
