"""Layers of a rank that see the whole batch: what they need of the others' images, they ask for, or draw as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from hemoscope.training.sharing import SharedBatch

__all__ = ["WholeBatchNorm", "WholeDropout", "WholeSyncBatchNorm"]


class WholeDropout(nn.Dropout):
    """Draws the mask of the whole batch, as one process would, and takes its own rows of it."""

    def __init__(self, p: float, batch: SharedBatch) -> None:
        super().__init__(p)
        self._batch = batch

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the rows of this rank with its rows of the mask."""
        if not self.training:
            return input
        # A generator fills memory in its order, so the mask must lie in memory as the batch would.
        last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
        ones = torch.empty(
            (len(self._batch.target), *input.shape[1:]),
            dtype=input.dtype,
            device=input.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        ).fill_(1)
        return input * functional.dropout(ones, self.p)[self._batch.mine]


class WholeBatchNorm(nn.BatchNorm2d):
    """Normalises by the mean and variance of all ranks' images."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the rows of this rank, normalised with all of them."""
        return _normalised(self, input) if self.training else super().forward(input)


class WholeSyncBatchNorm(nn.SyncBatchNorm):
    """The same on GPUs: torch's own, but for batches of which a rank has no image.

    There torch's sends statistics in the type of its input, the other ranks in theirs: under bf16 not the same.

    Attributes:
        batch: The batch.
    """

    batch: SharedBatch

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the rows of this rank, normalised with all of them."""
        some_have_none = len(self.batch.target) < self.batch.ranks.world
        return _normalised(self, input) if self.training and some_have_none else super().forward(input)


def _normalised(norm: nn.BatchNorm2d | nn.SyncBatchNorm, images: Tensor) -> Tensor:
    out, mean, var = _Normalised.apply(images, norm.weight, norm.bias, norm.eps)
    if (
        norm.running_mean is not None
        and norm.running_var is not None
        and norm.num_batches_tracked is not None
    ):
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(var, share)
    return out


class _Normalised(torch.autograd.Function):
    """The normalised input, and what running statistics follow: mean and unbiased variance of the whole batch.

    Source:
        The gradient is that of Ioffe and Szegedy, Batch Normalization, 2015, with all sums over all ranks.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, channels = x.numel() // x.shape[1], x.shape[1]
        sums = torch.zeros(3, channels, dtype=torch.float64, device=x.device)
        if n:
            var, mean = (v.double() for v in torch.var_mean(_wide(x), _others(x), correction=0))
            sums = n * torch.stack([torch.ones_like(mean), mean, var + mean**2])
        dist.all_reduce(sums)
        count = sums[0]
        mean = sums[1] / count
        var = (sums[2] / count - mean**2).clamp_(min=0)
        out = functional.batch_norm(x, mean.to(weight), var.to(weight), weight, bias, eps=eps)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        shown = mean.to(weight), (var * count / (count - 1)).to(weight)
        ctx.mark_non_differentiable(*shown)
        return out, *shown

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        x, weight, mean, scale, count = ctx.saved_tensors
        own = _wide(grads[0])
        normalised = (_wide(x) - _each(mean, own)) * _each(scale, own)
        to_bias, to_weight = own.sum(_others(x)), (own * normalised).sum(_others(x))
        sums = torch.stack([to_bias, to_weight]).double()
        dist.all_reduce(sums)
        level, slope = sums / count
        inner = own - _each(level, own) - normalised * _each(slope, own)
        return (inner * _each(weight * scale, own)).to(x.dtype), to_weight, to_bias, None


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _each(values: Tensor, like: Tensor) -> Tensor:
    """Return a value a channel in the type and shape that fit images, (1, C, 1, 1)."""
    return values.to(like).view(1, -1, 1, 1)


def _others(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]
