"""What a network's probabilities assume of how common the classes are: what it was trained on, and what it leans to."""

from __future__ import annotations

import numpy as np
from torch import nn

from hemoscope.adapt.recipe import AdaptRecipe
from hemoscope.bundle.card import BundleCard
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray
from hemoscope.training.blood import lean

__all__ = ["lean_of", "loses_lean", "prior_of"]


def prior_of(card: BundleCard, k: int, network: Network, recipe: AdaptRecipe) -> FloatArray:
    """Return the class shares that the k-th network's probabilities assume, shape (C,); all alike where nothing else is known.

    A lean that will be taken out is no part of them.
    """
    n, member = len(card.classes), card.members[k].recipe
    alike = "balanced" in (member.get("sampler"), member.get("class_weights"))
    as_mixed = recipe.prior == "trained" and not alike
    counts = (card.data.get("counts") or {}).get("train") if as_mixed else None
    trained = np.array([float((counts or {}).get(name, 0)) for name in card.classes])
    prior = trained / trained.sum() if counts and trained.min() > 0 else np.full(n, 1 / n)
    leant = lean_of(card, k, network)
    if leant is None or loses_lean(network):
        return prior
    return prior * np.exp(leant) / (prior * np.exp(leant)).sum()


def lean_of(card: BundleCard, k: int, network: Network) -> FloatArray | None:
    """Return what the k-th network's logits lean by, shape (C,); None where they do not, or no more since it was adapted."""
    power = card.members[k].recipe.get("in_blood", 0)
    if not power or (card.adapted and loses_lean(network)):
        return None
    return lean(card.classes, power)


def loses_lean(network: Network) -> bool:
    """Say whether a lean can be taken out: the head gives the logits. SqueezeNet cuts them off at 0 after it."""
    return isinstance(network.model.get_submodule(network.head), nn.Linear)
