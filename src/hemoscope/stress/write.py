"""The result as a document, a table and two pictures; a folder of them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hemoscope.encoding import to_cell
from hemoscope.files import new_folder, write_json, write_text
from hemoscope.report.figure_style import save_figure
from hemoscope.stress.grounds import TESTS
from hemoscope.stress.pictures import errors_figure, sheet
from hemoscope.stress.result import (
    CLEAN,
    NOT_ASKED,
    Condition,
    Relative,
    Stressed,
    Subject,
    constant_share,
    errors_of,
    relative_to,
    scores_of,
    share_right,
)
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES
from hemoscope.stress.words import sentences, told_by_background

__all__ = ["TABLE_COLUMNS", "document_of", "relative_of", "write_stress"]

TABLE_COLUMNS = (
    *("network", "condition", "severity", "n", "errors", "error", "error_low", "error_high"),
    "balanced_accuracy",
)


def document_of(found: Stressed) -> dict[str, Any]:
    """Return every figure as a document; undefined is NaN or None."""
    counts = Counter(found.target.tolist())
    usable = found.target[found.usable]
    return {
        "data": found.root,
        "side": found.side,
        "n": len(found.target),
        "limit": found.limit,
        "seed": found.seed,
        "classes": {name: counts[c] for c, name in enumerate(found.classes)},
        "class_map": dict(found.class_map),
        "seen_before": found.seen,
        "nucleus_px": found.cameras[CLEAN],
        "corruptions": [
            {
                "name": c.name,
                "what": c.what,
                "levels": list(c.levels),
                "nucleus_px": [found.cameras[c.name, severity] for severity in SEVERITIES],
            }
            for c in CORRUPTIONS
        ],
        "reference": None if found.reference is None else found.subjects[found.reference].name,
        "no_reference": found.no_reference or None,
        "cells": {
            "n": len(usable),
            "left_out": len(found.target) - len(usable),
            "disc": found.radius,
            "constant_answer": constant_share(usable),
            "no_second_acquisition": found.no_second or None,
        },
        "networks": [_network(found, subject) for subject in found.subjects],
    }


def relative_of(found: Stressed, subject: Subject) -> Relative | None:
    """Return a network's errors relative to the reference's; None without one."""
    if found.reference is None:
        return None
    return relative_to(*errors_of(found, subject), *errors_of(found, found.subjects[found.reference]))


def write_stress(found: Stressed, folder: Path, document: Mapping[str, Any]) -> None:
    """Write `stress.json`, `stress.csv`, `corruptions.jpg` (what each looks like) and `errors` as SVG and PNG.

    Raises:
        DataError: If something is in the folder already.
    """
    with new_folder(folder) as part:
        write_json(part / "stress.json", document)
        write_text(part / "stress.csv", _table(found))
        Image.fromarray(sheet(found.example, seed=found.seed)).save(
            part / "corruptions.jpg", quality=90, subsampling=0, optimize=True
        )
        save_figure(errors_figure(found), part / "errors")


def _network(found: Stressed, subject: Subject) -> dict[str, Any]:
    errors, clean = errors_of(found, subject)
    relative = relative_of(found, subject)
    means = errors.mean(axis=1)
    scores = scores_of(found, subject, CLEAN)
    return {
        "name": subject.name,
        "arch": subject.arch or None,
        "clean": {
            "errors": scores.errors,
            "accuracy": scores.accuracy,
            "accuracy_ci": list(scores.accuracy_ci),
            "balanced_accuracy": scores.macro.sensitivity,
        },
        "mean_error": means.mean(),
        "added_error": means.mean() - clean,
        "mce": relative.mce if relative else None,
        "relative_mce": relative.relative_mce if relative else None,
        "corruptions": [
            {
                "name": corruption.name,
                "error": errors[i].tolist(),
                "mean_error": means[i],
                "added_error": means[i] - clean,
                "ce": relative.ce[i] if relative else None,
                "relative_ce": relative.relative_ce[i] if relative else None,
            }
            for i, corruption in enumerate(CORRUPTIONS)
        ],
        "background": [_test(found, subject, name) for name in TESTS],
        "recognises_background": told_by_background(found, subject),
        "says": list(sentences(found, subject)),
    }


def _test(found: Stressed, subject: Subject, name: str) -> dict[str, Any]:
    pred = subject.preds[name, 0]
    asked = pred != NOT_ASKED
    right = pred[asked] == found.target[asked]
    share, low, high = share_right(right)
    return {
        "test": name,
        "what": TESTS[name],
        "n": len(right),
        "right": int(right.sum()),
        "accuracy": share,
        "accuracy_ci": [low, high],
    }


def _table(found: Stressed) -> str:
    """Return one row a network and condition, CSV; background tests have no severity."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(TABLE_COLUMNS)
    for subject in found.subjects:
        for condition, pred in subject.preds.items():
            rows.writerow([to_cell(subject.name), *_row(found, subject, condition, pred)])
    return text.getvalue()


def _row(found: Stressed, subject: Subject, condition: Condition, pred: np.ndarray) -> list[object]:
    asked = pred != NOT_ASKED
    error, low, high = share_right(pred[asked] != found.target[asked])
    balanced = scores_of(found, subject, condition).macro.sensitivity
    figures = [error, low, high, balanced]
    return [
        *(
            condition[0],
            condition[1] or "",
            int(asked.sum()),
            int((pred[asked] != found.target[asked]).sum()),
        ),
        *("" if np.isnan(value) else value for value in figures),
    ]
