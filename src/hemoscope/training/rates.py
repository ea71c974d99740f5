"""The learning rates of a network: one optimiser, a group for the body and one for the new last layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemoscope.training.recipe import Recipe

__all__ = ["make_optimizer", "set_rate"]


def make_optimizer(
    model: nn.Module, recipe: Recipe, *, head: nn.Module, device: torch.device
) -> torch.optim.Optimizer:
    """Return SGD over all parameters; those of `head` have a group of their own where the recipe says so."""
    own = {id(p) for p in head.parameters()} if recipe.head_lr != 1 else set()
    body = [p for p in model.parameters() if id(p) not in own]
    groups = [{"params": body, "factor": 1.0, "lr": _rate(recipe.lr, device)}]
    if own:
        rate = _rate(recipe.lr * recipe.head_lr, device)
        groups.append({"params": list(head.parameters()), "factor": recipe.head_lr, "lr": rate})
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of every group, in place where a CUDA graph reads it."""
    for group in optimizer.param_groups:
        rate = lr * group["factor"]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _rate(lr: float, device: torch.device) -> float | Tensor:
    # A CUDA graph would keep a number as it was at the capture; it reads a tensor at every launch.
    return torch.tensor(lr, device=device) if device.type == "cuda" else lr
