"""What a reader must know beside the scores: each point with the figures of this report's own runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemoscope import paper
from hemoscope.ensemble.members import Ensemble
from hemoscope.ensemble.networks import Network
from hemoscope.report.facts import DataFacts
from hemoscope.runs import EVALUATED
from hemoscope.training.changes import changes

__all__ = ["Caveat", "caveats"]


@dataclass(frozen=True, slots=True)
class Caveat:
    """One point: a short statement, and what it means for the figures."""

    title: str
    text: str


def caveats(data: DataFacts, networks: Sequence[Network], ensemble: Ensemble | None) -> tuple[Caveat, ...]:
    """Return the points that apply to these runs, the most important first.

    Args:
        data: Data set and split.
        networks: The networks of the report.
        ensemble: Their ensemble, where there is one.
    """
    like_the_paper = data.kind in ("pbc", "bloodmnist")
    training = _of_training(networks, like_the_paper=like_the_paper)
    return (*_of_data(data), *training, _of_seeds(networks), _of_intervals(networks, ensemble))


def _of_data(data: DataFacts) -> list[Caveat]:
    found: list[Caveat] = []
    if data.kind == "synthetic":
        text = (
            "The images were drawn by a program. High scores show that the software works from end to end; "
            "they say nothing about real blood."
        )
        found.append(Caveat("These are not real cells.", text))
    if data.kind in ("pbc", "bloodmnist") and data.policy != EVALUATED:
        text = (
            "The data set names no patient, slide or smear, so cells of one person may be on both sides of the "
            "split. The scores are optimistic for a new patient, and say nothing about another laboratory."
        )
        found.append(Caveat("Splits by patient are impossible.", text))
    if data.policy == EVALUATED:
        found += _of_scored_cells(data)
    elif data.kind == "other" and data.groups_on_two_sides:
        text = (
            f"Of {data.groups:,} groups, such as patients or slides, {data.groups_on_two_sides:,} have images on more than one side of "
            "the split. The scores are optimistic for a new one."
        )
        found.append(Caveat("The split does not keep groups apart.", text))
    elif data.kind == "other" and data.groups:
        text = (
            f"The images are of {data.groups:,} groups, such as patients or slides, each on one side of the split. How far the scores "
            "hold for another group is seen in so many of them, not in so many images."
        )
        found.append(Caveat("The split keeps groups apart.", text))
    elif data.kind == "other":
        text = (
            "The split keeps identical images together, but knows nothing of patients or slides. If cells of one "
            "person are on both sides, the scores are optimistic for a new one."
        )
        found.append(Caveat("The split does not separate patients.", text))
    second = {name: n for name, n in (data.second_acquisition or {}).items() if n}
    if second:
        total = sum(second.values())
        listed = ", ".join(f"{name} {n}" for name, n in second.items())
        text = (
            f"{total:,} images have another background colour than the rest ({listed}). A network can learn the "
            "background in place of the cell wherever these counts differ between classes."
        )
        found.append(Caveat("A second acquisition is a possible shortcut.", text))
    if data.left_out:
        text = (
            f"Training left out {_files(len(data.left_out))} that could not be used; see the list at the end."
        )
        found.append(Caveat("Not every file was used.", text))
    return found


def _of_scored_cells(data: DataFacts) -> list[Caveat]:
    """Say what networks had seen before of cells that they only scored, and what of a bundle is not in the figures."""
    found: list[Caveat] = []
    n, seen = sum(data.counts.get("test", {}).values()), data.seen_before
    if seen is None:
        text = "Which of them the networks were trained on is not known; on those that they have seen a score means little."
        if data.digest and data.digest == data.trained_on:
            text += " They are of the data set of the training: its digest is the same."
        found.append(Caveat("These cells may be those of the training.", text))
    elif seen["train"] or seen["val"]:
        text = (
            f"Of the {n:,} cells scored here the networks were trained on {seen['train']:,} and validated on {seen['val']:,}, by "
            "their bytes; on cells that they have not seen they may do worse."
        )
        found.append(Caveat("Cells of the training are among these.", text))
    else:
        text = f"None of the {n:,} cells scored here is one that the networks were trained or validated on, by their bytes"
        text += f"; {seen['test']:,} are of their own test images." if seen["test"] else "."
        found.append(Caveat("Other cells than those of the training.", text))
    if data.bundle:
        text = (
            f"These are the answers of the networks in the bundle {data.bundle} as they are. Its calibration and its thresholds are "
            "in no figure here; evaluation.json, which hemoscope evaluate wrote beside the networks, has what they make of these cells."
        )
        found.append(Caveat("Not the bundle's own probabilities.", text))
    return found


def _of_training(networks: Sequence[Network], *, like_the_paper: bool) -> list[Caveat]:
    found: list[Caveat] = []
    entries = [entry for network in networks for entry in network.entries]
    scratch = [n.label for n in networks if (n.entries[0].card.get("weights") or {}).get("source") == "none"]
    if scratch:
        who = "All networks" if len(scratch) == len(networks) else ", ".join(scratch)
        text = f"{who} started from random weights."
        if like_the_paper:
            text += " The paper's networks started from ImageNet weights."
        found.append(Caveat("Trained from scratch.", text))
    notes: dict[str, list[str]] = {}
    for network in networks:
        note = (network.entries[0].card.get("weights") or {}).get("note")
        if note:
            notes.setdefault(str(note), []).append(network.label)
    for note, labels in notes.items():
        who = "all networks" if len(labels) == len(networks) else ", ".join(labels)
        found.append(Caveat(f"About the pretrained weights of {who}.", note))
    turned = [network for network in networks if network.entries[0].recipe.get("views", 1) > 1]
    if turned:
        who = "all networks" if len(turned) == len(networks) else ", ".join(n.label for n in turned)
        text = (
            f"Each final prediction of {who} is the mean over the eight flips and quarter turns of an image: eight "
            f"times the work of one view{_cost(turned)}. Validation figures in the curves are of one view."
        )
        if like_the_paper:
            text += " The paper evaluates one view."
        found.append(Caveat("Scores are over eight views.", text))
    epochs = sorted({int(e.recipe["epochs"]) for e in entries if "epochs" in e.recipe})
    short = [n for n in epochs if n < paper.RECIPE.epochs]
    if short and like_the_paper:
        span = f"{short[0]}" if len(short) == 1 else f"{short[0]} to {short[-1]}"
        text = f"{span} epochs, where the paper trained for {paper.RECIPE.epochs}. More epochs may give other figures."
        found.append(Caveat("Fewer epochs than the paper.", text))
    return [*found, *_of_recipes(networks)]


def _cost(networks: Sequence[Network]) -> str:
    """Return how long the test images took, where the cards say so."""
    told = [
        f"{network.label} {float(seconds):.0f} s for {len(network.entries[0].test):,} test images"
        for network in networks
        if (seconds := (network.entries[0].card.get("timings") or {}).get("test_s")) is not None
    ]
    return f" ({', '.join(told)})" if told else ""


def _of_recipes(networks: Sequence[Network]) -> list[Caveat]:
    """Say which fields of a built-in recipe were changed; a run's name may not show it."""
    changed: dict[str, list[str]] = {}
    for network in networks:
        fields = ", ".join(map(str, changes(network.entries[0].recipe)))
        changed.setdefault(fields, []).append(network.label)
    parts = [
        f"{'All networks' if len(labels) == len(networks) else ', '.join(labels)}: {fields}"
        for fields, labels in changed.items()
        if fields
    ]
    if not parts:
        return []
    text = f"{'; '.join(parts)}. In brackets what the built-in recipe of that name has."
    return [Caveat("Fields of the recipe were changed.", text)]


