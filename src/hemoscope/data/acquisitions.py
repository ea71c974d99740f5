"""Images that were taken otherwise than the rest of their set, told by their background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hemoscope.records import CellImage

__all__ = ["second_acquisition"]

_TONE_GAP = 15
_TONE_SPREADS = 2
_TONE_IMAGES = 5


def second_acquisition(images: Sequence[CellImage]) -> tuple[CellImage, ...]:
    """Return the images of the rarer of two background tones; none where there is one tone.

    The tone is the background's blue minus its red. Two tones are two groups of at least 5 images
    with a gap between them of at least 15 grey levels, and of at least twice the larger standard
    deviation inside a group; where several gaps would do, the one with the largest rarer group
    counts. A tone is compared with the others of its set and with no fixed colour, so another
    lab's stain is no finding by itself.

    Source:
        Found by looking at all backgrounds of the complete PBC set: -55 to -33 for the 16,639
        images of 360 x 363 px (cream), -5 to 3 for the other 453 (grey-blue). The gap is 28 levels,
        standard deviations are about 1, so the threshold of 15 has a margin of 13; sizes were not
        used to find the groups and agree with them in every image.
    """
    tones = np.array([image.background[2] - image.background[0] for image in images], dtype=np.int64)
    order = np.sort(tones)
    best: tuple[int, bool, int] | None = None  # (images, is the upper group, first tone of the upper)
    for cut in np.flatnonzero(np.diff(order) >= _TONE_GAP) + 1:
        low, high = order[:cut], order[cut:]
        rare = min(len(low), len(high))
        spread = max(float(low.std()), float(high.std()))
        apart = order[cut] - order[cut - 1] >= _TONE_SPREADS * spread
        if rare >= _TONE_IMAGES and apart and (best is None or rare > best[0]):
            best = rare, len(high) == rare, int(order[cut])
    if best is None:
        return ()
    _, is_upper, first = best
    return tuple(image for image, tone in zip(images, tones, strict=True) if (int(tone) >= first) == is_upper)
