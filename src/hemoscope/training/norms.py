"""Batch normalisation that keeps the statistics it came with, so that it is bound to no laboratory's stain."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # the base of all of them, also of those over ranks

__all__ = ["keep_statistics"]


def keep_statistics(model: nn.Module) -> None:
    """Let every batch normalisation of a network in training use its running statistics and change none of them.

    Its scales and shifts learn on. It holds until `train()` is called again.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
