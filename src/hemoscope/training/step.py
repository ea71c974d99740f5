"""One training step and one forward pass over many images: what the processor spends its time on.

Losses and counts stay on the device; the caller looks at them when it wants to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from hemoscope.data.augment import View, view_affine
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.batches import Batches
from hemoscope.training.device import Device
from hemoscope.training.objective import Objective

__all__ = ["predict_probs", "train_step"]

EVALUATION_BATCH = {"cpu": 64, "mps": 64, "cuda": 128}  # where training 32 fits, evaluating these does


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    target: Tensor,
    objective: Objective,
    *,
    device: Device,
) -> tuple[Tensor, Tensor]:
    """Do one step of gradient descent.

    Args:
        model: In training mode.
        optimizer: Its gradients are cleared here.
        images: Normalised, shape (N, 3, H, W).
        target: Shape (N,).
        objective: What to lower.
        device: Where and in which precision.

    Returns:
        The loss and the number of right predictions, both on the device, without a graph.
    """
    optimizer.zero_grad(set_to_none=True)
    images, share = objective.mixed(images)
    with device.autocast():
        out = model(images)
    total, loss, logits = objective.loss(out, target, share)
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
    turned: bool = False,
) -> FloatArray:
    """Return softmax probabilities of the given canvas rows, shape (len(rows), C), in their order.

    `batch_size` is by default what the device takes; it changes no answer by more than rounding. Where `turned`,
    they are the means over the eight flips and quarter turns, at eight times the cost.
    """
    model.eval()
    parts: list[Tensor] = []
    with torch.inference_mode():
        for chunk in _chunks(rows, batch_size or EVALUATION_BATCH[device.torch_device.type]):
            matrices = view_affine(
                len(chunk), canvas_px=batches.canvas.canvas_px, image_px=batches.image_px, view=view
            )
            images = batches.images(chunk, matrices)  # outside autocast: pixels are exact
            views = eight(images) if turned else (images,)
            parts.append(torch.stack([_probs(model, view, device) for view in views]).mean(dim=0))
    return torch.cat(parts).cpu().numpy().astype(np.float64)


def eight(images: Tensor) -> Iterator[Tensor]:
    """Yield images, shape (N, 3, S, S), in their eight flips and quarter turns."""
    for mirrored in (images, images.flip(3)):
        for turns in range(4):
            yield torch.rot90(mirrored, turns, (2, 3)).contiguous(memory_format=torch.channels_last)


def _probs(model: nn.Module, images: Tensor, device: Device) -> Tensor:
    with device.autocast():
        logits = model(images)
    return logits.float().softmax(dim=1)  # stays there: reading it would wait


def _chunks(rows: IntArray, size: int) -> Iterator[IntArray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
