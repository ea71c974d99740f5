"""Batch normalisation's means and variances, taken anew from the cells a network is to know."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hemoscope.training.device import Device

__all__ = ["norm_layers", "recompute", "set_momentum"]


def norm_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers of batch normalisation that keep statistics."""
    return [
        layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


def set_momentum(model: nn.Module, momentum: float) -> None:
    """Set how fast running statistics follow while the network learns."""
    for layer in norm_layers(model):
        layer.momentum = momentum


@torch.no_grad()
def recompute(model: nn.Module, batches: Iterable[Tensor], *, share: float, device: Device) -> None:
    """Replace a share of the running statistics by those of some images. A network without them stays as it is.

    Layers that no image reaches, such as those of an auxiliary branch, keep theirs.

    Args:
        model: Left in evaluation mode.
        batches: Normalised images, each of shape (N, 3, H, W); the statistics are the mean over batches.
        share: Of the new statistics, in [0, 1].
        device: Where and in which precision.

    Source:
        Li et al., Revisiting batch normalization for practical domain adaptation, 2016 (AdaBN); with a share of the
        old ones, Schneider et al., NeurIPS 2020.
    """
    layers = norm_layers(model)
    model.eval()
    if not layers or share == 0:
        return
    old = [(_of(layer)[0].clone(), _of(layer)[1].clone(), layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
        layer.train()
    for images in batches:
        with device.autocast():
            model(images)
    for layer, (mean, var, momentum) in zip(layers, old, strict=True):
        reached = bool(layer.num_batches_tracked)
        now_mean, now_var = _of(layer)
        now_mean.copy_(mean.lerp(now_mean, share) if reached else mean)
        now_var.copy_(var.lerp(now_var, share) if reached else var)
        layer.momentum = momentum
    model.eval()


def _of(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    if layer.running_mean is None or layer.running_var is None:
        raise TypeError("expected batch normalisation that keeps statistics")
    return layer.running_mean, layer.running_var
