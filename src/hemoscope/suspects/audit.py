"""From runs to labels that look wrong, and to exact duplicates whose labels contradict each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemoscope.data.groups import content_groups
from hemoscope.data.split_file import read_split
from hemoscope.errors import DataError, HemoscopeError, SplitError
from hemoscope.evaluation.confident import ConfidentLearning, confident_learning
from hemoscope.progress import Progress
from hemoscope.records import Manifest, Split, collected_later
from hemoscope.suspects.corrected import Corrected, without
from hemoscope.suspects.gather import Answers, Sides, gather
from hemoscope.training.scanned import scan_cached

__all__ = ["LabelAudit", "Pair", "Suspect", "audit_labels"]

Labelled = tuple[tuple[str, str], ...]
"""Paths and classes of one content, ordered by path."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label looks wrong.

    Attributes:
        path: The image.
        given: Its label.
        suggested: What it surely is instead.
        prob_given: Probability of its label.
        prob_suggested: Probability of the other class.
        margin: Probability of its label less the largest other one; below 0.
        probs: Of every class.
        asked: Answers that these are the mean of.
        duplicates: Other images of the same content, with their labels.
    """

    path: str
    given: str
    suggested: str
    prob_given: float
    prob_suggested: float
    margin: float
    probs: tuple[float, ...]
    asked: int
    duplicates: Labelled

    @property
    def confirmed(self) -> int:
        """How many of its duplicates are labelled as is suggested."""
        return sum(name == self.suggested for _, name in self.duplicates)


@dataclass(frozen=True, slots=True)
class Pair:
    """A label and the class that some of its images seem to be.

    Attributes:
        given: The label.
        suggested: The class.
        suspects: Images.
        estimated: Estimated number of images that are labelled the one and are the other.
        labelled: Images that are labelled so.
    """

    given: str
    suggested: str
    suspects: int
    estimated: float
    labelled: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelAudit:
    """What was found.

    Attributes:
        answers: What it was found by.
        learnt: Thresholds, joint and suspects by number.
        suspects: The most doubtful first.
        contradictions: Exact duplicates in different classes.
        duplicates_by: How exact duplicates were found: `pixels`, `bytes`, or empty where nothing tells them.
        root: Where the images are; None where the runs' own are not at hand.
        corrected: A split without what is doubted, or None.
        not_corrected: Why there is none.
    """

    answers: Answers
    learnt: ConfidentLearning
    suspects: tuple[Suspect, ...]
    contradictions: tuple[Labelled, ...]
    duplicates_by: str
    root: Path | None
    corrected: Corrected | None
    not_corrected: str

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Labels and what they seem to be instead, most suspects first."""
        classes, target = self.answers.classes, self.answers.target
        counts = Counter((s.given, s.suggested) for s in self.suspects)
        labelled = np.bincount(target, minlength=len(classes))
        number = {name: i for i, name in enumerate(classes)}
        found = [
            Pair(
                *(given, suggested, n),
                float(self.learnt.estimated[number[given], number[suggested]]),
                int(labelled[number[given]]),
            )
            for (given, suggested), n in counts.items()
        ]
        return tuple(sorted(found, key=lambda p: (-p.suspects, p.given, p.suggested)))

    def to_json(self) -> dict[str, Any]:
        """Return the document that `hemoscope data audit --json` prints."""
        answers, corrected = self.answers, self.corrected
        keys = ("path", "given", "suggested", "prob_given", "prob_suggested", "margin")
        return {
            "runs": list(answers.runs),
            "side": answers.side,
            "folds": answers.of_folds,
            "n": len(answers.paths),
            "unanswered": answers.unanswered,
            "estimated_wrong": self.learnt.share,
            "n_suspects": len(self.suspects),
            "suspects": [{key: getattr(suspect, key) for key in keys} for suspect in self.suspects],
            "pairs": [
                {
                    "given": pair.given,
                    "suggested": pair.suggested,
                    "suspects": pair.suspects,
                    "estimated": pair.estimated,
                    "labelled": pair.labelled,
                }
                for pair in self.pairs
            ],
            "thresholds": dict(zip(answers.classes, self.learnt.thresholds.tolist(), strict=True)),
            "contradictions": [
                {"paths": [path for path, _ in group], "labels": [name for _, name in group]}
                for group in self.contradictions
            ],
            "duplicates_by": self.duplicates_by,
            "corrected": corrected
            and {
                "digest": corrected.split.digest,
                "base": corrected.base,
                "left_out": corrected.left_out,
                "kept_on_test": corrected.kept_on_test,
            },
            "left_out": [{"name": item.name, "reason": item.reason} for item in answers.left_out],
        }


