"""Everything a report shows, computed once, into frozen records.

Nothing here draws, writes, or opens an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from hemoscope import paper
from hemoscope.ensemble.candidates import Entry, LeftOut
from hemoscope.ensemble.members import Ensemble, assemble, leads
from hemoscope.ensemble.networks import Network
from hemoscope.ensemble.vote import How
from hemoscope.evaluation.summary import Scores
from hemoscope.records import Predictions
from hemoscope.report.caveats import Caveat, caveats
from hemoscope.report.facts import DataFacts, data_facts
from hemoscope.report.formats import counted

__all__ = ["Confusion", "LeftOut", "Mistake", "Report", "collect"]


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


@dataclass(frozen=True, eq=False)
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
        comparable: Whether the images are PBC's and as many of each class were tested as by the paper, so
            that its figures may stand beside ours. Its test images are others all the same: which they
            were is not published.
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
    left_out: tuple[LeftOut, ...]
    caveats: tuple[Caveat, ...]

    @property
    def ensemble_leads(self) -> bool:
        """Whether the ensemble does better than the best run on validation, and so makes the headline."""
        return leads(self.ensemble, self.best)

    @property
    def judged(self) -> Predictions:
        """Test predictions that the headline, the classes and the wrong images are about."""
        return self.ensemble.predictions if self.ensemble and self.ensemble_leads else self.best.test

    @property
    def judged_label(self) -> str:
        """What the headline is about, in words."""
        return self.ensemble.label if self.ensemble and self.ensemble_leads else self.best.label

    @property
    def judged_entries(self) -> tuple[Entry, ...]:
        """The runs that the headline is about: the ensemble's members or the best run."""
        return self.ensemble.members if self.ensemble and self.ensemble_leads else (self.best,)

    @property
    def judged_caveats(self) -> tuple[Caveat, ...]:
        """What a reader must know beside the scores of these runs alone."""
        names = {entry.name for entry in self.judged_entries}
        networks = [network for network in self.networks if names & {entry.name for entry in network.entries}]
        return caveats(self.data, networks, self.ensemble if self.ensemble_leads else None)

    @cached_property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Wrong test images of what the headline is about, the most confident first."""
        return _mistakes(self.judged)

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """What it took for what, most frequent first."""
        return _confusions(self.headline)

    @property
    def headline(self) -> Scores:
        """Scores of what validation prefers: the ensemble or the best run."""
        return self.ensemble.scores if self.ensemble and self.ensemble_leads else self.best.scores


def collect(
    runs_root: Path, *, members: str = "auto", vote: How | None = None, title: str | None = None
) -> Report:
    """Read the runs below a folder and compute everything that a report shows.

    Args:
        runs_root: A folder of run folders, or one run folder.
        members: `auto`, `paper`, `top`, `greedy`, `exhaustive`, or names of runs or architectures
            with commas between.
        vote: `majority` or `soft`; None as in `assemble`.
        title: Headline; made from the data set's name where None.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        UnknownNameError: If a member or vote has no such name.
    """
    found = assemble(runs_root, members=members, how=vote)
    data = data_facts([entry.card for entry in found.entries], found.best.test)
    comparable = data.kind == "pbc" and tuple(found.best.scores.support.tolist()) == paper.TEST_SUPPORT
    return Report(
        title=title or _title(data, found.networks, found.ensemble),
        made_at=datetime.now(UTC),
        data=data,
        entries=found.entries,
        networks=found.networks,
        best=found.best,
        ensemble=found.ensemble,
        no_ensemble=found.no_ensemble,
        comparable=comparable,
        left_out=found.left_out,
        caveats=caveats(data, found.networks, found.ensemble),
    )


def _title(data: DataFacts, networks: Sequence[Network], ensemble: Ensemble | None) -> str:
    runs = sum(len(network.entries) for network in networks)
    what = counted(runs, "run") if len(networks) == 1 else counted(len(networks), "network")
    return f"{data.title}: {what}{' and their ensemble' if ensemble else ''}"


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
            (row, column): int(scores.confusion[row, column])
            for row, column in np.argwhere(scores.confusion).tolist()
            if row != column
        }
    )
    return tuple(
        Confusion(scores.classes[row], scores.classes[column], n, n / int(scores.support[row]))
        for (row, column), n in counts.most_common()
    )
