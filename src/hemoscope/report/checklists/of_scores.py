"""Answers on what came out: scores of the test side with their intervals, calibration, errors."""

from __future__ import annotations

import numpy as np

from hemoscope.evaluation.calibration import expected_calibration_error
from hemoscope.evaluation.metrics import log_loss
from hemoscope.report.checklists.answer import MANY_CLASSES, Answer, at, card_of
from hemoscope.report.collect import Report
from hemoscope.report.formats import counted, interval, percent
from hemoscope.runs import EVALUATED

__all__ = ["OF_SCORES"]

_SHOWN = 5  # confusions
_MEASURES = (
    "Accuracy; precision, sensitivity and specificity of each class against the others, and their means; the confusion "
    "matrix; expected calibration error and log-loss."
)
_INTERVALS = (
    "Wilson's intervals at 95 % of accuracy and of every class's precision, sensitivity and specificity: the chance of "
    "drawing these test images and nothing else. This report tests no difference; hemoscope compare does."
)


def _performance(report: Report) -> str | None:
    scores = report.headline
    if not scores.n:
        return None
    means = ", ".join(
        f"{rate} {percent(getattr(scores.macro, rate))} %"
        for rate in ("precision", "sensitivity", "specificity")
    )
    return (
        f"{report.judged_label}: accuracy {percent(scores.accuracy)} % (95 % interval {interval(scores.accuracy_ci)}), "
        f"{counted(scores.errors, 'error')} in {counted(scores.n, 'test image')}; means over the classes: {means}."
    )


def _class_scores(report: Report) -> str | None:
    scores = report.headline
    if not scores.n:
        return None
    if len(scores.classes) > MANY_CLASSES:
        return "Precision, sensitivity and specificity of each class, with intervals: model-card.md."
    rate = scores.sensitivity
    told = [
        f"{name} {percent(rate.value[i])} ({interval((rate.low[i], rate.high[i]))})"
        for i, name in enumerate(scores.classes)
    ]
    return (
        f"Sensitivity of each class in percent: {', '.join(told)}. Precision and specificity: model-card.md."
    )


def _calibration(report: Report) -> str | None:
    test = report.judged
    if not len(test):
        return None
    stated = np.clip(test.probs[np.arange(len(test)), test.pred], 0, 1)
    wrong = (test.pred != test.target).astype(np.int64)
    # Of the predicted class against all others: no second matrix of all probabilities is made.
    ece = expected_calibration_error(np.stack([stated, 1 - stated], axis=1), np.zeros_like(wrong), wrong)
    loss = log_loss(test.probs, test.target)
    return (
        f"Expected calibration error {ece:.4f} (15 bins), log-loss {loss:.4f}, of probabilities as they are."
    )


def _internal(report: Report) -> str | None:
    n, split = len(report.best.val), at(card_of(report), "split.policy")
    if not n or not report.headline.n or split == EVALUATED:
        return None
    wrong = (
        report.ensemble.val_errors if report.ensemble and report.ensemble_leads else report.best.val.n_errors
    )
    return (
        f"{report.judged_label}: {percent(1 - wrong / n)} % of {n:,} validation images right, "
        f"{percent(report.headline.accuracy)} % of {report.headline.n:,} test images."
    )


def _confusions(report: Report) -> str | None:
    if not report.headline.n:
        return None
    if not report.confusions:
        return "No test image got another class than its own."
    told = [f"{c.true} taken for {c.pred} {counted(c.count, 'time')}" for c in report.confusions[:_SHOWN]]
    first = "Most frequent: " if len(report.confusions) > _SHOWN else ""
    return f"{first}{', '.join(told)}. The report has the confusion matrix and the wrong images."


def _output(report: Report) -> str:
    ensemble = report.ensemble if report.ensemble_leads else None
    views = any(entry.recipe.get("views", 1) == 8 for entry in report.judged_entries)
    means = [*(["over eight flips and turns"] if views else []), *(["over the members"] if ensemble else [])]
    mean = f", a mean {' and '.join(means)}" if means else ""
    voted = ensemble is not None and ensemble.how == "majority"
    said = "the class that most members predict" if voted else "the most probable class"
    return f"A probability of each class{mean}, and {said}. No threshold is used."


def _seeds(report: Report) -> str:
    told = [
        f"{network.label} {', '.join(str(entry.seed) for entry in network.entries)}"
        for network in report.networks
    ]
    return f"Seeds of the runs: {'; '.join(told)}."


def _caveats(report: Report) -> str:
    return " ".join(caveat.title for caveat in report.judged_caveats)


OF_SCORES: dict[str, Answer] = {
    "measures": Answer(lambda _: _MEASURES),
    "intervals": Answer(lambda _: _INTERVALS),
    "performance": Answer(_performance),
    "class_scores": Answer(_class_scores),
    "calibration": Answer(_calibration),
    "internal": Answer(_internal),
    "confusions": Answer(_confusions),
    "output": Answer(_output),
    "seeds": Answer(_seeds),
    "caveats": Answer(_caveats),
}
