"""Errors by kind of cell within a class, as PBC's file names tell them, and at the border that costs most of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.scan.scan import subtype_of
from hemoscope.evaluation.intervals import wilson
from hemoscope.records import Predictions
from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count, interval, percent
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["border_table", "subtypes_table"]

# Acevedo et al. 2020 name these kinds; IG and NEUTROPHIL are cells that were not typed further.
_KINDS = {
    "BNE": "band",
    "SNE": "segmented",
    "NEUTROPHIL": "not typed further",
    "PMY": "promyelocyte",
    "MY": "myelocyte",
    "MMY": "metamyelocyte",
    "IG": "not typed further",
}
_RAW = ("network", "run", "class", "subtype", "images", "errors", "sensitivity", "low", "high")


def subtypes_table(report: Report) -> TextTable:
    """Return the sensitivity of every kind of cell of what the headline is about; no rows where names tell none.

    Raw rows are of the ensemble and of every run.
    """
    judged = report.judged
    kinds = _kinds(judged)
    rows = []
    for _, _, name, subtype, n, errors, rate, low, high in _counted("", "", judged, kinds):
        wrong = (
            (kinds == subtype)
            & (judged.target == judged.classes.index(name))
            & (judged.pred != judged.target)
        )
        taken_for = Counter(judged.classes[c] for c in judged.pred[wrong]).most_common(3)
        kind, bounds = f"{_KINDS[subtype]} ({subtype})", interval((low, high))
        told = ", ".join(f"{to} {times}" for to, times in taken_for)
        rows.append((name, kind, count(n), count(errors), percent(rate), bounds, told))
    return TextTable(
        name="subtypes",
        caption=f"{report.judged_label}: kinds of cell within a class, by the file names of PBC; sensitivity in percent "
        "with Wilson 95 % intervals, and what the wrong ones were taken for.",
        head=("Class", "Kind", "Images", "Errors", "Sensitivity", "95 % interval", "Taken for"),
        groups=plain(rows),
        n_text=2,
        raw=Raw(_RAW, tuple(row for subject in _subjects(report) for row in _counted(*subject, kinds))),
    )


def border_table(report: Report) -> TextTable:
    """Return the errors between metamyelocytes and band neutrophils of every network; no rows where names tell none.

    Both are steps of one maturation, and where one ends is a convention.
    """
    kinds = _kinds(report.judged)
    rows, raw = [], []
    young, bands = kinds == "MMY", kinds == "BNE"
    classes = report.judged.classes
    told = young.any() and bands.any() and {"ig", "neutrophil"} <= {*classes}
    for label, run, said in _subjects(report) if told else ():
        up = int((young & (said.pred == classes.index("neutrophil"))).sum())
        down = int((bands & (said.pred == classes.index("ig"))).sum())
        share = percent((up + down) / said.n_errors, 0) if said.n_errors else NOT_DEFINED
        rows.append((label, count(up), count(down), count(said.n_errors), share))
        raw.append((label, run, int(young.sum()), up, int(bands.sum()), down, said.n_errors))
    return TextTable(
        name="border",
        caption=f"The border of metamyelocyte (class ig; {int(young.sum())} test images) and band neutrophil (class "
        f"neutrophil; {int(bands.sum())}): how many of each were taken for the other's class, and their share of all errors in percent.",
        head=("Network", "Metamyelocyte as neutrophil", "Band as ig", "All errors", "Share"),
        groups=plain(rows),
        raw=Raw(
            ("network", "run", "metamyelocytes", "as_neutrophil", "bands", "as_ig", "errors"), tuple(raw)
        ),
    )


def _subjects(report: Report) -> list[tuple[str, str, Predictions]]:
    """Return label, run and test predictions of the ensemble and of every run."""
    runs = [(entry.label, entry.name, entry.test) for entry in report.entries]
    return [(e.label, "", e.predictions), *runs] if (e := report.ensemble) else runs


def _kinds(predictions: Predictions) -> NDArray[np.str_]:
    """Return the subtype of every image, shape (N,); empty where its name tells none."""
    return np.array([subtype_of(path.rpartition("/")[2]) for path in predictions.paths], dtype=np.str_)


def _typed(predictions: Predictions, kinds: NDArray[np.str_]) -> Sequence[tuple[str, str]]:
    """Return class and subtype of what is typed within a class that has several kinds."""
    pairs = sorted(
        {(int(c), str(kind)) for c, kind in zip(predictions.target, kinds, strict=True) if kind in _KINDS}
    )
    several = Counter(c for c, _ in pairs)
    return [(predictions.classes[c], kind) for c, kind in pairs if several[c] > 1]


def _counted(
    label: str, run: str, said: Predictions, kinds: NDArray[np.str_]
) -> list[tuple[str, str, str, str, int, int, float, float, float]]:
    """Return a row of `_RAW` for every kind of cell."""
    found = []
    for name, subtype in _typed(said, kinds):
        here = (kinds == subtype) & (said.target == said.classes.index(name))
        n, hits = int(here.sum()), int((here & (said.pred == said.target)).sum())
        low, high = map(float, wilson(hits, n))
        found.append((label, run, name, subtype, n, n - hits, hits / n, low, high))
    return found
