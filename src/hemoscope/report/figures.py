"""The figures of a report, drawn, saved below one folder, and ready to stand in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hemoscope import paper
from hemoscope.ensemble.networks import Network, Summary
from hemoscope.evaluation.summary import Scores
from hemoscope.files import atomic_path, write_text
from hemoscope.report import formats
from hemoscope.report.certainty import Certainty
from hemoscope.report.certainty_plots import reliability_figure, risk_figure
from hemoscope.report.collect import Report
from hemoscope.report.confusion import MOST_SHOWN
from hemoscope.report.figure_style import jpeg_bytes, save_figure
from hemoscope.report.methods import compared_entries
from hemoscope.report.montage import pictures
from hemoscope.report.page import data_uri
from hemoscope.report.plots import (
    RankPoint,
    confusion_figure,
    curve_limits,
    curves_figure,
    ranking_figure,
    samples_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Figures", "Picture", "certainty", "curves", "matrices", "ranking", "samples"]

WRITTEN = ".written"
"""Lies beside the figures and names those that a report has put there."""

_STEM = re.compile(r"[a-z0-9-]{1,200}")
_MOST_CONFUSIONS = 9
_MOST_SAMPLES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A figure inside the page: its file as a data URI, what stands under it and what it says in words."""

    uri: str
    caption: str
    alt: str
    width_px: int


