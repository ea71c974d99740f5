"""From a recipe to what does an epoch: the objective, the step, and the way that fits the device and the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hemoscope.records import IntArray
from hemoscope.training.batches import Batches
from hemoscope.training.blood import lean
from hemoscope.training.checkpoint import State
from hemoscope.training.device import Device
from hemoscope.training.draws import class_weights, epoch_size
from hemoscope.training.epochs import Clock, DeviceEpochs, Epochs, HostEpochs
from hemoscope.training.looks import Looks
from hemoscope.training.objective import Objective
from hemoscope.training.recipe import Recipe
from hemoscope.training.step import train_step

if TYPE_CHECKING:
    from hemoscope.training.sharing import SharedBatch

__all__ = ["make_epochs"]


def make_epochs(
    recipe: Recipe,
    state: State,
    batches: Batches,
    target: IntArray,
    classes: Sequence[str],
    *,
    clock: Clock,
    device: Device,
    batch: SharedBatch | None,
) -> Epochs:
    """Return what does every step of an epoch.

    Args:
        recipe: How to train.
        state: What changes.
        batches: Where images come from.
        target: Classes of the training side, shape (N,).
        classes: Their names.
        clock: Hears of data and steps.
        device: Where and in which precision.
        batch: What several ranks share, to which the network is adapted; None: one process.
    """
    weights = None
    if recipe.class_weights == "balanced":
        weights = class_weights(target, len(classes)).to(device.torch_device)
    leant = None
    if recipe.in_blood:
        leant = torch.from_numpy(lean(classes, recipe.in_blood)).float().to(device.torch_device)
    options: dict[str, Any] = {
        "class_weights": weights,
        "aux_weight": recipe.aux_weight,
        "label_smoothing": recipe.label_smoothing,
        "lean": leant,
        "mixup": recipe.mixup,
        "device": device.torch_device,
    }
    model, objective = state.model, Objective(**options)
    if batch:
        model, objective = batch.learner(model, device.torch_device), batch.objective(**options)

    looks = Looks(recipe, device.torch_device, batch)

    def step(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        done = train_step(model, state.optimizer, looks(images), target, objective, device=device)
        if state.averaged:
            state.averaged.follow()
        return done

    if batch:
        return batch.epochs(batches, step, mixed=recipe.mixup > 0, batch_size=recipe.batch_size, clock=clock)
    if device.torch_device.type == "cuda":
        n = epoch_size(len(target), recipe.batch_size)
        return DeviceEpochs(batches, step, n=n, batch_size=recipe.batch_size, clock=clock)
    return HostEpochs(batches, step, batch_size=recipe.batch_size, clock=clock)
