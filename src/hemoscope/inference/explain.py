"""Where a network looked: Grad-CAM heatmaps, and figures that say whether the heatmap is true.

A pretty map can mean nothing. Deletion and insertion test it: take the hottest pixels away first and
the class must go quickly; give them back first and it must come quickly. A random order is the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.errors import ConfigError, ShapeError
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
        ConfigError: If the package grad-cam is not installed.

    Source:
        Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    if target.shape != (len(images),):
        raise ShapeError(f"{len(images)} images need as many targets; got shape {target.shape}")
    library = _library()
    model = without_inplace(network.model).requires_grad_(False)  # the map needs activations' gradients only
    device = network.device.torch_device
    layer = model.get_submodule(get_arch(arch).cam_layer)
    pixels = Normalise(device)(torch.from_numpy(images).to(device)).requires_grad_(True)
    targets = [library.ClassifierOutputTarget(int(c)) for c in target]
    grad_cam = library.GradCAM(model, [layer])
    # After the library's own hook: DenseNet goes on in place, and would change what the library kept.
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: output.clone())
    try:
        with torch.enable_grad():
            maps = grad_cam(pixels, targets)
    finally:
        hook.remove()
        grad_cam.activations_and_grads.release()
    return maps.astype(np.float64)


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


def _library() -> Any:
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise ConfigError(
            f"explaining needs the package {error.name}; install hemoscope with its extra: pip install 'hemoscope[explain]'"
        ) from None
    return SimpleNamespace(GradCAM=pytorch_grad_cam.GradCAM, ClassifierOutputTarget=ClassifierOutputTarget)
