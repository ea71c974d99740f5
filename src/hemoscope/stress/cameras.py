"""Which camera a model would find in a folder of the images of each condition, as `hemoscope predict` looks for it.

A cell made smaller or larger is then framed as it was, and counts as damaged only by what its pixels have lost: so does
the model answer whoever asks it. The background tests hide and move cells of one camera, that of the clean images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.data.camera import LOOKED_AT, evenly
from hemoscope.predict.scorable import Scorable
from hemoscope.progress import Progress
from hemoscope.stress.damaged import DAMAGED, damaged
from hemoscope.stress.grounds import TESTS
from hemoscope.stress.result import CLEAN, Condition
from hemoscope.stress.sample import Sample, blocks_of, load

__all__ = ["Cameras", "cameras_of"]

Cameras = Mapping[Condition, float | None]
"""By condition the diameter of the typical nucleus, in pixels; None where the model frames none."""


def cameras_of(
    what: Scorable, sample: Sample, *, seed: int, device: torch.device, progress: Progress | None = None
) -> Cameras:
    """Return the camera of every condition; of a model that frames no nuclei, without reading an image.

    Args:
        what: Who is asked.
        sample: What it is asked about.
        seed: Of what is drawn.
        device: Where images are damaged.
        progress: Called with (what is done, done, in all).
    """
    some = evenly(sample.images, LOOKED_AT)

    def images(condition: Condition) -> Iterator[NDArray[np.uint8]]:
        for places in blocks_of(some):
            chosen = [some[place] for place in places]
            pixels = load(sample.manifest, chosen)
            yield from (
                pixels
                if condition == CLEAN
                else damaged(pixels, condition, [image.hash for image in chosen], seed=seed, device=device)
            )

    clean = what.seen_px(images(CLEAN))
    found: dict[Condition, float | None] = {CLEAN: clean, **{(name, 0): clean for name in TESTS}}
    for i, condition in enumerate(DAMAGED):
        found[condition] = what.seen_px(images(condition))
        if progress and clean is not None:
            progress("measuring the cameras", i + 1, len(DAMAGED))
    return found
