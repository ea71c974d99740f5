"""One training step and one forward pass over many images: what the processor spends its time on.

Images travel as uint8 and are normalised on the device. Losses and counts stay on the device; the
caller looks at them when it wants to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.data.augment import Fill, View, view_affine, warp, warp_on_device
from hemoscope.data.canvas import Canvas
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.device import Device

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Batches", "Normalise", "predict_probs", "train_step", "upload"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EVALUATION_BATCH = {"cpu": 64, "mps": 64, "cuda": 128}  # where training 32 fits, evaluating these does
CANVAS_SHARE = 0.5  # of free device memory; the network and its activations need the rest


class Normalise:
    """(x / 255 - mean) / std of ImageNet, with its constants already on the device."""

    def __init__(self, device: torch.device) -> None:
        self._mean = torch.tensor(IMAGENET_MEAN, device=device) * 255
        self._scale = 1 / (torch.tensor(IMAGENET_STD, device=device) * 255)

    def __call__(self, batch: Tensor) -> Tensor:
        """Turn bytes of shape (N, H, W, 3) into float32 of shape (N, 3, H, W), channels-last."""
        pixels = batch.to(torch.float32, copy=True)  # in place from here: one new tensor and not three
        return pixels.sub_(self._mean).mul_(self._scale).permute(0, 3, 1, 2)


class Batches:
    """Cuts warped batches from a canvas: gathered and warped on the CPU, or on the device.

    Attributes:
        resident: The whole canvas in device memory, where there is a CUDA device that it fits into.
    """

    def __init__(self, canvas: Canvas, image_px: int, fill: Fill, device: torch.device) -> None:
        self.canvas = canvas
        self.image_px = image_px
        self.fill: Fill = fill
        self.device = device
        self.normalise = Normalise(device)
        self.resident = upload(canvas, device) if _fits(canvas, device) else None

    def images(self, rows: IntArray, matrices: FloatArray) -> Tensor:
        """Return normalised images, float32, shape (N, 3, image_px, image_px), channels-last."""
        if self.device.type == "cpu":
            pixels = [self.canvas.pixels[row] for row in rows]  # views of the memory map, each (S, S, 3)
            return self.normalise(
                torch.from_numpy(warp(pixels, matrices, image_px=self.image_px, fill=self.fill))
            )
        if self.resident is not None:
            pixels = self.resident.index_select(0, torch.from_numpy(rows).to(self.device))
        else:
            pixels = torch.from_numpy(self.canvas.pixels[rows]).to(self.device)
        where = torch.from_numpy(matrices.astype(np.float32)).to(self.device)
        return self.normalise(warp_on_device(pixels, where, image_px=self.image_px, fill=self.fill))


def upload(canvas: Canvas, device: torch.device, *, at_once: int = 1024) -> Tensor:
    """Return the whole canvas in the memory of a device, uint8, shape (N, S, S, 3)."""
    pixels = torch.empty(canvas.pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), at_once):
        here = slice(start, start + at_once)
        pixels[here] = torch.from_numpy(np.array(canvas.pixels[here]))  # a memory map is read-only
    return pixels


def _fits(canvas: Canvas, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return canvas.pixels.nbytes < CANVAS_SHARE * free


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
