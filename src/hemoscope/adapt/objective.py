"""What a step of an adaptation lowers. Exchange it here: nothing else knows how it is made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hemoscope.adapt.recipe import AdaptRecipe

__all__ = ["Taught", "adaptation_loss"]

TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What is known of a batch: N cells without labels, then M labelled ones.

    Attributes:
        pseudo: Class each of the N is taken for, shape (N,).
        used: 1 where that is learnt from, else 0, shape (N,).
        shares: Estimated class shares, shape (C,).
        target: Classes of the labelled ones, shape (M,).
    """

    pseudo: Tensor
    used: Tensor
    shares: Tensor
    target: Tensor


def adaptation_loss(logits: Tensor, taught: Taught, recipe: AdaptRecipe) -> Tensor:
    """Return the loss of a batch: sure answers, in the estimated shares, that agree with pseudo-labels and labels.

    Args:
        logits: Shape (N + M, C).
        taught: What is known of the cells.
        recipe: The weights of the parts.

    Source:
        Liang, Hu and Feng, ICML 2020 (SHOT); its diversity, which wants equal classes, here wants the estimated shares.
    """
    n = len(taught.pseudo)
    log_probs = logits.float().log_softmax(dim=1)
    loss = log_probs.new_zeros(())
    if n:
        free = log_probs[:n]
        probs = free.exp()
        entropy = -(probs * free).sum(dim=1).mean()
        mean = probs.mean(dim=0).clamp_min(TINY)
        diversity = (mean * (mean.log() - taught.shares.clamp_min(TINY).log())).sum()
        pseudo = functional.nll_loss(free, taught.pseudo, reduction="none")
        loss = (
            loss
            + recipe.entropy * entropy
            + recipe.diversity * diversity
            + recipe.pseudo * (pseudo * taught.used).mean()
        )
    if len(taught.target):
        loss = loss + recipe.labelled * functional.nll_loss(log_probs[n:], taught.target)
    return loss
