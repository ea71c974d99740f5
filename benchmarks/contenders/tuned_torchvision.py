"""Peer (d): what a good engineer makes of the plain script, still torchvision's network and the same recipe.

Every image is decoded and resized once and kept as bytes; one warp by OpenCV does flips, rotation and
crop; channels-last, fused SGD, one thread a core, bf16 by autocast where that is asked for.
Usage: python tuned_torchvision.py DATA ARCH BATCHES PRECISION
"""

import math
import os
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from plain import DEVICE, MEAN, STD, WARM_UP, arguments, is_image, network, sides_px, train
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder

CORES = len(os.sched_getaffinity(0))
MEAN_255, SCALE = torch.tensor(MEAN) * 255, 1 / (torch.tensor(STD) * 255)


def main() -> None:
    """Train; print images per second."""
    root, arch, n_batches = arguments()
    torch.set_num_threads(CORES)
    image_px, canvas_px = sides_px(arch)
    resize = transforms.Compose([transforms.Resize(canvas_px), transforms.CenterCrop(canvas_px), np.asarray])
    folder = ImageFolder(str(root), resize, is_valid_file=is_image)
    pixels = np.stack([image for image, _ in folder])  # (N, S, S, 3)
    target = torch.tensor(folder.targets)
    model = network(arch, len(folder.classes)).to(memory_format=torch.channels_last)
    loader = batches(pixels, target, n_batches + WARM_UP + 1, image_px)
    train(model, loader, n_batches, fused=True, precision=sys.argv[4])


def batches(pixels: np.ndarray, target: Tensor, n: int, image_px: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of 32 random images, flipped, rotated by up to 60 degrees and cut from the centre."""
    rng = np.random.default_rng(0)
    middle, shift = (pixels.shape[1] - 1) / 2, (image_px - 1) / 2
    for _ in range(n):
        rows = rng.integers(len(pixels), size=32)
        out = np.empty((32, image_px, image_px, 3), np.uint8)
        for image, row in zip(out, rows, strict=True):
            angle = math.radians(rng.uniform(-60, 60))
            flip_x, flip_y = rng.choice((-1, 1), size=2)
            linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            linear *= (flip_x, flip_y)
            offset = middle - linear.sum(axis=1) * shift
            matrix = np.column_stack([linear, offset])  # from the output's pixels to the image's
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(pixels[row], matrix, (image_px, image_px), dst=image, flags=flags)
        images = torch.from_numpy(out).to(DEVICE, torch.float32, non_blocking=True)
        images = images.sub_(MEAN_255.to(DEVICE)).mul_(SCALE.to(DEVICE))
        yield images.permute(0, 3, 1, 2), target[rows]  # channels-last as it lies


if __name__ == "__main__":
    main()
