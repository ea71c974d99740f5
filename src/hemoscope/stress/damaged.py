"""Images under every corruption at every severity, those of one size at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.stress.corruptions import corrupt
from hemoscope.stress.result import Condition
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES

__all__ = ["DAMAGED", "damaged"]

DAMAGED: tuple[Condition, ...] = tuple(
    (corruption.name, severity) for corruption in CORRUPTIONS for severity in SEVERITIES
)
"""Every corruption at every severity."""


def damaged(
    pixels: Sequence[NDArray[np.uint8]],
    condition: Condition,
    contents: Sequence[str],
    *,
    seed: int,
    device: torch.device,
) -> list[NDArray[np.uint8]]:
    """Return images damaged.

    Args:
        pixels: Of each, shape (H, W, 3).
        condition: One of `DAMAGED`.
        contents: What tells each image from others; see `corrupt`.
        seed: Of what is drawn.
        device: Where to compute.
    """
    found: list[NDArray[np.uint8]] = [*pixels]
    order = sorted(range(len(pixels)), key=lambda i: pixels[i].shape)
    for _, alike in groupby(order, key=lambda i: pixels[i].shape):
        places = list(alike)
        batch = torch.from_numpy(np.stack([pixels[i] for i in places])).permute(0, 3, 1, 2).to(device)
        changed = corrupt(batch, *condition, [contents[i] for i in places], seed=seed)
        for i, image in zip(places, changed.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
            found[i] = np.ascontiguousarray(image)
    return found
