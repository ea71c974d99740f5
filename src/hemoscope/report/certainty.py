"""How sure the headline's network is, and what refusing its doubtful answers buys: fitted on validation, counted on test.

The temperature and every threshold come from validation predictions. Nothing here draws or writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hemoscope.ensemble.vote import vote
from hemoscope.evaluation.bootstrap import Estimate
from hemoscope.evaluation.calibration import (
    Reliability,
    adaptive_calibration_error,
    apply_temperature,
    classwise_calibration_error,
    ece_if_calibrated,
    fit_temperature,
    reliability,
)
from hemoscope.evaluation.calibration_intervals import calibration_estimates
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.refusal import conformal_sets, conformal_threshold, review_threshold
from hemoscope.evaluation.selective import RiskCoverage, risk_coverage
from hemoscope.records import FloatArray, Predictions
from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count, interval, percent
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["Certainty", "calibration_table", "certainty_of", "refusal_table", "sets_table"]

RATES = (0.05, 0.02, 0.01, 0.005)
COVERAGE = 0.99
_DRAWS = 1000  # of the intervals: two figures are shown
_DIGITS = 6  # in files: what is drawn or fitted is not known to more, and processors round otherwise below


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """Probabilities of the test images, and how far they can be believed."""

    probs: FloatArray
    estimates: dict[str, Estimate]
    by_chance: tuple[float, float]
    adaptive: float
    classwise: float
    bins: Reliability


@dataclass(frozen=True, slots=True)
class Refused:
    """What one threshold does. `below` is None where no threshold keeps the promise: everything is for review."""

    error_rate: float
    below: float | None
    accepted: int
    wrong: int


@dataclass(frozen=True, slots=True, eq=False)
class Certainty:
    """What the headline's predictions say of themselves.

    Attributes:
        test: The predictions.
        before: As they are.
        after: Divided by the temperature; None without validation images.
        temperature: Fitted on validation; NaN without.
        curve: Errors among the surest answers, by the final probabilities.
        refused: A threshold an error rate, lowest last; empty without validation images.
        sets: Which classes are in each image's conformal set, shape (N, C); None without.
    """

    test: Predictions
    before: Stated
    after: Stated | None
    temperature: float
    curve: RiskCoverage
    refused: tuple[Refused, ...]
    sets: np.ndarray | None


def certainty_of(report: Report) -> Certainty | None:
    """Return what the headline's predictions say of themselves; None where there is no test image."""
    test, val = report.judged, _on_val(report)
    if not len(test):
        return None
    before = _stated(test, test.probs)
    if not len(val):
        return Certainty(test, before, None, float("nan"), _curve(test, test.probs), (), None)
    temperature = fit_temperature(val.probs, val.target)
    of_val, of_test = (apply_temperature(said.probs, temperature) for said in (val, test))
    sure, certain = (p[np.arange(len(s)), s.pred] for p, s in ((of_val, val), (of_test, test)))
    refused = []
    for rate in RATES:
        found = review_threshold(sure, val.pred == val.target, error_rate=rate)
        accepted = np.zeros(len(test), bool) if found is None else certain >= found.threshold
        wrong = int((accepted & (test.pred != test.target)).sum())
        refused.append(Refused(rate, found and found.threshold, int(accepted.sum()), wrong))
    threshold = conformal_threshold(of_val, val.target, coverage=COVERAGE)
    sets = conformal_sets(of_test, test.pred, threshold)
    after = _stated(test, of_test)
    return Certainty(test, before, after, temperature, _curve(test, of_test), tuple(refused), sets)


def calibration_table(found: Certainty | None) -> TextTable:
    """Return calibration as stated and after the temperature, with intervals."""
    columns = [] if found is None else [s for s in (found.before, found.after) if s]
    rows = [
        ("Calibration error (ECE), %", *(x for s in columns for x in _percents(s.estimates["ece"]))),
        ("ECE by chance alone, %", *(x for s in columns for x in ("", interval(s.by_chance)))),
        ("ECE of equally filled bins, %", *(x for s in columns for x in (percent(s.adaptive), ""))),
        ("ECE of every class, %", *(x for s in columns for x in (percent(s.classwise), ""))),
        ("Brier score", *(x for s in columns for x in _numbers(s.estimates["brier"]))),
        ("Log-loss", *(x for s in columns for x in _numbers(s.estimates["log_loss"]))),
    ]
    raw = [
        (way, name, *(round(x, _DIGITS) for x in (it.value, it.low, it.high)))
        for way, s in zip(("as stated", "after the temperature"), columns, strict=False)
        for name, it in s.estimates.items()
    ]
    after = f"After temperature {found.temperature:.2f}" if found and found.after else ""
    head = ["", "As stated", "95 % interval"]
    head += [after, "95 % interval"] if after else []
    return TextTable(
        name="calibration",
        caption="How far stated probabilities can be believed, on test images; 0 is best. An error within what chance "
        "alone makes of calibrated answers shows nothing. Intervals: images drawn again within their classes, BCa"
        + ("; the temperature was fitted on validation images." if after else "."),
        head=tuple(head),
        groups=plain(rows) if columns else (),
        raw=Raw(("probabilities", "measure", "value", "low", "high"), tuple(raw)),
    )


