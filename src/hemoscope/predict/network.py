"""A trained network ready to answer: weights, classes and the preprocessing it was evaluated with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hemoscope.data.augment import Fill, View, view_affine
from hemoscope.data.camera import camera_px
from hemoscope.data.images.framing import SQUARE, Framing, by_nucleus, nucleus_of
from hemoscope.errors import RunError
from hemoscope.models.build import head_path, load_state
from hemoscope.models.normalise import Normalise
from hemoscope.models.registry import get_arch
from hemoscope.records import FloatArray
from hemoscope.runs import MODEL, Run
from hemoscope.training.device import Device, choose_device, resolve_precision, tune
from hemoscope.training.recipe import Recipe

__all__ = ["Network", "ask", "at_camera", "at_nucleus", "load_network", "load_run", "seen_px", "trained_px"]


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode and what it needs to be given.

    Attributes:
        model: On its device.
        classes: Class names in the order of its outputs.
        image_px: Side of its input.
        canvas_px: Side an image is resized to before the crop.
        fill: What lies outside an image.
        view: How the input is cut from the canvas.
        device: Where and in which precision it computes.
        head: Name of the module that gives the classes.
        known: Features of known cells, shape (M, F), of length 1, on its device; None if there are none.
        framing: How an image becomes the canvas.
    """

    model: nn.Module
    classes: tuple[str, ...]
    image_px: int
    canvas_px: int
    fill: Fill
    view: View
    device: Device
    head: str
    known: Tensor | None = None
    framing: Framing = SQUARE

    @property
    def nucleus_px(self) -> float:
        """Diameter of the nuclei it frames cells by, in pixels of their images; NaN where it frames none."""
        return nucleus_of(self.framing, image_px=self.image_px, canvas_px=self.canvas_px)

    def in_image(self, height_px: int, width_px: int) -> FloatArray:
        """Return where its input lies in an image of this size: a matrix from pixel to pixel (x, y, 1), shape (3, 3)."""
        view = view_affine(1, canvas_px=self.canvas_px, image_px=self.image_px, view=self.view)[0]
        step = (self.framing.view_px or min(height_px, width_px)) / self.canvas_px
        middle = np.array([width_px, height_px]) / 2
        # Pixel centres lie on integers, so that an image reaches from -1/2 on; both have one middle.
        offset = middle - 0.5 - step * (self.canvas_px - 1) / 2
        canvas = np.array([[step, 0, offset[0]], [0, step, offset[1]], [0, 0, 1]])
        return canvas @ np.vstack([view, [0.0, 0.0, 1.0]])

    def ask(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 logits, shape (N, C), and features, shape (N, F), on the network's device.

        Args:
            images: uint8, shape (N, image_px, image_px, 3), already on the device.
        """
        with torch.inference_mode():
            pixels = Normalise(self.device.torch_device)(images)  # outside autocast: pixels are exact
            with self.device.autocast():
                logits, features = ask(self.model, self.head, pixels)
        return logits.float(), features


def at_camera(
    networks: Sequence[Network], images: Iterable[Path | bytes | NDArray[np.uint8]]
) -> tuple[Network, ...]:
    """Return networks that frame cells as the camera of these images shows them; those that frame no nucleus as they are.

    Args:
        networks: Trained on the cells of one camera.
        images: Some of another one, or of the same.
    """
    return at_nucleus(networks, seen_px(networks, images))


def seen_px(networks: Sequence[Network], images: Iterable[Path | bytes | NDArray[np.uint8]]) -> float | None:
    """Return the diameter that networks are to take nuclei of these images for, in their pixels.

    None where none of them frames nuclei; then no image is read.
    """
    trained = trained_px(networks)
    return None if trained is None else camera_px(images, trained)


def trained_px(networks: Sequence[Network]) -> float | None:
    """Return the diameter that networks take nuclei for, in pixels of the images; None where none frames nuclei."""
    by_size = (network.nucleus_px for network in networks if network.framing != SQUARE)
    return next(by_size, None)  # members were trained on the same images


def at_nucleus(networks: Sequence[Network], nucleus_px: float | None) -> tuple[Network, ...]:
    """Return networks that take nuclei for this large, in pixels of the images; for None, as they are.

    Those that frame no nucleus stay as they are.
    """
    trained = trained_px(networks)
    if trained is None or nucleus_px is None:
        return tuple(networks)
    return tuple(
        network
        if network.framing == SQUARE
        else replace(
            network,
            framing=by_nucleus(
                network.nucleus_px * nucleus_px / trained,
                image_px=network.image_px,
                canvas_px=network.canvas_px,
            ),
        )
        for network in networks
    )


def ask(model: nn.Module, head: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, and what the head was given: pooled, float32, of length 1, shape (N, F)."""
    given: list[Tensor] = []
    watch = model.get_submodule(head).register_forward_pre_hook(lambda _, args: given.append(args[0]))
    try:
        logits = model(images)
    finally:
        watch.remove()
    features = given[0].float()
    if features.ndim == 4:
        features = features.mean(dim=(2, 3))
    return logits, features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)


def load_run(
    run: Run, *, device_name: str = "auto", precision: Literal["auto", "fp32", "bf16"] | None = None
) -> Network:
    """Return the network of a finished run on a device.

    Args:
        run: A finished run.
        device_name: Where to compute.
        precision: `fp32`, `bf16`, or `auto` for what the device does best; None: the run's own, in which its
            predictions were made.

    Raises:
        RunError: If its weights are missing or damaged.
        ConfigError: If the device is not there.
    """
    recipe = Recipe.model_validate(run.card["recipe"])
    image_px, canvas_px = get_arch(run.arch).sides_px(recipe.image_px, recipe.canvas_px)
    torch_device = choose_device(device_name)
    tune(torch_device)
    device = Device(torch_device, resolve_precision(precision or recipe.precision, torch_device))
    model = load_network(run).to(torch_device)
    return Network(
        model,
        run.classes,
        image_px,
        canvas_px,
        recipe.fill,
        recipe.eval_view,
        device,
        head_path(get_arch(run.arch), recipe.head),
        framing=_framing(run, image_px, canvas_px),
    )


def _framing(run: Run, image_px: int, canvas_px: int) -> Framing:
    nucleus_px = run.card["data"].get("nucleus_px")
    return by_nucleus(nucleus_px, image_px=image_px, canvas_px=canvas_px) if nucleus_px else SQUARE


def load_network(run: Run) -> nn.Module:
    """Return the network of a finished run, in evaluation mode, on the CPU.

    Raises:
        RunError: If its weights are missing or damaged.
    """
    path = run.verified(MODEL)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read: {error}; expected the weights that training writes"
        ) from error
    recipe = Recipe.model_validate(run.card["recipe"])
    model = load_state(
        run.arch, len(run.classes), state, head=recipe.head, instance_norm=recipe.instance_norm
    )
    return model.eval()
