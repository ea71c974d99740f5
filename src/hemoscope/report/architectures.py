"""Table 4: what the networks are, ours beside the paper's figures."""

from __future__ import annotations

from collections.abc import Iterator

from hemoscope import paper
from hemoscope.ensemble.networks import Network
from hemoscope.models.registry import ARCHITECTURES
from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["table4"]


_RAW = (
    "arch",
    "top1_error",
    "paper_top1_error",
    "top5_error",
    "paper_top5_error",
    "depth",
    "paper_depth",
    "parameters",
    "paper_parameters",
    "parameters_as_trained",
    "input_px",
)


def table4(report: Report) -> TextTable:
    """Return ImageNet errors, depth and parameters of the report's architectures, each once."""
    first: dict[str, Network] = {}
    for network in report.networks:
        first.setdefault(network.arch, network)
    raw = [_facts(network) for network in first.values()]
    rows = [(_name(row[0]), *_cells(row)) for row in raw]
    caption = (
        "The architectures: error on ImageNet in percent, layers with weights on the longest way through, parameters "
        "in millions with ImageNet's classes (auxiliary heads not counted) and as trained here. Each of "
        "ours is followed by the paper's figure. ImageNet errors are torchvision's for its weights IMAGENET1K_V1; a network that "
        "started from others had its own."
    )
    head = (
        "Network", "Top-1 error", "paper", "Top-5 error", "paper", "Depth", "paper", "Parameters", "paper",
        "As trained", "Input, px",
    )  # fmt: skip
    return TextTable("table4", caption, head, plain(rows), raw=Raw(_RAW, tuple(raw)))


def _facts(network: Network) -> tuple[object, ...]:
    """Return one raw row: errors as fractions, parameters whole; None where nothing is known."""
    arch, card = network.arch, network.entries[0].card
    known = next((a for a in ARCHITECTURES if a.name == arch), None)
    theirs = next((row for row in paper.TABLE_4 if row.arch == arch), None)
    return (
        arch,
        round(1 - known.top1 / 100, 5) if known else None,
        round(theirs.top1_error / 100, 4) if theirs else None,
        round(1 - known.top5 / 100, 5) if known else None,
        round(theirs.top5_error / 100, 4) if theirs else None,
        known.depth if known else None,
        theirs.depth if theirs else None,
        known.params if known else None,
        round(1e6 * theirs.params_millions) if theirs else None,
        card.get("parameters"),
        card.get("image_px") or (known.input_px if known else None),
    )


def _cells(row: tuple[object, ...]) -> Iterator[str]:
    for name, value in zip(_RAW[1:], row[1:], strict=True):
        if not isinstance(value, int | float):
            yield NOT_DEFINED
        elif name.endswith("error"):
            yield f"{100 * value:.2f}"
        elif name == "paper_parameters":
            yield f"{value / 1e6:g}"
        elif "parameters" in name:
            yield f"{value / 1e6:.2f}"
        else:
            yield count(value)


def _name(arch: object) -> str:
    row = paper.classwise_accuracy(str(arch))
    return row.paper_name if row else str(arch)
