"""What a network trained again would score on other images: the luck of the seed and the luck of the images, apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import ShapeError

__all__ = ["Spread", "spread_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Accuracy over seeds; all are fractions.

    Attributes:
        mean: Over the seeds.
        sd: Standard deviation of the seeds' accuracies on these images.
        sd_seed: Of what a seed is worth on any images.
        sd_images: Of one training, from one set of so many images to another.
        sd_both: Of another seed on other images.
    """

    mean: float
    sd: float
    sd_seed: float
    sd_images: float
    sd_both: float


def spread_of(right: NDArray[np.bool_]) -> Spread:
    """Take the accuracy of several seeds apart, as a two-way layout of seeds and images without replication.

    Args:
        right: Whether each seed is right on each image, shape (S, N), S and N at least 2.

    Source:
        H. Scheffé, The Analysis of Variance (1959), random effects; an estimate below 0 counts as 0.
    """
    seeds, n = right.shape
    if seeds < 2 or n < 2:
        raise ShapeError(f"expected at least 2 seeds and 2 images; got shape {right.shape}")
    x = right.astype(np.float64)
    by_seed, by_image, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    of_seeds = n * by_seed.var(ddof=1)
    of_images = seeds * by_image.var(ddof=1)
    rest = ((x - by_seed[:, None] - by_image + mean) ** 2).sum() / ((seeds - 1) * (n - 1))
    seed, image = max(0.0, of_seeds - rest) / n, max(0.0, of_images - rest) / seeds
    images = (image + rest) / n
    return Spread(
        float(mean), float(by_seed.std(ddof=1)), seed**0.5, float(images**0.5), float((seed + images) ** 0.5)
    )
