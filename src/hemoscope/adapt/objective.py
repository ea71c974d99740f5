"""What a step of an adaptation lowers. Exchange it here: nothing else knows how it is made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hemoscope.adapt.recipe import AdaptRecipe

__all__ = ["Taught", "adaptation_loss"]


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What is known of a batch: N cells without labels, then M labelled ones.

    Attributes:
        pseudo: Class each of the N is taken for, shape (N,).
        target: Classes of the labelled ones, shape (M,).
    """

    pseudo: Tensor
    target: Tensor


def adaptation_loss(logits: Tensor, taught: Taught, recipe: AdaptRecipe) -> Tensor:
    """Return the loss of a batch: the cross entropy of pseudo-labels, and that of labels.

    Args:
        logits: Shape (N + M, C).
        taught: What is known of the cells.
        recipe: Smoothing of the pseudo-labels, and the weight of the labels.
    """
    logits, n = logits.float(), len(taught.pseudo)
    loss = logits.new_zeros(())
    if n:
        loss = loss + functional.cross_entropy(logits[:n], taught.pseudo, label_smoothing=recipe.smoothing)
    if len(taught.target):
        loss = loss + recipe.labelled * functional.cross_entropy(logits[n:], taught.target)
    return loss
