"""Batch normalisation that also looks at each image by itself, so that it depends less on one laboratory's statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm  # the base of all of them, also of those over ranks

__all__ = ["mix_instances"]

LEAST_PX = 8  # a side; the statistics of one image's smaller maps say little


def mix_instances(model: nn.Module, share: float) -> nn.Module:
    """Let every batch normalisation give a share of each image normalised by its own mean and variance.

    In training and after it alike. Scale and shift are common to both, and neither tensors nor their names change.
    A network without batch normalisation stays as it is.

    Args:
        model: Changed in place.
        share: In [0, 1]; 0 changes nothing.

    Source:
        Nam and Kim, Batch-instance normalization for adaptively style-invariant neural networks, NeurIPS 2018, where the
        share is learnt, channel by channel.
    """
    if share:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.register_forward_hook(_Mixed(share))
    return model


class _Mixed:
    """Runs after a layer of batch normalisation: as a hook it stays when the layer is copied or made another one."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, norm: _BatchNorm, inputs: tuple[Tensor], out: Tensor) -> Tensor:
        (images,) = inputs
        if min(images.shape[2:]) < LEAST_PX:
            return out
        return torch.lerp(out, _by_itself(images, norm).to(out.dtype), self.share)


def _by_itself(images: Tensor, norm: _BatchNorm) -> Tensor:
    if not torch.is_grad_enabled() or len(images) > 1:
        return functional.instance_norm(images, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    # For one image torch 2.11 gives a wrong gradient where what comes back lies channels-last, and for none an error.
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    var, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
    scale = norm.weight[:, None, None] * (var + norm.eps).rsqrt()
    return (wide - mean) * scale + norm.bias[:, None, None]
