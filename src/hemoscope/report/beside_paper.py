"""Row by row beside the paper: its errors and ours, the difference with its interval, and who may be no better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hemoscope import paper
from hemoscope.ensemble.candidates import Entry
from hemoscope.ensemble.networks import Summary
from hemoscope.evaluation.intervals import newcombe, wilson
from hemoscope.evaluation.paired import chance_of_no_better
from hemoscope.report.collect import Report
from hemoscope.report.formats import count, interval_points, percent, signed_points
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["beside_paper"]

_RAW = (
    "network",
    "weights",
    "epochs",
    "seeds",
    "errors",
    "accuracy",
    "paper_errors",
    "paper_accuracy",
    "difference",
    "low",
    "high",
    "no_better_low",
    "no_better_high",
)


def beside_paper(report: Report) -> TextTable:
    """Return a line a network that the paper has, and the ensemble's; none where the test images cannot be compared.

    Raw rows hold fractions; `no_better_*` is the probability that whichever erred less is no better.
    """
    lines = list(_lines(report)) if report.comparable else []
    raw = [_facts(line) for line in lines]
    caption = (
        f"Ours beside the paper, errors among {count(paper.N_TEST)} test images each. The difference is ours minus the paper's in "
        "points, with its 95 % interval (Newcombe), as of two samples of images: which images the paper tested is "
        "not published. Were they the same, the one with fewer errors would be no better with the probability in "
        "the last column, from the overlap of errors that speaks most for it to the one that speaks least. Where "
        "there are several seeds, the figures are those of their mean count. "
        "The paper's networks started from ImageNet weights and were trained for "
        f"{paper.RECIPE.epochs} epochs; its ensemble is of other networks than ours unless it is named so."
    )
    head = (
        "Network", "Weights", "Epochs", "Errors", "paper", "Accuracy %", "paper", "Difference", "95 %",
        "No better",
    )  # fmt: skip
    rows = [_cells(row) for row in raw]
    return TextTable("beside-paper", caption, head, plain(rows), n_text=2, raw=Raw(_RAW, tuple(raw)))


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    label: str
    arch: str  # empty for an ensemble
    entries: tuple[Entry, ...]
    seeds: int
    summary: Summary
    published_errors: int


def _lines(report: Report) -> Iterator[_Line]:
    for network in report.networks:
        row = paper.classwise_accuracy(network.arch)
        if row:
            yield _Line(
                network.label,
                network.arch,
                network.entries,
                len(network.entries),
                network.summary,
                row.errors,
            )
    if report.ensemble:
        summary = Summary.of([report.ensemble.scores])
        yield _Line(report.ensemble.label, "", report.ensemble.members, 1, summary, paper.ENSEMBLE_ERRORS)


def _facts(line: _Line) -> tuple[object, ...]:
    n, theirs = paper.N_TEST, line.published_errors
    ours, published = float(line.summary.mean[-1]), 1 - theirs / n
    bounds = (float(line.summary.low[-1]), float(line.summary.high[-1]))
    low, high = wilson(n - theirs, n)
    ends = newcombe((ours, *bounds), (published, float(low), float(high)))
    fewer, more = sorted((round(line.summary.errors), theirs))
    weights = dict.fromkeys(map(_weights, line.entries)) if line.arch else ("those of its members",)
    epochs = sorted({int(entry.recipe["epochs"]) for entry in line.entries})
    span = "–".join(map(str, dict.fromkeys((epochs[0], epochs[-1]))))
    return (
        line.label, "; ".join(weights), span, line.seeds, line.summary.errors, ours, theirs, published,
        ours - published, *ends, *chance_of_no_better(fewer, more, n),
    )  # fmt: skip


def _rounded(chance: float) -> str:
    return "<1" if chance < 0.005 else percent(chance, 0)


def _weights(entry: Entry) -> str:
    found = entry.card.get("weights") or {}
    return ", ".join(str(found[key]) for key in ("source", "note") if found.get(key))


def _cells(row: tuple[object, ...]) -> tuple[str, ...]:
    fact = dict(zip(_RAW, row, strict=True))
    number = {name: float(value) for name, value in fact.items() if isinstance(value, int | float)}
    several = number["seeds"] > 1
    return (
        f"{fact['network']}, {fact['seeds']} seeds" if several else str(fact["network"]),
        str(fact["weights"]),
        str(fact["epochs"]),
        f"{number['errors']:.1f}" if several else count(number["errors"]),
        count(number["paper_errors"]),
        percent(number["accuracy"]),
        percent(number["paper_accuracy"]),
        signed_points(number["difference"]),
        interval_points((number["low"], number["high"])),
        " to ".join(dict.fromkeys(_rounded(number[f"no_better_{end}"]) for end in ("low", "high"))) + " %",
    )
