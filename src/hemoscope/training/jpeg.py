"""What a JPEG file loses, on a batch of images where they are: nothing is encoded, and every image has a quality of its own.

Colours are told from brightness and kept at half the resolution; then each block of 8 by 8 pixels becomes frequencies that
are rounded to multiples of the file's tables, the coarser the lower the quality.

Source:
    ITU-T T.81 (1992), annex K.1 for the tables; ITU-T T.871 (JFIF) for the colours. How a quality scales the tables is
    libjpeg's `jpeg_quality_scaling` and `jpeg_add_quant_table`, how colours are brought back to full size its
    `h2v2_fancy_upsample`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Jpeg"]

BLOCK = 8
OVER_HALF = (
    0.5 + 2**-9
)  # halves go up, whatever the last bits of a sum are: those depend on how many images are summed at once
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


class Jpeg:
    """Does to images what saving and reading them as JPEG files does.

    Args:
        device: Where the images are.
    """

    def __init__(self, device: torch.device) -> None:
        self._base = torch.tensor((_LUMINANCE, _CHROMINANCE), dtype=torch.float32, device=device)
        self._to_ycc = torch.tensor(_TO_YCC, device=device)
        self._to_rgb = torch.tensor(_TO_RGB, device=device)
        at = torch.arange(BLOCK, dtype=torch.float64)
        cosines = (math.pi * (2 * at + 1) * at[:, None] / (2 * BLOCK)).cos()  # (frequency, place)
        cosines[0] /= math.sqrt(2)
        self._dct = (cosines / 2).float().to(device)

    def __call__(self, light: Tensor, quality: Tensor) -> Tensor:
        """Return the images as their files would show them.

        Args:
            light: From 0 to 1, float32, shape (N, 3, H, W).
            quality: From 1 to 100, shape (N,); in whole numbers as libjpeg has it.
        """
        height, width = light.shape[2:]
        wide, high = -width % (2 * BLOCK), -height % (2 * BLOCK)
        values = functional.pad(_whole(255 * light), (0, wide, 0, high), mode="replicate")
        ycc = _whole(torch.einsum("ij,njhw->nihw", self._to_ycc, values))
        tables = self.tables(quality)
        bright = self._rounded(ycc[:, :1] - 128, tables[:, :1])
        colours = self._rounded(functional.avg_pool2d(ycc[:, 1:], 2), tables[:, 1:])
        colours = functional.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
        rgb = torch.einsum("ij,njhw->nihw", self._to_rgb, torch.cat([bright + 128, colours], dim=1))
        return _whole(rgb[:, :, :height, :width]).clamp(0, 255) / 255

    def tables(self, quality: Tensor) -> Tensor:
        """Return the steps of the frequencies at qualities, shape (N,): of brightness and of colours, shape (N, 2, 8, 8)."""
        percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
        return ((self._base * percent[:, None, None, None] + 50) / 100).floor().clamp(1, 255)

    def _rounded(self, planes: Tensor, table: Tensor) -> Tensor:
        """Return planes, shape (N, C, H, W), with their frequencies as multiples of a table, shape (N, 1, 8, 8)."""
        n, c, height, width = planes.shape
        blocks = planes.reshape(n, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
        step = table[:, :, None, None]  # (N, 1, 1, 1, 8, 8)
        kept = _whole(self._dct @ blocks @ self._dct.T / step) * step
        back = self._dct.T @ kept @ self._dct
        return back.transpose(3, 4).reshape(n, c, height, width)


def _whole(values: Tensor) -> Tensor:
    return (values + OVER_HALF).floor()
