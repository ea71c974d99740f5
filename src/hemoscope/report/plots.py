"""Figures as matplotlib `Figure` objects: arrays and names in, a figure out; nothing is shown or kept.

Lines differ in style and marker as well as in colour. Labels are never read as mathematics, because
class names come from users' folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hemoscope.records import IntArray
from hemoscope.report.figure_style import BLUE, GREY, INK, PALE, VERMILION, new_figure, sequential, style
from hemoscope.report.formats import printable
from hemoscope.runs import EpochRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = [
    "CurveLimits",
    "RankPoint",
    "confusion_figure",
    "curve_limits",
    "curves_figure",
    "ranking_figure",
    "samples_figure",
]


@dataclass(frozen=True, slots=True)
class RankPoint:
    """One line of the ranking: an accuracy with its interval, all fractions.

    Attributes:
        label: What stands at the left.
        value: Our accuracy.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        paper: The paper's accuracy of the same architecture, where the two can be compared.
        emphasis: Whether this is the ensemble.
    """

    label: str
    value: float
    low: float
    high: float
    paper: float | None = None
    emphasis: bool = False


@dataclass(frozen=True, slots=True)
class CurveLimits:
    """Axes that all learning curves of one report share, so that they can be compared by eye."""

    epochs: int
    loss: float
    accuracy_low: float


def confusion_figure(confusion: IntArray, classes: Sequence[str]) -> Figure:
    """Draw counts in the cells, shaded by the square root of each count's share of its row.

    Args:
        confusion: Counts, shape (C, C); row = true class, column = predicted class.
        classes: Class names, length C.
    """
    n = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    cell_in = 0.46 if n <= 12 else 0.34
    names = [_shortened(name) for name in classes]
    margin_in = 0.45 + 0.066 * max(map(len, names))
    with style():
        figure = new_figure(width_in=n * cell_in + margin_in + 0.1, height_in=n * cell_in + margin_in + 0.1)
        ax = figure.add_subplot()
        ax.pcolormesh(
            np.sqrt(share),
            cmap=sequential(),
            vmin=0,
            vmax=1,
            edgecolors=PALE,
            linewidth=0.5,
            antialiased=True,
        )
        for (row, column), value in np.ndenumerate(confusion):
            dark = share[row, column] > 0.25
            colour = "#ffffff" if dark else (INK if value else "#a8a8a8")
            weight = "bold" if value and row != column else "normal"
            ax.text(
                column + 0.5, row + 0.52, f"{value}", ha="center", va="center", color=colour, weight=weight,
                fontsize=8 if n <= 12 else 6.5,
            )  # fmt: skip
        ax.set(xlim=(0, n), ylim=(n, 0), xlabel="Predicted class", ylabel="True class", aspect="equal")
        _name_ticks(ax.set_xticks(np.arange(n) + 0.5, names, rotation=90), ax.get_xticklabels())
        _name_ticks(ax.set_yticks(np.arange(n) + 0.5, names), ax.get_yticklabels())
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def curve_limits(histories: Iterable[Sequence[EpochRow]]) -> CurveLimits:
    """Return axes that hold every finite point, but no loss above thrice the highest training loss.

    An untrained network's first validation can read forty; it would press all else to the ground.
    """
    rows = [row for history in histories for row in history]
    trained = max(_finite(row.train_loss for row in rows), default=1.0)
    losses = _finite(min(value, 3 * trained) for row in rows for value in (row.train_loss, row.val_loss))
    accuracies = _finite(value for row in rows for value in (row.train_accuracy, row.val_accuracy))
    lowest = min(accuracies, default=0.0)
    return CurveLimits(
        epochs=max((row.epoch for row in rows), default=1),
        loss=1.06 * max(losses, default=1.0) or 1.0,
        accuracy_low=max(0.0, np.floor(20 * (lowest - 0.01)) / 20),
    )


def curves_figure(histories: Sequence[Sequence[EpochRow]], limits: CurveLimits) -> Figure:
    """Draw loss above accuracy over the epochs, training and validation, one thin line a seed."""
    with style():
        figure = new_figure(width_in=3.1, height_in=3.3)
        loss, accuracy = figure.subplots(2, 1, sharex=True)
        for history in histories:
            epochs = [row.epoch for row in history]
            for ax, train, val in (
                (loss, [r.train_loss for r in history], [r.val_loss for r in history]),
                (
                    accuracy,
                    [100 * r.train_accuracy for r in history],
                    [100 * r.val_accuracy for r in history],
                ),
            ):
                ax.plot(epochs, train, color=BLUE, **_line(len(epochs), "-", "o"))
                ax.plot(epochs, val, color=VERMILION, **_line(len(epochs), (0, (4, 1.5)), "s"))
        loss.set(ylim=(0, limits.loss), ylabel="Loss")
        accuracy.set(ylim=(100 * limits.accuracy_low, 100.4), ylabel="Accuracy, %", xlabel="Epoch")
        accuracy.set_xlim(0.5, limits.epochs + 0.5)
        accuracy.xaxis.get_major_locator().set_params(integer=True)
        for ax in (loss, accuracy):
            ax.grid(axis="y", color=PALE, linewidth=0.5)
            ax.set_axisbelow(True)
        lines = loss.get_lines()[:2]
        if lines:
            loss.legend(
                lines,
                ["training", "validation"],
                frameon=False,
                loc="upper right",
                handlelength=2.6,
                borderpad=0,
            )
        figure.align_ylabels()
    return figure


def ranking_figure(points: Sequence[RankPoint]) -> Figure:
    """Draw one accuracy with its interval a line, the paper's beside it as an open diamond."""
    with style():
        figure = new_figure(width_in=7.2, height_in=0.62 + 0.2 * len(points))
        ax = figure.add_subplot()
        for y, point in enumerate(points):
            colour = INK if point.emphasis else BLUE
            ax.plot(
                [100 * point.low, 100 * point.high],
                [y, y],
                color=colour,
                linewidth=1.1,
                solid_capstyle="butt",
            )
            if point.paper is not None:
                ax.plot(
                    [100 * point.paper], [y], marker="D", markersize=5, markerfacecolor="none",
                    markeredgecolor=VERMILION, markeredgewidth=1.0, zorder=3,
                )  # fmt: skip
            ax.plot(
                [100 * point.value], [y], marker="s" if point.emphasis else "o", markersize=4.2, color=colour
            )
        labels = [_shortened(point.label, 48) for point in points]
        _name_ticks(ax.set_yticks(range(len(points)), labels), ax.get_yticklabels())
        for tick, point in zip(ax.get_yticklabels(), points, strict=True):
            tick.set_fontweight("bold" if point.emphasis else "normal")
        ax.set(ylim=(len(points) - 0.4, -0.6), xlabel="Test accuracy, %")
        low, high = ax.get_xlim()
        ax.set_xticks([tick for tick in ax.get_xticks() if low <= tick <= min(high, 100.0)])
        ax.set_xlim(low, high)
        ax.grid(axis="x", color=PALE, linewidth=0.5)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return figure


