"""What a network is given: bytes minus the mean of ImageNet, over its standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Normalise"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise:
    """(x / 255 - mean) / std of ImageNet, with its constants already on the device."""

    def __init__(self, device: torch.device) -> None:
        self._mean = torch.tensor(IMAGENET_MEAN, device=device) * 255
        self._scale = 1 / (torch.tensor(IMAGENET_STD, device=device) * 255)

    def __call__(self, batch: Tensor) -> Tensor:
        """Turn bytes of shape (N, H, W, 3) into float32 of shape (N, 3, H, W), channels-last."""
        pixels = batch.to(torch.float32, copy=True)  # in place from here: one new tensor and not three
        return pixels.sub_(self._mean).mul_(self._scale).permute(0, 3, 1, 2)
