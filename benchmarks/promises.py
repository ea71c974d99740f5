"""Does a bundle's promise hold when its members were chosen? Simulated networks of known truth, and how often it breaks.

    uv run python benchmarks/promises.py --out docs/results/2026-11-intervals/promises

27 networks that are equally good in truth, such that the vote of four errs in 1.1 % of all images: just too often for
"at most 1 % wrong among the accepted, with 95 % confidence". A strategy chooses four of them on validation images,
`packing.calibrate` finds the vote's thresholds, and its true rate of errors among the answers it accepts is looked up in
a million new images. The promise may be broken in 5 % of the data sets. Thresholds are found on the images that chose
(`all`), on one half while the other chose (`halves`), or for the first four networks, without a choice (`named`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from measure import headline, machine, table
from scipy.optimize import root_scalar
from scipy.special import expit, logit, ndtri

from hemoscope.ensemble.choose import Strategy, choose_members
from hemoscope.ensemble.halves import halves
from hemoscope.ensemble.vote import vote
from hemoscope.evaluation.intervals import wilson
from hemoscope.packing.calibrate import Goals, calibrate
from hemoscope.records import Predictions

NETWORKS, MEMBERS = 27, 4
STRATEGIES: tuple[Strategy, ...] = ("top", "greedy")
CASES = [(n, shared, telling) for n in (600, 4102) for shared in (0.0, 0.5, 0.9) for telling in (True, False)]
GOALS = Goals(error_rate=0.01, coverage=0.99)
VOTE_ERRS = 0.011  # of four, in truth
SPREAD = 3.0  # of the margins, in logits
POPULATION = 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """Networks whose margin between the true class and another is normal.

    Attributes:
        wrong: Chance that one of them errs.
        shared: Part of the margin's variance that all networks share, 0 to 1.
        telling: Whether a network is less certain where it errs; else its certainty says nothing.
    """

    wrong: float
    shared: float
    telling: bool

    def margins(self, networks: int, images: int, rng: np.random.Generator) -> np.ndarray:
        """Return margins, shape (K, N); below 0 the network errs."""
        own = rng.normal(size=(networks, images))
        together = np.sqrt(self.shared) * rng.normal(size=images) + np.sqrt(1 - self.shared) * own
        margins = SPREAD * (together - ndtri(self.wrong))
        if self.telling:
            return margins
        return np.sign(margins) * np.abs(SPREAD * (rng.normal(size=margins.shape) - ndtri(self.wrong)))


def predictions(margins: np.ndarray, target: np.ndarray) -> list[Predictions]:
    """Return what networks say of images of two classes."""
    paths = tuple(f"{i:07}" for i in range(len(target)))
    found = []
    for margin in margins:
        right = expit(margin)
        probs = np.where(target[:, None] == np.arange(2), right[:, None], 1 - right[:, None])
        found.append(Predictions(("a", "b"), paths, target, probs, probs.argmax(axis=1)))
    return found


def just_too_bad(shared: float, telling: bool) -> World:
    """Return the world in which the vote of four errs in 1.1 % of all images."""

    def too_often(wrong: float) -> float:
        rng = np.random.default_rng(1)
        target = np.zeros(400_000, np.int64)
        said = vote(predictions(World(wrong, shared, telling).margins(MEMBERS, len(target), rng), target))
        return said.n_errors / len(target) - VOTE_ERRS

    return World(root_scalar(too_often, bracket=(0.008, 0.3), xtol=1e-4).root, shared, telling)


def population(world: World, members: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the certainty of a vote in a million images, surest first, in logits, and its errors so far."""
    certainty, wrong = [], []
    for _ in range(POPULATION // 100_000):
        target = rng.integers(0, 2, 100_000)
        said = vote(predictions(world.margins(members, len(target), rng), target))
        certainty.append(logit(np.clip(said.probs[np.arange(len(target)), said.pred], 1e-12, 1 - 1e-12)))
        wrong.append(said.pred != target)
    order = np.argsort(-np.concatenate(certainty), kind="stable")
    return -np.concatenate(certainty)[order], np.cumsum(np.concatenate(wrong)[order])


def outcomes(
    world: World, n: int, strategy: Strategy, times: int
) -> Iterator[dict[str, tuple[float, float]]]:
    """Yield, by where the thresholds were found, the true rate of errors among accepted answers and their share."""
    rng = np.random.default_rng([n, int(1000 * world.shared), world.telling])
    truths = {k: population(world, k, rng) for k in range(1, MEMBERS + 1)}

    def true(chosen: list[Predictions], rows: np.ndarray) -> tuple[float, float]:
        said = vote([member.take(rows) for member in chosen])
        trust = calibrate(said, goals=GOALS)
        if trust.review_below is None:
            return 0.0, 0.0
        level = -logit(np.clip(trust.review_below, 1e-12, 1 - 1e-12)) * trust.temperature
        surest, errors = truths[len(chosen)]
        accepted = int(np.searchsorted(surest, level, side="right"))
        return (errors[accepted - 1] / accepted if accepted else 0.0), accepted / POPULATION

    for _ in range(times):
        target = rng.integers(0, 2, n)
        runs = dict(
            zip(map(str, range(NETWORKS)), predictions(world.margins(NETWORKS, n, rng), target), strict=True)
        )
        first, second = halves(target)
        named = [runs[name] for name in sorted(runs)[:MEMBERS]]
        everywhere = choose_members(runs, strategy=strategy, size=MEMBERS).members
        on_half = choose_members(
            {name: run.take(first) for name, run in runs.items()}, strategy=strategy, size=MEMBERS
        ).members
        yield {
            "named": true(named, np.arange(n)),
            "all": true([runs[name] for name in everywhere], np.arange(n)),
            "halves": true([runs[name] for name in on_half], second),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="file name without its ending")
    parser.add_argument("--times", type=int, default=400, help="data sets of each kind")
    args = parser.parse_args()
    rows = []
    for (n, shared, telling), strategy in product(CASES, STRATEGIES):
        world = just_too_bad(shared, telling)
        found = list(outcomes(world, n, strategy, args.times))
        for way in found[0]:
            rate, accepted = np.array([each[way] for each in found]).T
            broken = int((rate > GOALS.error_rate).sum())
            rows.append(
                {
                    "strategy": strategy,
                    "n": n,
                    "wrong": world.wrong,
                    "shared": shared,
                    "telling": telling,
                    "thresholds": way,
                    "broken": broken,
                    "of": args.times,
                    "ci": [float(end) for end in wilson(broken, args.times)],
                    "accepted": float(accepted.mean()),
                }
            )
            print(rows[-1], flush=True)
    about = machine()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(
        json.dumps({"machine": about, "rows": rows}, indent=2) + "\n", "utf-8"
    )
    args.out.with_suffix(".md").write_text(headline(about) + ".\n\n" + markdown(rows) + "\n", "utf-8")


def markdown(rows: list[dict]) -> str:
    """Return how often the promise broke, in percent, and in brackets the mean share of answers accepted."""
    ways = list(dict.fromkeys(row["thresholds"] for row in rows))
    head = ["strategy", "images", "shared variance", "certainty", "one network errs, %", *ways]
    lines = []
    for i in range(0, len(rows), len(ways)):
        row = rows[i]
        cells = [
            f"{100 * r['broken'] / r['of']:.1f} ({100 * r['accepted']:.0f})" for r in rows[i : i + len(ways)]
        ]
        telling = "tells" if row["telling"] else "says nothing"
        lines.append([row["strategy"], row["n"], row["shared"], telling, f"{100 * row['wrong']:.1f}", *cells])
    return table(head, lines)


if __name__ == "__main__":
    main()
