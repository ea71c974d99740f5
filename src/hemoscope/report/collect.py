"""Everything a report shows, read and computed once, into frozen records.

Runs of one split belong in one report. Others under the same folder are named with the reason why
they were left out, never mixed in. Nothing here draws, writes, or opens an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hemoscope import paper
from hemoscope.ensemble import How, align
from hemoscope.errors import HemoscopeError, RunError
from hemoscope.evaluation.summary import Scores, score
from hemoscope.records import Predictions
from hemoscope.report.caveats import Caveat, caveats
from hemoscope.report.facts import DataFacts, data_facts
from hemoscope.report.members import Ensemble, combine
from hemoscope.report.networks import Entry, Network, group_networks
from hemoscope.runs import Run, find_runs

__all__ = ["Confusion", "LeftOut", "Mistake", "Report", "collect"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that is not in the report, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that got another class than its own, and the probability given to that class."""

    path: str
    true: str
    pred: str
    prob: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one class was taken for another; `share` is the fraction of the true class."""

    true: str
    pred: str
    count: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What one report shows.

    Attributes:
        title: Headline.
        made_at: When it was made, UTC.
        data: Data set and split.
        entries: Runs in the order of the tables.
        networks: The same runs, seeds of one configuration together.
        best: The run with the fewest errors on validation.
        ensemble: The ensemble, or None.
        no_ensemble: Why there is none; empty where there is one.
        comparable: Whether classes and test sizes are the paper's, so that its figures may stand beside.
        mistakes: Wrong test images of the ensemble, or of the best run; the most confident first.
        confusions: What was taken for what, most frequent first.
        left_out: Runs that are not in here.
        caveats: What a reader must know beside the scores.
    """

    title: str
    made_at: datetime
    data: DataFacts
    entries: tuple[Entry, ...]
    networks: tuple[Network, ...]
    best: Entry
    ensemble: Ensemble | None
    no_ensemble: str
    comparable: bool
    mistakes: tuple[Mistake, ...]
    confusions: tuple[Confusion, ...]
    left_out: tuple[LeftOut, ...]
    caveats: tuple[Caveat, ...]

    @property
    def headline(self) -> Scores:
        """Scores of the ensemble, or of the best run where there is no ensemble."""
        return self.ensemble.scores if self.ensemble else self.best.scores


def collect(
    runs_root: Path, *, members: str = "auto", vote: How = "majority", title: str | None = None
) -> Report:
    """Read the runs below a folder and compute everything that a report shows.

    Args:
        runs_root: A folder of run folders, or one run folder.
        members: `auto`, `paper`, `top`, `greedy`, `exhaustive`, or names of runs or architectures
            with commas between.
        vote: `majority` or `soft`.
        title: Headline; made from the data set's name where None.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        UnknownNameError: If a member or vote has no such name.
    """
    found = find_runs(runs_root, done_only=False)
    read, left_out = _read_all(found)
    if not read:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in left_out)
        raise RunError(
            f"expected at least 1 finished run in {runs_root}; {reasons}. "
            f"Train some: hemoscope benchmark --data DIR --out {runs_root}"
        )
    chosen, others = _largest_group(read)
    left_out += others
    networks = group_networks(chosen)
    entries = tuple(entry for network in networks for entry in network.entries)
    best = min(entries, key=lambda e: (e.val.n_errors / max(len(e.val), 1), e.val_loss, e.name))
    ensemble, no_ensemble = combine(entries, members=members, how=vote)
    data = data_facts([entry.card for entry in entries], best.test)
    judged = ensemble.predictions if ensemble else best.test
    comparable = (
        data.kind != "synthetic"
        and data.classes == paper.CLASSES
        and tuple(best.scores.support.tolist()) == paper.TEST_SUPPORT
    )
    return Report(
        title=title or _title(data, networks, ensemble),
        made_at=datetime.now(UTC),
        data=data,
        entries=entries,
        networks=networks,
        best=best,
        ensemble=ensemble,
        no_ensemble=no_ensemble,
        comparable=comparable,
        mistakes=_mistakes(judged),
        confusions=_confusions(score(judged)),
        left_out=tuple(left_out),
        caveats=caveats(
            data, networks, chosen_on_validation=ensemble is not None and ensemble.choice is not None
        ),
    )


