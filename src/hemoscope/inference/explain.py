"""Where a network looked: Grad-CAM heatmaps, and figures that say whether the heatmap is true.

A pretty map can mean nothing. Deletion and insertion test it: take the hottest pixels away first and
the class must go quickly; give them back first and it must come quickly. A random order is the scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hemoscope.errors import ShapeError
from hemoscope.inference.network import Network
from hemoscope.models.build import without_inplace
from hemoscope.models.registry import get_arch
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.step import Normalise

__all__ = ["Faithfulness", "explain_pixels", "faithfulness"]

STEPS = 20  # of deletion and insertion
BLUR = 0.08  # of the side: sigma of what a deleted pixel becomes


@dataclass(frozen=True, slots=True, eq=False)
class Faithfulness:
    """Areas under the curve of the class's probability, in [0, 1]; each array has shape (N,).

    Attributes:
        deletion: The hottest pixels blurred first: lower is better.
        insertion: The hottest pixels given back first: higher is better.
        random_deletion: In a random order.
        random_insertion: In a random order.
    """

    deletion: FloatArray
    insertion: FloatArray
    random_deletion: FloatArray
    random_insertion: FloatArray


def explain_pixels(network: Network, arch: str, images: NDArray[np.uint8], target: IntArray) -> FloatArray:
    """Return Grad-CAM heatmaps, shape (N, S, S), each from 0 to 1; all 0 where nothing spoke for the class.

    Args:
        network: Asked in fp32.
        arch: Registry name, which knows the layer to look at.
        images: Already cut to the input, shape (N, S, S, 3).
        target: The class to explain, shape (N,).

    Raises:
        ShapeError: If there is not one target for each image.

    Source:
        Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    if target.shape != (len(images),):
        raise ShapeError(f"{len(images)} images need as many targets; got shape {target.shape}")
    model = without_inplace(network.model)
    device = network.device.torch_device
    layer = model.get_submodule(get_arch(arch).cam_layer)
    pixels = Normalise(device)(torch.from_numpy(images).to(device))
    wanted = torch.from_numpy(target).to(device)
    with torch.enable_grad(), _kept(layer) as kept:
        logits = model(pixels)
        (gradient,) = torch.autograd.grad(logits.gather(1, wanted[:, None]).sum(), kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, K, 1, 1)
    maps = functional.relu((weights * kept[0].detach()).sum(dim=1, keepdim=True))
    maps = functional.interpolate(maps, images.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak, maps).double().cpu().numpy()


def faithfulness(
    network: Network,
    images: NDArray[np.uint8],
    heatmaps: FloatArray,
    target: IntArray,
    *,
    rng: np.random.Generator,
) -> Faithfulness:
    """Return how the class's probability falls and rises with the pixels that a heatmap calls important.

    Args:
        network: What to ask.
        images: Shape (N, S, S, 3).
        heatmaps: Shape (N, S, S).
        target: The class explained, shape (N,).
        rng: Draws the random order of comparison.

    Source:
        Petsiuk et al., RISE, BMVC 2018.
    """
    areas = np.empty((4, len(images)))
    for i, (image, heat, c) in enumerate(zip(images, heatmaps, target, strict=True)):
        blurred = cv2.GaussianBlur(image, (0, 0), BLUR * image.shape[0])
        rows: list[float] = []
        for order in (np.argsort(-heat, axis=None, kind="stable"), rng.permutation(heat.size)):
            for start, end in ((image, blurred), (blurred, image)):
                rows.append(_area(network, start, end, order, int(c)))
        areas[:, i] = rows
    return Faithfulness(areas[0], areas[1], areas[2], areas[3])


def _area(
    network: Network, start: NDArray[np.uint8], end: NDArray[np.uint8], order: IntArray, c: int
) -> float:
    """Return the mean probability while pixels of `start` become those of `end` in the given order."""
    side = len(start)
    frames = np.repeat(start.reshape(1, -1, 3), STEPS + 1, axis=0)
    for step in range(STEPS + 1):
        changed = order[: round(step / STEPS * order.size)]
        frames[step, changed] = end.reshape(-1, 3)[changed]
    batch = torch.from_numpy(frames.reshape(-1, side, side, 3)).to(network.device.torch_device)
    probs = network.ask(batch)[0].softmax(dim=1)[:, c].double().cpu().numpy()
    return float((probs[:-1] + probs[1:]).mean() / 2)  # trapezoids


@contextmanager
def _kept(layer: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # DenseNet goes on in place

    hook = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()
