"""Batches of images cut from a canvas, normalised, on the device: images travel as uint8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hemoscope.data.augment import Fill, warp, warp_on_device
from hemoscope.data.canvas import Canvas
from hemoscope.models.normalise import Normalise
from hemoscope.records import FloatArray, IntArray

__all__ = ["Batches", "upload"]

_AT_ONCE = 1024  # images on their way to the device
CANVAS_SHARE = 0.5  # of free device memory; the network and its activations need the rest


class Batches:
    """Cuts warped batches from a canvas: gathered and warped on the CPU, or on the device.

    Attributes:
        resident: The whole canvas in device memory, where there is a CUDA device that it fits into.
    """

    def __init__(self, canvas: Canvas, image_px: int, fill: Fill, device: torch.device) -> None:
        self.canvas = canvas
        self.image_px = image_px
        self.fill: Fill = fill
        self.device = device
        self.normalise = Normalise(device)
        self.resident = upload(canvas, device) if _fits(canvas, device) else None

    @contextmanager
    def reduced_to(self, image_px: int) -> Iterator[None]:
        """Cut the same squares with fewer pixels for a while."""
        whole, self.image_px = self.image_px, image_px
        try:
            yield
        finally:
            self.image_px = whole

    def soon(self, rows: IntArray) -> None:
        """Have rows read from the disk that are needed next, unless they lie on the device."""
        if self.resident is None:
            self.canvas.soon(rows)

    def images(self, rows: IntArray, matrices: FloatArray) -> Tensor:
        """Return normalised images, float32, shape (N, 3, image_px, image_px), channels-last."""
        if self.device.type == "cpu":
            pixels = [self.canvas.pixels[row] for row in rows]  # views of the memory map, each (S, S, 3)
            return self.normalise(
                torch.from_numpy(warp(pixels, matrices, image_px=self.image_px, fill=self.fill))
            )
        if self.resident is not None:
            pixels = self.resident.index_select(0, torch.from_numpy(rows).to(self.device))
        else:
            pixels = torch.from_numpy(self.canvas.pixels[rows]).to(self.device)
        where = torch.from_numpy(matrices.astype(np.float32)).to(self.device)
        return self.normalise(warp_on_device(pixels, where, image_px=self.image_px, fill=self.fill))


def upload(canvas: Canvas, device: torch.device) -> Tensor:
    """Return the whole canvas in the memory of a device, uint8, shape (N, S, S, 3)."""
    pixels = torch.empty(canvas.pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        pixels[here] = torch.from_numpy(np.array(canvas.pixels[here]))  # a memory map is read-only
    return pixels


def _fits(canvas: Canvas, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return canvas.pixels.nbytes < CANVAS_SHARE * free
