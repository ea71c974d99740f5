"""Table 4: what the networks are, ours beside the paper's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hemoscope import paper
from hemoscope.ensemble.networks import Network
from hemoscope.models.registry import ARCHITECTURES
from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["PUBLISHED", "Published", "table4"]


@dataclass(frozen=True, slots=True)
class Published:
    """Facts of an architecture as torchvision builds it.

    Attributes:
        top1: Accuracy on ImageNet in percent with the weights IMAGENET1K_V1, one crop.
        top5: The same for the five likeliest classes.
        depth: Layers with weights (convolutions and fully connected) on the longest way through.
    """

    top1: float
    top5: float
    depth: int


# Source: the metadata of torchvision's IMAGENET1K_V1 weights; a test compares them, and counts the layers.
PUBLISHED: Mapping[str, Published] = {
    "alexnet": Published(56.522, 79.066, 8),
    "vgg11": Published(69.02, 88.628, 11),
    "vgg13": Published(69.928, 89.246, 13),
    "vgg16": Published(71.592, 90.382, 16),
    "vgg19": Published(72.376, 90.876, 19),
    "vgg11_bn": Published(70.37, 89.81, 11),
    "vgg13_bn": Published(71.586, 90.374, 13),
    "vgg16_bn": Published(73.36, 91.516, 16),
    "vgg19_bn": Published(74.218, 91.842, 19),
    "resnet18": Published(69.758, 89.078, 18),
    "resnet34": Published(73.314, 91.42, 34),
    "resnet50": Published(76.13, 92.862, 50),
    "resnet101": Published(77.374, 93.546, 101),
    "resnet152": Published(78.312, 94.046, 152),
    "squeezenet1_0": Published(58.092, 80.42, 18),
    "squeezenet1_1": Published(58.178, 80.624, 18),
    "densenet121": Published(74.434, 91.972, 121),
    "densenet169": Published(75.6, 92.806, 169),
    "densenet201": Published(76.896, 93.37, 201),
    "densenet161": Published(77.138, 93.56, 161),
    "inception_v3": Published(77.294, 93.45, 48),
    "googlenet": Published(69.778, 89.53, 22),
    "mobilenet_v2": Published(71.878, 90.286, 53),
    "resnext50_32x4d": Published(77.618, 93.698, 50),
    "resnext101_32x8d": Published(79.312, 94.526, 101),
    "wide_resnet50_2": Published(78.468, 94.086, 50),
    "wide_resnet101_2": Published(78.848, 94.284, 101),
}

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
    published = PUBLISHED.get(arch)
    known = next((a for a in ARCHITECTURES if a.name == arch), None)
    theirs = next((row for row in paper.TABLE_4 if row.arch == arch), None)
    return (
        arch,
        round(1 - published.top1 / 100, 5) if published else None,
        round(theirs.top1_error / 100, 4) if theirs else None,
        round(1 - published.top5 / 100, 5) if published else None,
        round(theirs.top5_error / 100, 4) if theirs else None,
        published.depth if published else None,
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
