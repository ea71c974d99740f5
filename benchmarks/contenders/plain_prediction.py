"""Peer (a): a plain torchvision loop from JPEG files to a CSV, in inference mode."""

from collections.abc import Iterator
from pathlib import Path

import torch
from plain import DEVICE, UNTOLD, arguments, network
from prediction import files_of, loader_of, report, write_csv
from torch import Tensor


def main() -> None:
    """Predict all files; print images per second."""
    root, arch, times = arguments()
    model = network(arch, 8).eval()

    def probs(paths: list[Path]) -> Iterator[Tensor]:
        with torch.inference_mode():
            for images in loader_of(paths, arch):
                yield model(images.to(DEVICE)).softmax(1).cpu()

    report(lambda paths: write_csv(paths, probs(paths)), files_of(root, times), precision=UNTOLD)


if __name__ == "__main__":
    main()
