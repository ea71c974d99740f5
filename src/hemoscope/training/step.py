"""One training step and one forward pass over many images: what the processor spends its time on.

Images travel as uint8 and are normalised on the device. Losses and counts stay on the device; the
caller looks at them when it wants to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.data.augment import Fill, View, view_affine, warp, warp_on_device
from hemoscope.data.canvas import Canvas
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.device import Device

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Batches", "predict_probs", "train_step"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batches:
    """Cuts warped batches from a canvas: gathered and warped on the CPU, or on the device."""

    canvas: Canvas
    image_px: int
    fill: Fill
    device: torch.device

    def images(self, rows: IntArray, matrices: FloatArray) -> Tensor:
        """Return normalised images, float32, shape (N, 3, image_px, image_px), channels-last."""
        pixels = np.ascontiguousarray(self.canvas.pixels[rows])  # (N, S, S, 3)
        if self.device.type == "cpu":
            batch = torch.from_numpy(warp(pixels, matrices, image_px=self.image_px, fill=self.fill))
        else:
            batch = warp_on_device(
                torch.from_numpy(pixels).to(self.device, non_blocking=True),
                torch.from_numpy(matrices.astype(np.float32)).to(self.device, non_blocking=True),
                image_px=self.image_px,
                fill=self.fill,
            )
        return normalise(batch)


def normalise(batch: Tensor) -> Tensor:
    """Return (x / 255 - mean) / std of ImageNet as float32 NCHW; NHWC bytes become channels-last."""
    mean = torch.tensor(IMAGENET_MEAN, device=batch.device) * 255
    scale = 1 / (torch.tensor(IMAGENET_STD, device=batch.device) * 255)
    return ((batch.float() - mean) * scale).permute(0, 3, 1, 2)  # (N, 3, H, W)


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
    model: nn.Module, batches: Batches, rows: IntArray, *, device: Device, view: View, batch_size: int = 64
) -> FloatArray:
    """Return softmax probabilities of the given canvas rows, shape (len(rows), C), in their order."""
    model.eval()
    parts: list[Tensor] = []
    with torch.inference_mode(), device.autocast():
        for chunk in _chunks(rows, batch_size):
            matrices = view_affine(
                len(chunk), canvas_px=batches.canvas.canvas_px, image_px=batches.image_px, view=view
            )
            logits = model(batches.images(chunk, matrices))
            parts.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(parts).numpy().astype(np.float64)


def _chunks(rows: IntArray, size: int) -> Iterator[IntArray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
