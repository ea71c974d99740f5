"""Corruptions of scale: coarser pixels, a JPEG file, a smaller or a larger cell."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["jpeg", "pixelate", "resize_cell"]


def pixelate(images: Tensor, along_shorter: float) -> Tensor:
    """Return the images, shape (N, 3, H, W), with so many pixels along the shorter side; a coarser one as it is."""
    height, width = images.shape[2:]
    share = min(1.0, along_shorter / min(height, width))
    coarse = functional.interpolate(images, (_of(height, share), _of(width, share)), mode="area")
    return functional.interpolate(coarse, (height, width), mode="nearest-exact")


def resize_cell(images: Tensor, factor: float) -> Tensor:
    """Return the images at the same size with what they show `factor` times as large.

    A smaller one is mirrored at its border, a larger one cut to its middle.
    """
    height, width = images.shape[2:]
    if factor >= 1:
        part = _of(height, 1 / factor), _of(width, 1 / factor)
        top, left = (height - part[0]) // 2, (width - part[1]) // 2
        middle = images[:, :, top : top + part[0], left : left + part[1]]
        return functional.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
    size = _of(height, factor), _of(width, factor)
    small = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    border = (left, width - size[1] - left, top, height - size[0] - top)
    mode = "reflect" if max(border) < min(size) else "replicate"
    return functional.pad(small, border, mode=mode)


def jpeg(images: Tensor, quality: float) -> Tensor:
    """Return the images after a JPEG file of that quality, made and read by OpenCV on the CPU, one by one."""
    pixels = images.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = np.empty_like(pixels)
    for image, target in zip(pixels, read, strict=True):
        _, file = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        target[:] = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[:, :, ::-1]
    return torch.from_numpy(read).to(images.device).permute(0, 3, 1, 2).to(images.dtype) / 255


def _of(side: int, share: float) -> int:
    return max(1, round(side * share))
