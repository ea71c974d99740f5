"""The mean of a network's weights over its last steps, which errs less than any one of them.

Source:
    Polyak and Juditsky, SIAM J. Control Optim. 30 (1992) 838-855; the exponential form with a decay that
    grows in the first steps is the one of TensorFlow's `ExponentialMovingAverage(num_updates=…)`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["Averaged"]


class Averaged:
    """A copy of a network that follows it.

    Attributes:
        model: The mean of weights and batch statistics.
        steps: Steps it has followed, a tensor on the network's device.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        device = next(model.parameters()).device
        self.steps = torch.zeros((), device=device)
        self._decay = torch.tensor(decay, device=device)
        mine, theirs = self.model.state_dict(), model.state_dict()  # both share memory with their networks
        self._pairs = [(mine[name], theirs[name]) for name in mine]

    @torch.no_grad()
    def follow(self) -> None:
        """Move towards the network after a step; no value is read back, so a CUDA graph may hold it."""
        self.steps += 1
        share: Tensor = 1 - torch.minimum(self._decay, (1 + self.steps) / (10 + self.steps))
        for mine, theirs in self._pairs:
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)
