"""Do the intervals hold what they promise? Simulated test sides of known truth, and how often 95 % intervals hold it.

    uv run python benchmarks/intervals.py --out docs/results/2026-11-intervals/coverage

Classes as in the PBC test side. Every cell is right with a chance that differs by class and is `p` on average; wrong
ones go to the next class, or to the one after it. The AUROC is that of two classes of normal scores, which is known exactly. Calibration
is that of two classes whose log-odds are normal, stated as they are or twice as large; its truth is counted in four
million. Where no error was drawn the bootstrap gives no interval; these are counted apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from measure import headline, machine, table
from scipy.optimize import root_scalar
from scipy.special import expit, ndtr, ndtri

from hemoscope import paper
from hemoscope.evaluation.auroc import macro_auroc
from hemoscope.evaluation.bootstrap import STATISTICS, intervals_of
from hemoscope.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from hemoscope.evaluation.calibration_intervals import calibration_estimates
from hemoscope.evaluation.intervals import clopper_pearson, wilson

SIZES, RATES = (50, 500, 2056), (0.9, 0.99, 0.999)
SHARES = np.array(paper.TEST_SUPPORT) / sum(paper.TEST_SUPPORT)


def population(n: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Return images of every class, shape (C,), and the chances of its answers, shape (C, C)."""
    images = np.maximum(1, np.floor(n * SHARES)).astype(int)
    images[np.argmax(images)] += n - images.sum()
    c = len(images)
    wrong = (1 - p) * np.linspace(0.4, 1.6, c)
    wrong *= (1 - p) / (wrong * images / n).sum()
    answers = np.diag(1 - wrong)
    answers[np.arange(c), (np.arange(c) + 1) % c] += 0.75 * wrong
    answers[np.arange(c), (np.arange(c) + 2) % c] += 0.25 * wrong
    return images, answers


def scores_hold(n: int, p: float, times: int, draws: int) -> dict[str, list[float]]:
    """Return, of each interval, 1 where it held the truth, 0 where not, NaN where there was none."""
    images, answers = population(n, p)
    expected = images[:, None] * answers
    truth = {name: float(statistic(expected)) for name, statistic in STATISTICS.items()}
    rng = np.random.default_rng(0)
    held: dict[str, list[float]] = {name: [] for name in ("accuracy, Wilson", "accuracy, exact", *STATISTICS)}
    for seed in range(times):
        drawn = np.stack([rng.multinomial(k, q) for k, q in zip(images, answers, strict=True)])
        right = int(np.trace(drawn))
        low, high = map(float, wilson(right, n))
        held["accuracy, Wilson"].append(low <= p <= high)
        low, high = clopper_pearson(right, n)
        held["accuracy, exact"].append(low <= p <= high)
        for name, found in intervals_of(drawn, STATISTICS, draws=draws, seed=seed).items():
            held[name].append(float("nan") if np.isnan(found.low) else found.low <= truth[name] <= found.high)
    return held


def areas_hold(n: int, p: float, times: int, draws: int) -> list[float]:
    """Return the same of the AUROC, whose truth is p."""
    shift = np.sqrt(2) * ndtri(p)
    target = np.repeat([0, 1], [n - n // 4, n // 4])
    rng = np.random.default_rng(1)
    held = []
    for seed in range(times):
        one = expit(rng.normal(size=n) + shift * target)
        found = macro_auroc(np.stack([1 - one, one], axis=1), target, draws=draws, seed=seed)
        held.append(
            float("nan") if np.isnan(found.low) else found.low <= ndtr(shift / np.sqrt(2)) <= found.high
        )
    return held


def said(n: int, mean: float, sharper: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return probabilities, predictions and truth of two classes whose log-odds are stated so many times too large."""
    odds, side = rng.normal(mean, 2.0, n), rng.integers(0, 2, n)  # which class the odds are of
    first = np.where(side, expit(sharper * odds), 1 - expit(sharper * odds))
    target = np.where(rng.random(n) < expit(odds), side, 1 - side)
    return np.stack([1 - first, first], axis=1), np.where(odds > 0, side, 1 - side), target


def calibration_holds(n: int, p: float, times: int, draws: int) -> dict[str, list[float]]:
    """Return the same of what calibration is measured by."""
    sample = np.random.default_rng(2).normal(0.0, 2.0, 1_000_000)
    mean = root_scalar(lambda m: expit(np.abs(sample + m)).mean() - p, bracket=(0.0, 40.0)).root
    rng, held = np.random.default_rng(3), {}
    for sharper, named in ((1.0, "calibrated"), (2.0, "twice too sure")):
        probs, pred, target = said(4_000_000, mean, sharper, np.random.default_rng(4))
        truth = {
            "ece": expected_calibration_error(probs, pred, target),
            "brier": brier_score(probs, target),
            "log_loss": negative_log_likelihood(probs, target),
        }
        for seed in range(times):
            found = calibration_estimates(*said(n, mean, sharper, rng), draws=draws, seed=seed)
            for name, one in found.items():
                held.setdefault(f"{name}, {named}", []).append(
                    float("nan") if np.isnan(one.high) else one.low <= truth[name] <= one.high
                )
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    parser.add_argument("--times", type=int, default=1000, help="simulated test sides of each kind")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    args = parser.parse_args()
    rows = []
    for n in SIZES:
        for p in RATES:
            held = scores_hold(n, p, args.times, args.draws) | {
                "auroc": areas_hold(n, p, args.times, args.draws),
                **calibration_holds(n, p, args.times, args.draws),
            }
            for name, values in held.items():
                given = np.array(values)[~np.isnan(values)]
                rows.append(
                    {
                        "score": name,
                        "n": n,
                        "p": p,
                        "held": float(given.mean()) if len(given) else None,
                        "none": 1 - len(given) / len(values),
                    }
                )
            print(n, p, flush=True)
    about = machine()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": about, "times": args.times, "draws": args.draws, "rows": rows}
    args.out.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(headline(about) + ".\n\n" + markdown(rows) + "\n", "utf-8")
    print(markdown(rows))


def markdown(rows: list[dict]) -> str:
    """Return a line a score; how often its intervals held, in percent, and in brackets how often there was none."""
    head = ["score", *(f"n {n}, p {p}" for n in SIZES for p in RATES)]
    lines = []
    for name in dict.fromkeys(row["score"] for row in rows):
        cells = []
        for row in (row for row in rows if row["score"] == name):
            held = "–" if row["held"] is None else f"{100 * row['held']:.1f}"
            cells.append(held + (f" ({100 * row['none']:.0f})" if row["none"] else ""))
        lines.append([name.replace("_", " "), *cells])
    return table(head, lines)


if __name__ == "__main__":
    main()
