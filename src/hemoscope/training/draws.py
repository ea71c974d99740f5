"""What chance decides in one epoch: the order, a warp an image, the seed of dropout. From (seed, epoch) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hemoscope.data.augment import Augmentation, draw_affine, scaled
from hemoscope.records import FloatArray, IntArray
from hemoscope.training.recipe import Recipe

__all__ = ["EpochDraws", "class_weights", "draw_epoch", "epoch_size"]


@dataclass(frozen=True, slots=True, eq=False)
class EpochDraws:
    """The draws of one epoch of n images.

    Attributes:
        order: Rows of the training side, shape (n,).
        matrices: One warp an image, in that order, shape (n, 2, 3).
        sizes: Images of every step, shape (steps,).
        torch_seed: Of what torch draws itself.
    """

    order: IntArray
    matrices: FloatArray
    sizes: IntArray
    torch_seed: int


def draw_epoch(
    target: IntArray, recipe: Recipe, *, seed: int, epoch: int, canvas_px: int, image_px: int
) -> EpochDraws:
    """Draw one epoch.

    Args:
        target: True classes of the training side, shape (N,).
        recipe: Sampler, augmentation and batch size.
        seed: Of the run.
        epoch: Counted from 1.
        canvas_px: Side of the canvas.
        image_px: Side of the network's input.
    """
    rng = np.random.default_rng([seed, epoch])
    n = epoch_size(len(target), recipe.batch_size)
    order = _order(target, rng, recipe.sampler)[:n]
    augmentation = Augmentation(recipe.rotation_deg, recipe.hflip, recipe.vflip, recipe.crop, recipe.zoom)
    matrices = draw_affine(n, rng, canvas_px=canvas_px, image_px=image_px, augmentation=augmentation)
    if small_px := recipe.small_at(epoch):
        matrices = scaled(matrices, image_px / small_px)
    sizes = np.diff([*range(0, n, recipe.batch_size), n])
    return EpochDraws(order, matrices, sizes, int(rng.integers(2**63)))


def epoch_size(n: int, batch_size: int) -> int:
    """Return how many of n images an epoch sees: batch normalisation cannot learn from a batch of one."""
    return n - (n % batch_size == 1)


def class_weights(target: IntArray, n_classes: int) -> Tensor:
    """Return the weight of every class in the loss, shape (C,): as if all had the same number of images."""
    counts = np.bincount(target, minlength=n_classes)
    return torch.tensor(len(target) / (len(counts) * counts), dtype=torch.float32)


def _order(target: IntArray, rng: np.random.Generator, sampler: str) -> IntArray:
    if sampler == "shuffle":
        return rng.permutation(len(target))
    share = 1.0 / np.bincount(target)[target]  # every class is drawn equally often
    return rng.choice(len(target), size=len(target), p=share / share.sum())