def _of_seeds(networks: Sequence[Network]) -> Caveat:
    seeds = [len(network.entries) for network in networks]
    if max(seeds) == 1:
        text = (
            "Each network was trained once. Another seed can move a network by a few images either way, so small "
            "differences between rows are no ranking."
        )
        return Caveat("One seed.", text)
    span = f"{seeds[0]}" if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    text = (
        f"{span} seeds a network. Where there are several, tables give mean ± standard deviation over them; "
        "all seeds share one split, so the spread does not include the luck of the split."
    )
    return Caveat("Several seeds, one split.", text)


def _of_intervals(networks: Sequence[Network], ensemble: Ensemble | None) -> Caveat:
    chosen = "The best single network was"
    if ensemble and ensemble.selected:
        chosen = "The best single network and the members of the ensemble were"
    chosen = f"{chosen} chosen on the validation images; the test images played no part in it."
    by_validation = all(len(entry.val) for network in networks for entry in network.entries)
    if not by_validation:
        chosen = "There are no validation images to choose by: what is called the best single network is the first in the table."
    text = f"Intervals are Wilson's, at 95 %. They cover the chance of drawing these test images and nothing else. {chosen}"
    if ensemble and not ensemble.choice and by_validation:
        text += (
            " The members of the ensemble were given; what the giver knew of test figures is not known here."
        )
    if len(networks) > 1:
        text += " A row that is picked because of its test figure has an optimistic one."
    return Caveat("What the intervals cover.", text)


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n:,} files"