def refusal_table(found: Certainty | None) -> TextTable:
    """Return what refusing doubtful answers buys: a row a promise."""
    refused, n = (found.refused, len(found.test)) if found else ((), 0)
    rows, raw = [], []
    for one in refused:
        low, high = map(float, wilson(one.wrong, one.accepted))
        share = one.wrong / one.accepted if one.accepted else float("nan")
        told = "none keeps it" if one.below is None else f"{one.below:.4f}"
        wrong = f"{count(one.wrong)} of {count(one.accepted)}" if one.accepted else NOT_DEFINED
        rows.append(
            (
                f"at most {percent(one.error_rate, 1)} % wrong",
                told,
                percent(one.accepted / n),
                wrong,
                percent(share),
                interval((low, high)),
            )
        )
        below = None if one.below is None else round(one.below, _DIGITS)
        raw.append((one.error_rate, below, n, one.accepted, one.wrong, share, low, high))
    return TextTable(
        name="refusal",
        caption="Refusing doubtful answers: the lowest probability at which validation images allow the promise (with 95 % "
        "confidence, exact), and what it does on test images. Accepted and wrong in percent, with Wilson 95 % intervals.",
        head=("Promise", "Certain from", "Accepted", "Wrong among them", "Wrong, %", "95 % interval"),
        groups=plain(rows),
        raw=Raw(
            ("error_rate", "certain_from", "images", "accepted", "wrong", "share_wrong", "low", "high"),
            tuple(raw),
        ),
    )


def sets_table(found: Certainty | None) -> TextTable:
    """Return how often sets of classes hold the true one, class by class."""
    rows, raw, size = [], [], float("nan")
    if found is not None and found.sets is not None:
        sets, test = found.sets, found.test
        held = sets[np.arange(len(test)), test.target]
        size = float(sets.sum(axis=1).mean())
        parts = [(name, held[test.target == c]) for c, name in enumerate(test.classes)]
        for name, mine in (*((name, mine) for name, mine in parts if len(mine)), ("all", held)):
            low, high = map(float, wilson(int(mine.sum()), len(mine)))
            rows.append(
                (name, count(len(mine)), count(int(mine.sum())), percent(mine.mean()), interval((low, high)))
            )
            raw.append((name, len(mine), int(mine.sum()), float(mine.mean()), low, high))
    return TextTable(
        name="sets",
        caption=f"Sets of classes made to hold the true one in {percent(COVERAGE, 0)} % of images like the validation images, "
        f"{size:.2f} classes on average: how often they do on test images, in percent with Wilson 95 % intervals. The "
        "promise is an average: a class alone may have less.",
        head=("Class", "Images", "Held", "Share", "95 % interval"),
        groups=plain(rows),
        raw=Raw(("class", "images", "held", "share", "low", "high"), tuple(raw)),
    )


def _on_val(report: Report) -> Predictions:
    """Return the validation predictions of what the headline is about."""
    if report.ensemble and report.ensemble_leads:
        return vote([entry.val for entry in report.ensemble.members], how=report.ensemble.how)
    return report.best.val


def _stated(test: Predictions, probs: FloatArray) -> Stated:
    return Stated(
        probs=probs,
        estimates=calibration_estimates(probs, test.pred, test.target, draws=_DRAWS),
        by_chance=ece_if_calibrated(probs, test.pred),
        adaptive=adaptive_calibration_error(probs, test.pred, test.target),
        classwise=classwise_calibration_error(probs, test.target),
        bins=reliability(probs, test.pred, test.target),
    )


def _curve(test: Predictions, probs: FloatArray) -> RiskCoverage:
    return risk_coverage(probs[np.arange(len(test)), test.pred], test.pred == test.target)


def _percents(estimate: Estimate) -> tuple[str, str]:
    return percent(estimate.value), interval((estimate.low, estimate.high))


def _numbers(estimate: Estimate) -> tuple[str, str]:
    bounds = f"{estimate.low:.4f}–{estimate.high:.4f}" if np.isfinite(estimate.low) else NOT_DEFINED
    return f"{estimate.value:.4f}", bounds