class Figures:
    """Saves figures below one folder under names that are all different."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def add(self, stem: str, figure: Figure, *, caption: str, alt: str) -> Picture:
        """Save a drawing as SVG and PNG."""
        svg = save_figure(figure, self._folder / self._free(stem))
        return Picture(data_uri("image/svg+xml", svg), caption, alt, _width_px(figure))

    def add_photographs(self, stem: str, figure: Figure, *, caption: str, alt: str) -> Picture:
        """Save a figure made of photographs as JPEG."""
        jpeg = jpeg_bytes(figure)
        with atomic_path(self._folder / f"{self._free(stem)}.jpg") as part:
            part.write_bytes(jpeg)
        return Picture(data_uri("image/jpeg", jpeg), caption, alt, _width_px(figure))

    def _free(self, stem: str) -> str:
        name, n = stem, 1
        while name in self._taken:
            n += 1
            name = f"{stem}-{n}"
        self._taken.add(name)
        return name

    def forget_earlier(self) -> None:
        """Delete the figures of an earlier report that this one has not drawn; what others put there stays."""
        listed = self._folder / WRITTEN
        earlier = listed.read_text("utf-8", "replace").splitlines() if listed.is_file() else []
        for name in filter(_STEM.fullmatch, {*earlier} - self._taken):  # the list may come from anybody
            for kind in ("svg", "png", "jpg"):
                (self._folder / f"{name}.{kind}").unlink(missing_ok=True)
        write_text(listed, "".join(f"{name}\n" for name in sorted(self._taken)))


def samples(report: Report, figures: Figures, root: Path) -> Picture | None:
    """Draw some validation images of each class, evenly spread over their names; None where none can be read."""
    val = report.best.val
    n = len(val.classes)
    each = max(1, min(4, _MOST_SAMPLES // max(n, 1)))
    wanted: dict[str, list[str]] = {}
    for c in range(n) if n <= MOST_SHOWN else _spread(n, _MOST_SAMPLES):
        of_class = np.flatnonzero(val.target == c)
        wanted[val.classes[c]] = [val.paths[of_class[i]] for i in _spread(len(of_class), each)]
    found = pictures(root, [path for paths in wanted.values() for path in paths])
    shown = {name: [found[path] for path in paths if path in found] for name, paths in wanted.items()}
    shown = {name: images for name, images in shown.items() if images}
    if not shown:
        return None
    credit = report.data.credit
    return figures.add_photographs(
        "sample-cells",
        samples_figure(shown, credit and f"Images: {credit}"),
        caption=f"Sample cells of {'each class' if n <= MOST_SHOWN else f'{len(shown)} of {n:,} classes'}, validation "
        "images" + (f". Images: {credit}." if credit else "."),
        alt=f"Photographs of {', '.join(shown)}.",
    )


def _spread(n: int, most: int) -> list[int]:
    """Return up to `most` different places among `n`, evenly spread."""
    places = np.linspace(0, n - 1, min(most, n) + 2)[1:-1].round().astype(int)
    return list(dict.fromkeys(places.tolist()))


def ranking(report: Report, figures: Figures) -> Picture:
    """Draw every network's accuracy with its interval, and the paper's where it can stand beside."""
    points = []
    for network in report.networks:
        row = paper.classwise_accuracy(network.arch)
        theirs = 1 - row.errors / paper.N_TEST if row and report.comparable else None
        points.append(_point(network.label, network.summary, theirs))
    points.sort(key=lambda point: -point.value)
    if report.ensemble:
        s, same = report.ensemble.scores, report.comparable and report.ensemble.is_papers
        theirs = 1 - paper.ENSEMBLE_ERRORS / paper.N_TEST if same else None
        points.insert(
            0, RankPoint(report.ensemble.label, s.accuracy, *s.accuracy_ci, paper=theirs, emphasis=True)
        )
    caption = "Test accuracy with Wilson 95 % intervals"
    if any(point.paper is not None for point in points):
        caption += "; open diamonds are the paper's figures for the same architecture, on its own test images"
    alt = "; ".join(f"{p.label} {formats.percent(p.value)} %" for p in points)
    return figures.add("ranking", ranking_figure(points), caption=f"{caption}.", alt=alt)


def matrices(report: Report, figures: Figures) -> Iterator[Picture]:
    """Draw the confusion matrices of the ensemble and the runs it is compared with; none of very many classes."""
    if len(report.headline.classes) > MOST_SHOWN:
        return
    drawn: list[tuple[str, str, Scores]] = [
        (e.label, e.name, e.scores) for e in reversed(compared_entries(report))
    ]
    if report.ensemble:
        drawn.insert(0, (report.ensemble.label, "ensemble", report.ensemble.scores))
    for label, name, scores in drawn[:_MOST_CONFUSIONS]:
        accuracy = f"{formats.percent(scores.accuracy)} %"
        yield figures.add(
            f"confusion-{formats.slug(name)}",
            confusion_figure(scores.confusion, scores.classes),
            caption=f"{label}: {formats.counted(scores.errors, 'error')} in {scores.n:,}, accuracy {accuracy}.",
            alt=f"Confusion matrix of {label}: {formats.counted(scores.errors, 'error')} in {formats.counted(scores.n, 'test image')}.",
        )


def certainty(report: Report, sure: Certainty, figures: Figures) -> Iterator[Picture]:
    """Draw stated against true probabilities, and the errors among the surest answers."""
    yield figures.add(
        "reliability",
        reliability_figure(sure.before.bins, sure.after.bins if sure.after else None),
        caption=f"{report.judged_label}: how often answers of so stated a probability are right, and how many there are (hollow: "
        "fewer than ten). On the dotted line they are right as often as they say.",
        alt=f"Reliability diagram of {report.judged_label}: calibration error {formats.percent(sure.before.estimates['ece'].value)} %.",
    )
    yield figures.add(
        "risk-coverage",
        risk_figure(sure.curve),
        caption=f"{report.judged_label}: errors among the surest answers, from the first to all of them; dashed, what they would be "
        f"were every error less certain than every right answer. Area under the curve {formats.percent(sure.curve.area, 3)} %, at best "
        f"{formats.percent(sure.curve.best, 3)} %.",
        alt=f"Risk-coverage curve of {report.judged_label}.",
    )


def curves(report: Report, figures: Figures) -> Iterator[Picture]:
    """Draw the history of every network that has one, best on validation first, all on the same axes."""
    with_history = [n for n in report.networks if any(e.history for e in n.entries)]
    with_history.sort(key=lambda n: -max(e.val_accuracy for e in n.entries))
    limits = curve_limits(entry.history for network in with_history for entry in network.entries)
    for network in with_history:
        histories = [entry.history for entry in network.entries if entry.history]
        yield figures.add(
            f"curves-{formats.slug(network.label)}",
            curves_figure(histories, limits),
            caption=_curve_caption(network),
            alt=f"Loss and accuracy of {network.label} over the epochs, on training and validation images.",
        )


def _point(label: str, summary: Summary, theirs: float | None) -> RankPoint:
    return RankPoint(label, float(summary.mean[-1]), float(summary.low[-1]), float(summary.high[-1]), theirs)


def _curve_caption(network: Network) -> str:
    last = [entry.history[-1] for entry in network.entries if entry.history]
    mean = sum(row.val_accuracy for row in last) / len(last)
    seeds = f", mean of {len(last)} seeds" if len(last) > 1 else ""
    return f"{network.label}: {formats.percent(mean)} % on validation after the last epoch{seeds}."


def _width_px(figure: Figure) -> int:
    return round(96 * figure.get_size_inches()[0])