def samples_figure(samples: Mapping[str, Sequence[NDArray[np.uint8]]], credit: str) -> Figure:
    """Draw a few images of each class below its name, eight classes side by side.

    Args:
        samples: RGB pixels, shape (H, W, 3) each, by class.
        credit: Whose images they are; stands below them.
    """
    columns, per_class = min(len(samples), 8), max(map(len, samples.values()))
    bands = -(-len(samples) // columns)
    with style():
        figure = new_figure(width_in=0.9 * columns, height_in=bands * (0.9 * per_class + 0.25) + 0.2)
        axes = figure.subplots(bands * per_class, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for i, (name, images) in enumerate(samples.items()):
            band, column = divmod(i, columns)
            for row, pixels in enumerate(images):
                axes[band * per_class + row, column].imshow(pixels)
            title = axes[band * per_class, column].set_title(_shortened(name, 18), fontsize=7)
            title.set_parse_math(False)
        if credit:
            figure.supxlabel(credit, fontsize=6, color=GREY, x=0.995, ha="right")
    return figure


def _name_ticks(_: object, labels: Sequence[Text]) -> None:
    for label in labels:
        label.set_parse_math(False)


def _line(points: int, dashes: Any, marker: str) -> dict[str, Any]:
    """Return how a curve is drawn; markers only where they do not run into each other."""
    size = 4.0 if points == 1 else 2.2 if points <= 12 else 0.0
    return {"linestyle": dashes, "linewidth": 1.2, "marker": marker if size else "none", "markersize": size}


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]


def _shortened(name: str, longest: int = 24) -> str:
    name = printable(name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
