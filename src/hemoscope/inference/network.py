"""A trained network ready to answer: weights, classes and the preprocessing it was evaluated with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hemoscope.data.augment import Fill, View
from hemoscope.errors import RunError
from hemoscope.models.build import load_state
from hemoscope.models.registry import get_arch
from hemoscope.runs import MODEL, Run
from hemoscope.training.device import Device, choose_device, resolve_precision, tune_cpu
from hemoscope.training.recipe import Recipe
from hemoscope.training.step import Normalise

__all__ = ["Network", "load_network", "load_run"]


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
    """

    model: nn.Module
    classes: tuple[str, ...]
    image_px: int
    canvas_px: int
    fill: Fill
    view: View
    device: Device

    def logits(self, images: Tensor) -> Tensor:
        """Return float32 logits, shape (N, C), on the network's device.

        Args:
            images: uint8, shape (N, image_px, image_px, 3), already on the device.
        """
        normalise = Normalise(self.device.torch_device)
        with torch.inference_mode(), self.device.autocast():
            return self.model(normalise(images)).float()


def load_run(
    run: Run, *, device_name: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto"
) -> Network:
    """Return the network of a finished run on a device.

    Args:
        run: A finished run.
        device_name: Where to compute.
        precision: `fp32`, `bf16`, or `auto` for what the device does best.

    Raises:
        RunError: If its weights are missing or damaged.
        ConfigError: If the device is not there.
    """
    recipe = Recipe.model_validate(run.card["recipe"])
    image_px, canvas_px = get_arch(run.arch).sides_px(recipe.image_px, recipe.canvas_px)
    tune_cpu()
    torch_device = choose_device(device_name)
    device = Device(torch_device, resolve_precision(precision, torch_device))
    model = load_network(run).to(torch_device)
    return Network(model, run.classes, image_px, canvas_px, recipe.fill, recipe.eval_view, device)


def load_network(run: Run) -> nn.Module:
    """Return the network of a finished run, in evaluation mode, on the CPU.

    Raises:
        RunError: If its weights are missing or damaged.
    """
    path = run.path / MODEL
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read: {error}; expected the weights that training writes"
        ) from error
    head = Recipe.model_validate(run.card["recipe"]).head
    return load_state(run.arch, len(run.classes), state, head=head).eval()
