"""Peer (b): timm's dataset and loader before the same network, in inference mode."""

# pyright: reportMissingImports=false
# Its libraries are in the group `bench`, which the checks do without.

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from plain import DEVICE, MEAN, STD, UNTOLD, arguments, network, sides_px
from prediction import files_of, report, write_csv
from timm.data.dataset import ImageDataset
from timm.data.loader import create_loader
from torch import Tensor


class Reader:
    """The files as timm's dataset wants them."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __getitem__(self, row: int) -> tuple[object, int]:
        return self.paths[row].open("rb"), 0

    def __len__(self) -> int:
        return len(self.paths)


def main() -> None:
    """Predict all files; print images per second."""
    root, arch, times = arguments()
    model = network(arch, 8).eval()
    image_px, canvas_px = sides_px(arch)

    def probs(paths: list[Path]) -> Iterator[Tensor]:
        loader = create_loader(
            ImageDataset("", reader=Reader(paths)),
            input_size=(3, image_px, image_px),
            batch_size=32,
            use_prefetcher=False,
            interpolation="bilinear",
            crop_pct=image_px / canvas_px,
            mean=MEAN,
            std=STD,
            num_workers=len(os.sched_getaffinity(0)),
        )
        with torch.inference_mode():
            for images, _ in loader:
                yield model(images.to(DEVICE)).softmax(1).cpu()

    report(lambda paths: write_csv(paths, probs(paths)), files_of(root, times), precision=UNTOLD)


if __name__ == "__main__":
    main()
