"""What an evaluation says in figures, and as a folder that `report` and `compare` take."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hemoscope.ensemble.vote import vote
from hemoscope.evaluation.calibration import (
    adaptive_calibration_error,
    classwise_calibration_error,
    ece_if_calibrated,
)
from hemoscope.evaluation.calibration_intervals import calibration_estimates
from hemoscope.evaluation.intervals import clopper_pearson
from hemoscope.evaluation.selective import risk_coverage
from hemoscope.evaluation.summary import balanced, score
from hemoscope.evaluation.unlabelled import agreement, thresholded_confidence
from hemoscope.files import new_folder, sha256_of, write_json
from hemoscope.predict.evaluate import STATUSES, Evaluated
from hemoscope.predict.scorable import Scorable
from hemoscope.records import Predictions
from hemoscope.runs import CARD, DONE, EVALUATED, HISTORY, PREDICTIONS, write_predictions

__all__ = ["SUMMARY", "figures", "write_evaluation"]

SUMMARY = "evaluation.json"


def figures(what: Scorable, found: Evaluated) -> dict[str, Any]:
    """Return every figure of an evaluation as a document; undefined is None or NaN."""
    scores = score(found.predictions)
    return {
        "members": [member.name for member in what.members],
        "vote": what.vote if len(what.members) > 1 else None,
        "data": found.manifest.root,
        **balanced(scores),
        "limited": balanced(score(found.limited)) if found.limited else None,
        "calibration": _calibration(found.predictions),
        "estimated": _estimated(what, found),
        "verdicts": _verdicts(found),
        "none_of_the_classes": dict(found.strangers),
        "class_map": dict(found.class_map),
        "seen_before": found.seen,
    }


def write_evaluation(
    folder: Path, what: Scorable, found: Evaluated, document: Mapping[str, Any], command: str
) -> None:
    """Write a folder of run folders, one a member, with the answers as their test side.

    A member keeps its card, its epochs and its validation images, by which members are chosen; a bundle's have none.
    Its answers are its own: how they were combined is in the card, and a bundle's calibration in `evaluation.json` alone.

    Raises:
        DataError: If something is there already.
    """
    manifest, paths = found.manifest, found.predictions.paths
    lines = zip(paths, found.predictions.target.tolist(), strict=True)
    digest = hashlib.sha256("\n".join(f"{path}\0{c}" for path, c in lines).encode("utf-8", "surrogateescape"))
    targets = Counter(found.predictions.target.tolist())
    facts = {
        "data": {
            "root": manifest.root,
            "digest": manifest.digest,
            "classes": what.classes,
            "counts": {"test": {name: targets[c] for c, name in enumerate(what.classes)}},
            "short_sides_px": manifest.short_sides_px,
            "converted": manifest.converted,
        },
        "split": {"digest": digest.hexdigest(), "policy": EVALUATED, "seed": None},
    }
    with new_folder(folder) as part:
        for member, test in zip(what.members, found.members, strict=True):
            run = member.run
            val = run.predictions("val") if run else test.take([])
            place = part / member.name
            place.mkdir()
            write_predictions(place / PREDICTIONS, {"val": val, "test": test})
            if run and run.history:
                (place / HISTORY).write_bytes((run.path / HISTORY).read_bytes())
            trained_on = {key: member.card.get(key) for key in ("data", "split")}
            card = {
                **member.card,
                **facts,
                "name": member.name,
                "status": "done",
                "command": command,
                "timings": None,  # those of training are not of these cells
                "evaluated": {
                    "class_map": dict(found.class_map),
                    "vote": what.vote if len(what.members) > 1 else None,
                    "bundle": what.name if what.judges else None,
                    "trained_on": trained_on,
                    "seen_before": found.seen,
                },
                "metrics": {"val": score(val).to_json(), "test": score(test).to_json()},
                "files": {PREDICTIONS: sha256_of(place / PREDICTIONS)},
            }
            write_json(place / CARD, card)
            (place / DONE).touch()
        write_json(part / SUMMARY, document)


def _calibration(predictions: Predictions) -> dict[str, Any] | None:
    if not len(predictions):
        return None
    probs, pred, target = predictions.probs, predictions.pred, predictions.target
    refused = risk_coverage(probs[np.arange(len(pred)), pred], pred == target)
    return {
        **{
            key: value
            for name, estimate in calibration_estimates(probs, pred, target).items()
            for key, value in ((name, estimate.value), (f"{name}_ci", [estimate.low, estimate.high]))
        },
        "ece_if_calibrated": list(ece_if_calibrated(probs, pred)),
        "adaptive_ece": adaptive_calibration_error(probs, pred, target),
        "classwise_ece": classwise_calibration_error(probs, target),
        "risk_coverage_area": refused.area,
        "risk_coverage_area_best": refused.best,
    }


def _estimated(what: Scorable, found: Evaluated) -> dict[str, float | None] | None:
    """Return what the accuracy would have been taken for without the labels; None for a bundle or without images."""
    runs = [member.run for member in what.members if member.run]
    if not runs or not len(found.predictions):
        return None
    val = vote([run.predictions("val") for run in runs], how=what.vote)
    sure, here = (said.probs[np.arange(len(said)), said.pred] for said in (val, found.predictions))
    preds = np.stack([member.pred for member in found.members])
    return {
        "thresholded_confidence": thresholded_confidence(sure, val.pred == val.target, here)
        if len(val)
        else None,
        "agreement": agreement(preds) if len(preds) > 1 else None,
    }


def _verdicts(found: Evaluated) -> dict[str, Any] | None:
    """Return how many images have each verdict, and how many of the accepted are right, with the exact interval."""
    if found.status is None:
        return None
    counted = Counter(found.status)
    right = found.predictions.pred == found.predictions.target
    hits = sum(bool(hit) for hit, status in zip(right, found.status, strict=True) if status == "accepted")
    n = counted["accepted"]
    return {
        **{status: counted[status] for status in STATUSES},
        "accepted_right": hits,
        "accepted_accuracy": hits / n if n else None,
        "accepted_accuracy_ci": list(clopper_pearson(hits, n)) if n else [None, None],
    }
