"""Two figures on certainty: stated against true, and errors against the share of answers kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hemoscope.evaluation.calibration import Reliability
from hemoscope.evaluation.selective import RiskCoverage
from hemoscope.report.figure_style import BLUE, GREY, INK, PALE, VERMILION, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reliability_figure", "risk_figure"]

_FEW = 10  # answers of a bin that is drawn hollow


def reliability_figure(before: Reliability, after: Reliability | None) -> Figure:
    """Draw accuracy against stated probability, bin by bin; below, how many answers a bin holds. Of few it is hollow.

    Args:
        before: As stated.
        after: After the temperature.
    """
    edges = np.arange(len(before.count) + 1) / len(before.count)
    with style():
        figure = new_figure(width_in=3.4, height_in=3.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        for bins, color, marker, dashes, label in (
            (before, BLUE, "o", "-", "as stated"),
            (after, VERMILION, "s", (0, (4, 1.5)), "after the temperature"),
        ):
            if bins is None:
                continue
            x, y = 100 * bins.confidence, 100 * bins.accuracy
            some, few = bins.count > 0, (bins.count > 0) & (bins.count < _FEW)
            look = {"color": color, "marker": marker, "markersize": 3.2}
            top.plot(x[some], y[some], linewidth=1.0, linestyle=dashes, label=label, **look)
            top.plot(x[few], y[few], linestyle="none", markerfacecolor="#ffffff", **look)
            bottom.stairs(bins.count, 100 * edges, color=color, linewidth=1.0, linestyle=dashes)
        top.set(ylabel="Right, %", xlim=(0, 100), ylim=(0, 102))
        top.legend(frameon=False, loc="lower right", handlelength=2.6, borderpad=0)
        bottom.set_yscale("log")
        bottom.set(ylabel="Images", xlabel="Probability of the predicted class, %", ylim=(0.7, None))
        for axes in (top, bottom):
            axes.grid(axis="y", color=PALE, linewidth=0.5)
            axes.set_axisbelow(True)
        figure.align_ylabels()
    return figure


def risk_figure(curve: RiskCoverage) -> Figure:
    """Draw the errors among the surest answers, and what they would be in the best order."""
    kept = np.arange(1, len(curve.risk) + 1)
    wrong = round(curve.risk[-1] * len(kept))
    best = np.maximum(kept - (len(kept) - wrong), 0) / kept
    with style():
        figure = new_figure(width_in=3.4, height_in=3.6)
        axes = figure.add_subplot()
        axes.plot(100 * curve.coverage, 100 * curve.risk, color=INK, linewidth=1.2, label="by certainty")
        axes.plot(
            100 * curve.coverage,
            100 * best,
            color=GREY,
            linewidth=1.0,
            linestyle=(0, (4, 1.5)),
            label="best order",
        )
        axes.set(xlabel="Answers kept, the surest first, %", ylabel="Wrong among them, %", xlim=(0, 100))
        axes.set_ylim(0, max(1.1 * 100 * float(curve.risk.max()), 0.1))
        axes.legend(frameon=False, loc="upper left", handlelength=2.6, borderpad=0)
        axes.grid(axis="y", color=PALE, linewidth=0.5)
        axes.set_axisbelow(True)
    return figure
