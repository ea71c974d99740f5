"""Runs as lines of a table: one run is an entry; seeds of one configuration together are a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hemoscope import paper
from hemoscope.ensemble.candidates import Entry, configuration
from hemoscope.evaluation.intervals import wilson
from hemoscope.evaluation.summary import Scores
from hemoscope.records import FloatArray
from hemoscope.training.recipe import Recipe, identity_of

__all__ = ["Network", "Summary", "group_networks"]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """A proportion a class and one over all, shape (C + 1,): the last is the overall accuracy.

    Attributes:
        mean: Mean over the seeds; NaN where a class has no image.
        sd: Sample standard deviation over the seeds; None for one seed.
        low: Lower end of Wilson's 95 % interval, at the mean count.
        high: Upper end.
        errors: Mean number of wrong test images.
    """

    mean: FloatArray
    sd: FloatArray | None
    low: FloatArray
    high: FloatArray
    errors: float

    @classmethod
    def of(cls, scores: Sequence[Scores]) -> Summary:
        """Summarise test scores over the same images."""
        correct = np.array([[*np.diagonal(s.confusion), s.n - s.errors] for s in scores])  # (seeds, C + 1)
        n = np.array([*scores[0].support, scores[0].n])
        rates = np.divide(correct, n, out=np.full(correct.shape, np.nan), where=n > 0)
        low, high = wilson(correct.mean(axis=0), n, means=True)
        return cls(
            mean=rates.mean(axis=0),
            sd=rates.std(axis=0, ddof=1) if len(scores) > 1 else None,
            low=low,
            high=high,
            errors=float(np.mean([s.errors for s in scores])),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One architecture with one recipe, trained with one or several seeds."""

    label: str
    arch: str
    entries: tuple[Entry, ...]
    summary: Summary


def group_networks(entries: Sequence[Entry]) -> tuple[Network, ...]:
    """Put seeds of one configuration together, in the order of the paper's Table 4, then by name.

    Architectures with several recipes are told apart by their names, or by the fields in which these differ.
    """
    by_arch: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        by_arch.setdefault(entry.arch, {}).setdefault(configuration(entry), []).append(entry)
    order = {row.arch: i for i, row in enumerate(paper.TABLE_4)}
    networks: list[Network] = []
    for arch in sorted(by_arch, key=lambda name: (order.get(name, len(order)), name)):
        groups = list(by_arch[arch].values())
        named = zip(groups, _differences([group[0] for group in groups]), strict=True)
        networks += [_network(arch, group, difference) for group, difference in named]
    return tuple(networks)


def _network(arch: str, group: Sequence[Entry], difference: str) -> Network:
    published = paper.classwise_accuracy(arch)
    label = (published.paper_name if published else arch) + (f" ({difference})" if difference else "")
    ordered = sorted(group, key=lambda entry: (entry.seed, entry.name))
    labelled = tuple(
        replace(entry, label=label if len(group) == 1 else f"{label}, seed {entry.seed}") for entry in ordered
    )
    return Network(label, arch, labelled, Summary.of([entry.scores for entry in labelled]))


def _differences(entries: Sequence[Entry]) -> list[str]:
    """Say by which recipe each of several runs was trained, and in which fields those of one recipe differ."""
    names = [str(entry.recipe.get("name", "")) for entry in entries]
    told = []
    for entry, name in zip(entries, names, strict=True):
        of_name = [other for other, its in zip(entries, names, strict=True) if its == name]
        by_name = [f"recipe {name}"] if len({*names}) > 1 else []
        told.append(", ".join(by_name + (_own_fields(entry, of_name) if len(of_name) > 1 else [])))
    return told


def _own_fields(entry: Entry, others: Sequence[Entry]) -> list[str]:
    """Say what a run has in the fields in which it and others of its recipe differ; its weights where these are all alike."""
    recipes = [identity_of(other.recipe) for other in others]
    fields = sorted({key for recipe in recipes for key in recipe})
    varied = [f for f in fields if len({repr(recipe.get(f, _default(f))) for recipe in recipes}) > 1]
    if not varied:
        return [f"weights {str((entry.card.get('weights') or {}).get('sha256'))[:8]}"]
    own = identity_of(entry.recipe)
    return [f"{f} {own.get(f, _default(f))}" for f in varied]


def _default(field: str) -> object:
    """Return what a recipe that lacks a field had: it is older than the field."""
    known = Recipe.model_fields.get(field)
    return known.default if known else None
