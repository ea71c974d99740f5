"""One training step and one forward pass over many images: what the processor spends its time on.

Losses and counts stay on the device; the caller looks at them when it wants to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.data.augment import View, view_affine
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.batches import Batches
from hemoscope.training.device import Device

__all__ = ["predict_probs", "train_step"]

EVALUATION_BATCH = {"cpu": 64, "mps": 64, "cuda": 128}  # where training 32 fits, evaluating these does


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    target: Tensor,
    *,
    device: Device,
    class_weights: Tensor | None = None,
    aux_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Do one step of gradient descent.

    Args:
        model: In training mode.
        optimizer: Its gradients are cleared here.
        images: Normalised, shape (N, 3, H, W).
        target: Shape (N,).
        device: Where and in which precision.
        class_weights: Weight of each class in the loss, shape (C,).
        aux_weight: Share of the auxiliary head's loss (Inception v3).

    Returns:
        The loss and the number of right predictions, both on the device, without a graph.
    """
    optimizer.zero_grad(set_to_none=True)
    with device.autocast():
        out = model(images)
    logits, aux = (out.logits, out.aux_logits) if hasattr(out, "aux_logits") else (out, None)
    loss = functional.cross_entropy(logits.float(), target, weight=class_weights)
    total = loss
    if aux is not None:
        total = loss + aux_weight * functional.cross_entropy(aux.float(), target, weight=class_weights)
    total.backward()
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == target).sum()


def predict_probs(
    model: nn.Module,
    batches: Batches,
    rows: IntArray,
    *,
    device: Device,
    view: View,
    batch_size: int | None = None,
) -> FloatArray:
    """Return softmax probabilities of the given canvas rows, shape (len(rows), C), in their order.

    `batch_size` is by default what the device takes; it changes no answer by more than rounding.
    """
    model.eval()
    parts: list[Tensor] = []
    with torch.inference_mode():
        for chunk in _chunks(rows, batch_size or EVALUATION_BATCH[device.torch_device.type]):
            matrices = view_affine(
                len(chunk), canvas_px=batches.canvas.canvas_px, image_px=batches.image_px, view=view
            )
            images = batches.images(chunk, matrices)  # outside autocast: pixels are exact
            with device.autocast():
                logits = model(images)
            parts.append(logits.float().softmax(dim=1))  # stays there: reading it would wait
    return torch.cat(parts).cpu().numpy().astype(np.float64)


def _chunks(rows: IntArray, size: int) -> Iterator[IntArray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
