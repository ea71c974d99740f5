"""Peer (b): timm's dataset and loader before the same plain step.

timm has no rotation outside its automatic policies, so it does less work an image than the recipe asks.
"""

# pyright: reportMissingImports=false
# Its libraries are in the group `bench`, which the checks do without.

import itertools
import os
from collections.abc import Iterator

from plain import MEAN, STD, arguments, network, sides_px, train
from timm.data.dataset import ImageDataset
from timm.data.loader import create_loader


def main() -> None:
    """Train; print images per second."""
    root, arch, n_batches = arguments()
    data = ImageDataset(str(root))
    image_px, _ = sides_px(arch)
    loader = create_loader(
        data,
        input_size=(3, image_px, image_px),
        batch_size=32,
        is_training=True,
        use_prefetcher=False,
        scale=(0.76, 0.76),  # the central crop's area
        ratio=(1.0, 1.0),
        hflip=0.5,
        vflip=0.5,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
    )
    train(network(arch, 8), over_and_over(loader), n_batches)


def over_and_over(loader: object) -> Iterator:
    """Yield the loader's batches for ever, epoch after epoch."""
    for _ in itertools.count():
        yield from loader  # type: ignore[misc]


if __name__ == "__main__":
    main()