def _title(data: DataFacts, networks: Sequence[Network], ensemble: Ensemble | None) -> str:
    runs = sum(len(network.entries) for network in networks)
    what = _plural(runs, "run") if len(networks) == 1 else _plural(len(networks), "network")
    return f"{data.title}: {what}{' and their ensemble' if ensemble else ''}"


def _read_all(runs: Sequence[Run]) -> tuple[list[Entry], list[LeftOut]]:
    """Read every finished run; one that cannot be used is listed with its reason."""
    read: list[Entry] = []
    left_out: list[LeftOut] = []
    for run in runs:
        if not run.done:
            left_out.append(LeftOut(run.name, _unfinished(run.card)))
            continue
        try:
            read.append(_entry(run))
        except HemoscopeError as error:
            left_out.append(LeftOut(run.name, str(error)))
    return read, left_out


def _entry(run: Run) -> Entry:
    lacking = [
        key
        for key, parent in (
            ("arch", None),
            ("seed", None),
            ("recipe", None),
            ("classes", "data"),
            ("digest", "split"),
        )
        if key not in (run.card.get(parent) or {} if parent else run.card)
    ]
    if lacking:
        raise RunError(f"its run card lacks {', '.join(lacking)}; run it again")
    val, test = run.predictions("val"), run.predictions("test")
    for side, predictions in (("validation", val), ("test", test)):
        align([predictions], names=[f"its {side} side"])  # refuses damaged values
    return Entry(
        name=run.name,
        arch=str(run.arch),
        seed=int(run.seed),
        card=run.card,
        history=run.history,
        val=val,
        test=test,
        scores=score(test),
    )


def _unfinished(card: Mapping[str, Any]) -> str:
    if card.get("status") == "failed":
        return f"failed: {card.get('reason', 'no reason given')}"
    return "not finished; the same command that started it goes on with it"


def _largest_group(entries: Sequence[Entry]) -> tuple[list[Entry], list[LeftOut]]:
    """Return the largest group of runs that predicted the same images, and why the others are out."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        key = (entry.split_digest, entry.test.classes, *(_images(p) for p in (entry.val, entry.test)))
        groups.setdefault(key, []).append(entry)
    kept = max(
        groups.values(), key=lambda group: (len(group), max(str(e.card.get("finished_at")) for e in group))
    )
    digest = kept[0].split_digest
    why = {
        True: "same split, but it predicted other images than the runs in this report",
        False: f"another split than this report's, {digest[:12]}, of {_plural(len(kept), 'run')}",
    }
    out = [
        LeftOut(entry.name, f"{why[entry.split_digest == digest]}; its own is {entry.split_digest[:12]}")
        for group in groups.values()
        if group is not kept
        for entry in group
    ]
    return kept, out


def _images(predictions: Predictions) -> int:
    return hash((predictions.paths, predictions.target.tobytes()))


def _mistakes(predictions: Predictions) -> tuple[Mistake, ...]:
    wrong = np.flatnonzero(predictions.pred != predictions.target)
    found = [
        Mistake(
            path=predictions.paths[i],
            true=predictions.classes[predictions.target[i]],
            pred=predictions.classes[predictions.pred[i]],
            prob=float(predictions.probs[i, predictions.pred[i]]),
        )
        for i in wrong
    ]
    return tuple(sorted(found, key=lambda mistake: (-mistake.prob, mistake.path)))


def _confusions(scores: Scores) -> tuple[Confusion, ...]:
    counts: Counter[tuple[int, int]] = Counter(
        {
            (row, column): int(n)
            for (row, column), n in np.ndenumerate(scores.confusion)
            if n and row != column
        }
    )
    return tuple(
        Confusion(scores.classes[row], scores.classes[column], n, n / int(scores.support[row]))
        for (row, column), n in counts.most_common()
    )


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