def audit_labels(
    runs_root: Path,
    *,
    side: Sides | None = None,
    data: Path | None = None,
    split_file: Path | None = None,
    also_test: bool = False,
    progress: Progress | None = None,
) -> LabelAudit:
    """Look for labels that networks doubt which were not trained on them. Nothing is changed.

    Args:
        runs_root: A folder of run folders; those of `benchmark --folds` answer for every image.
        side: Which of their sides to read; by default the test sides of folds, the validation sides of other runs.
        data: The images, if they are not where they were. With them duplicates are known by their pixels, without
            by the bytes that the runs' split recorded.
        split_file: The split to correct; by default that of the first run.
        also_test: Leave what is doubted out of the test side, too.
        progress: Called with (what is done, done, in all).

    Raises:
        RunError: If no finished run has images to judge by.
        DataError: If `data` are not the images of the runs, or a split is given and they are not there.
        SplitError: If the given split does not fit them.
    """
    answers = gather(runs_root, side=side)
    manifest = _images(answers, data, progress)
    base = answers.split
    if split_file:
        if manifest is None:
            raise DataError(
                f"{split_file} is checked against the images, and {answers.card['data'].get('root')!r} does not hold "
                "those of the runs; name them with --data"
            )
        base = read_split(split_file, manifest)
    learnt = confident_learning(answers.probs, answers.target)
    groups, by = _contents(manifest, base)
    suspects = _suspects(answers, learnt, groups)
    contradictions = tuple(group for group in groups if len({name for _, name in group}) > 1)
    doubted = {s.path for s in suspects} | {path for group in contradictions for path, _ in group}
    corrected, why = _corrected(base, doubted, also_test=also_test)
    return LabelAudit(
        answers,
        learnt,
        suspects,
        contradictions,
        by,
        manifest.root if manifest else None,  # never another folder that a card names: it may be anybody's
        corrected,
        why,
    )


def _images(answers: Answers, data: Path | None, progress: Progress | None) -> Manifest | None:
    """Return the images of the runs; None where they are no longer what and where they were."""
    facts = answers.card["data"]
    root = data or Path(facts.get("source") or facts.get("root") or "")
    if data is None and (root == Path() or not root.exists()):
        return None
    try:
        manifest = scan_cached(root, progress)
    except HemoscopeError:
        if data is not None:
            raise
        return None
    if manifest.digest == facts.get("digest"):
        return manifest
    if data is None:
        return None
    raise DataError(
        f"{data} does not hold the images of these runs, all of them: expected data {str(facts.get('digest'))[:12]}, got "
        f"{manifest.digest[:12]}. Name those that they were trained on, or leave --data out"
    )


@collected_later()
def _contents(manifest: Manifest | None, split: Split | None) -> tuple[list[Labelled], str]:
    """Return every content that is there more than once, and how that is known."""
    if manifest:
        groups = (group for group in content_groups(manifest.images) if len(group) > 1)
        return [tuple((image.path, image.class_name) for image in group) for group in groups], "pixels"
    of_bytes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in split.rows if split else ():
        if row.hash:
            of_bytes[row.hash].append((row.path, row.class_name))
    return [tuple(group) for group in of_bytes.values() if len(group) > 1], "bytes" if of_bytes else ""


def _suspects(answers: Answers, learnt: ConfidentLearning, groups: Iterable[Labelled]) -> tuple[Suspect, ...]:
    same: Mapping[str, Labelled] = {path: group for group in groups for path, _ in group}

    def suspect(i: int) -> Suspect:
        path, given, suggested = answers.paths[i], int(answers.target[i]), int(learnt.confident[i])
        probs: Sequence[float] = answers.probs[i].tolist()
        return Suspect(
            path=path,
            given=answers.classes[given],
            suggested=answers.classes[suggested],
            prob_given=probs[given],
            prob_suggested=probs[suggested],
            margin=float(learnt.margin[i]),
            probs=tuple(probs),
            asked=int(answers.asked[i]),
            duplicates=tuple(one for one in same.get(path, ()) if one[0] != path),
        )

    return tuple(suspect(i) for i in learnt.suspects.tolist())


def _corrected(base: Split | None, doubted: set[str], *, also_test: bool) -> tuple[Corrected | None, str]:
    if base is None:
        return None, "the split of the runs is not beside them; name one with --split"
    try:
        return without(base, doubted, also_test=also_test), ""
    except SplitError as error:
        return None, str(error)
