"""Cells of a slide for the tests of a review."""

from __future__ import annotations

from hemoscope.review.cells import Cell

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


def cell(number, pred="neutrophil", status="accepted", *, prob=0.9, classes=CLASSES, **rest) -> Cell:
    other = (1 - prob) / (len(classes) - 1)
    probs = tuple(prob if name == pred else other for name in classes)
    return Cell(
        number, f"{number:064x}", f"{number}.jpg", status, pred, probs,
        rest.pop("margin", prob - other), candidates=(pred,), **rest,
    )  # fmt: skip
