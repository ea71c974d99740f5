"""Figures that follow from counts beside them, from the paper's tables, or from a definition."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hemoscope import paper
from hemoscope.evaluation.intervals import clopper_pearson, wilson
from hemoscope.evaluation.paired import chance_of_no_better, images_needed, mcnemar_power
from tests.docs.figures.quoting import interval, percent, quoted_in, text_of

GPU, STATISTICS = "docs/results/2026-11-gpu/README.md", "docs/statistics.md"


@quoted_in("docs/results/2026-11-demo/README.md")
def the_demos_test_side() -> Iterator[str]:
    n = 128
    yield f"{percent((n - 3) / n)} % (3 errors of {n}; 95 % interval {interval(n - 3, n)} %)"
    yield f"{percent((n - 4) / n)} % (4 errors of {n}; 95 % interval {interval(n - 4, n)} %)"
    yield f"2 errors of {n} ({percent((n - 2) / n)} %; 95 % interval {interval(n - 2, n)} %)"


@quoted_in("README.md")
def the_demo_in_short() -> Iterator[str]:
    yield f"its ensemble reached {percent(124 / 128)} %"
    yield f"and reached {percent(126 / 128)} %"


@quoted_in("docs/results/2026-11-mutation/README.md")
def mutations_found() -> Iterator[str]:
    found, reached = 167, 205 - 7
    yield f"{found} of {reached} that were reached: {percent(found / reached, 0)} % (95 % Wilson interval {interval(found, reached, 1)} %)"


def rates_on_the_gpu() -> tuple[int, int, int]:
    """Return what the page printed of ours, our ceiling and the tuned script in bf16: its only record."""
    text = text_of(GPU)
    rows = (
        "hemoscope bf16",
        "ceiling bf16: the same step on a batch that lies on the device",
        "tuned script bf16",
    )
    ours, ceiling, tuned = (re.search(rf"\| {re.escape(row)} \| (\d+) \|", text) for row in rows)
    assert ours
    assert ceiling
    assert tuned
    return int(ours[1]), int(ceiling[1]), int(tuned[1])


@quoted_in(GPU)
def ratios_on_the_gpu() -> Iterator[str]:
    ours, ceiling, tuned = rates_on_the_gpu()
    yield f"is **{ours / tuned:.1f} times** the tuned script and reaches {ours / ceiling:.2f} of its own ceiling"


@quoted_in("README.md")
def the_gpu_in_short() -> Iterator[str]:
    ours, _, tuned = rates_on_the_gpu()
    yield f"trains at {ours:,} images/s, {ours / tuned:.1f} times a tuned script"


@quoted_in("docs/decisions/0006-a-step-that-waits-for-nothing.md")
def the_gpu_beside_its_ceiling() -> Iterator[str]:
    ours, ceiling, tuned = rates_on_the_gpu()
    yield f"{ours:,} images/s, {ours / ceiling:.2f} of the bare graph and {ours / tuned:.1f} times a tuned script"


@quoted_in("docs/results/2026-11-past/README.md")
def the_papers_figure() -> Iterator[str]:
    yield f"# Past {percent(1 - paper.ENSEMBLE_ERRORS / paper.N_TEST)} %: 26 to 28 November 2026"
    resnet, mobile, squeeze = (
        next(row.errors for row in paper.TABLE_2 if row.arch == arch)
        for arch in ("resnet50", "mobilenet_v2", "squeezenet1_1")
    )
    assert resnet == mobile
    yield f"in the paper it has {resnet} errors, as MobileNet v2 has, and SqueezeNet 1.1 {squeeze}"


@quoted_in(STATISTICS)
def what_can_be_told_of_two_numbers() -> Iterator[str]:
    low, high = chance_of_no_better(paper.ENSEMBLE_ERRORS, 14, paper.N_TEST)
    yield (
        f"with {paper.ENSEMBLE_ERRORS} errors against 14 is no better with a probability of {percent(low, 0)} % "
        f"(4 against 0 discordant images) to {percent(high, 0)} % (14 against 10)"
    )


@quoted_in(STATISTICS)
def how_many_images() -> Iterator[str]:
    nested, independent = (0.002, 0.0), (0.995 * 0.007, 0.993 * 0.005)
    needed = [round(images_needed(*shares) or 0, -3) for shares in (nested, independent)]
    yield f"takes about {needed[0]:,} images if the worse one errs wherever the better one does, and about {needed[1]:,} if"
    powers = [percent(mcnemar_power(paper.N_TEST, *shares), 0) for shares in (nested, independent)]
    yield f"On the {paper.N_TEST:,} of PBC's test side it succeeds in {powers[0]} and {powers[1]} %"


def fewest_without_an_error(bound: str) -> int:
    """Return how many right answers the first threshold needs that promises 1 % with 95 % confidence."""
    n = 1
    while True:
        upper = (
            clopper_pearson(0, n, confidence=0.9)[1]
            if bound == "exact"
            else float(wilson(0, n, confidence=0.9)[1])
        )
        if upper <= 0.01:
            return n
        n += 1


@quoted_in(STATISTICS)
def what_a_promise_needs() -> Iterator[str]:
    yield f"the first that can pass are {fewest_without_an_error('exact')} images without an error"
    yield "at 1 % it takes 99 validation images"
    assert -(-(99 + 1) * 99 // 100) == 99  # ceil((n + 1)(1 - share)) is at most n from 99 on
    assert -(-(98 + 1) * 99 // 100) == 99 > 98


@quoted_in("docs/decisions/0009-unknown-is-far-from-known-cells.md")
def what_a_promise_needs_by_wilson() -> Iterator[str]:
    exact, wilsons = fewest_without_an_error("exact"), fewest_without_an_error("wilson")
    yield f"do with {wilsons} images without an error where 1 % needs {exact}"
