"""Where a network looked: Grad-CAM heatmaps, and those of the same network with random weights.

A pretty map can mean nothing; `nulls` says what it has to beat.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.errors import MissingPackageError, ShapeError
from hemoscope.models.build import Head, build, without_inplace
from hemoscope.models.normalise import Normalise
from hemoscope.models.registry import get_arch
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray, IntArray

__all__ = ["explain_pixels", "need_package", "randomised"]


def explain_pixels(network: Network, arch: str, images: NDArray[np.uint8], target: IntArray) -> FloatArray:
    """Return Grad-CAM heatmaps, shape (N, S, S), each from 0 to 1; all 0 where nothing spoke for the class.

    Args:
        network: Asked in fp32.
        arch: Registry name, which knows the layer to look at.
        images: Already cut to the input, shape (N, S, S, 3).
        target: The class to explain, shape (N,).

    Raises:
        ShapeError: If there is not one target for each image.
        MissingPackageError: If the package grad-cam is not installed.

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


def randomised(
    network: Network, arch: str, *, head: Head = "replace_last", seed: int = 0, instance_norm: float = 0.0
) -> Network:
    """Return the network with every weight drawn anew, as before any training.

    Args:
        network: Left as it is.
        arch: Registry name.
        head: Of which form its head is.
        seed: Of the weights.
        instance_norm: Share of each image's own statistics.

    Source:
        Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: full randomisation.
    """
    model = build(arch, len(network.classes), head=head, seed=seed, instance_norm=instance_norm)
    return replace(network, model=model.eval().to(network.device.torch_device), known=None)


def need_package() -> None:
    """Refuse where the package grad-cam is missing.

    Raises:
        MissingPackageError: With the command that installs it.
    """
    _library()


def _library() -> Any:
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise MissingPackageError.of("explaining", error, extra="explain") from None
    return SimpleNamespace(GradCAM=pytorch_grad_cam.GradCAM, ClassifierOutputTarget=ClassifierOutputTarget)
