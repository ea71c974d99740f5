"""`data.images.frame` as arithmetic that any runtime does alike: whole numbers in float64, in Pillow's order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.onnx.operators import shape_as_tensor

__all__ = ["framed"]


def framed(pixels: Tensor, side_px: int, *, view_px: float) -> Tensor:
    """Return the middle of images on white, resized, as `data.images.frame.framed` does.

    Args:
        pixels: Whole numbers from 0 to 255, float64, shape (N, 3, H, W).
        side_px: Side of the result.
        view_px: Side of the square in view, in pixels of the image.

    Returns:
        float32, shape (N, 3, side_px, side_px).
    """
    shape = shape_as_tensor(pixels).double()  # sizes stay dynamic in the graph
    white = _white(pixels)  # (N, 3, 1, 1)
    rows, columns = _span(shape[2:3], side_px, view_px), _span(shape[3:4], side_px, view_px)
    outside = torch.stack([*_out(rows, shape[2:3]), *_out(columns, shape[3:4])])
    pad = outside.max().clamp_min(0.0).ceil() + -(-view_px // side_px) + 1
    across, beside = _weights(columns, shape[3:4], pad, side_px, pixels_first=True)
    wide = _to_bytes(torch.matmul(pixels, across) + beside * white)  # (N, 3, H, S)
    down, above = _weights(rows, shape[2:3], pad, side_px, pixels_first=False)
    seen = _to_bytes(torch.matmul(down, wide) + above * white)  # (N, 3, S, S)
    halves = ((seen + 1) * 510 / (white + 1)).floor()
    return ((halves + 1) / 2).floor().clamp_max(255).float()


def _white(pixels: Tensor) -> Tensor:
    flat = pixels.flatten(2).float()  # (N, 3, H * W)
    n = shape_as_tensor(flat)[2:3]
    wanted = torch.div(n * 95 + 99, 100, rounding_mode="floor") - 1
    ordered = flat.sort(dim=2).values
    return ordered.index_select(2, wanted).double()[..., None]


def _span(length: Tensor, side_px: int, view_px: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return first, last, start and stop of `data.images.frame.Span`, each of shape (1,)."""
    step = view_px / side_px
    begin = (length - view_px) / 2
    reach = max(1.0, step)
    first = ((-reach - begin) / step - 0.5).floor().clamp_min(0.0)
    last = ((length + reach - begin) / step + 0.5).ceil().clamp_max(float(side_px))
    return first, last, begin + first * step, begin + last * step


def _out(span: tuple[Tensor, Tensor, Tensor, Tensor], length: Tensor) -> tuple[Tensor, Tensor]:
    return -span[2], span[3] - length


def _weights(
    span: tuple[Tensor, Tensor, Tensor, Tensor],
    length: Tensor,
    pad: Tensor,
    side_px: int,
    *,
    pixels_first: bool,
) -> tuple[Tensor, Tensor]:
    """Return Pillow's triangle filter as 22-bit fractions, and how much of it falls outside of the image.

    Shapes (side_px, length) and (side_px, 1), or with `pixels_first` (length, side_px) and (1, side_px): made so, as
    older runtimes have no product with a transposed matrix in float64.
    """
    first, last, start, stop = span
    pixel, place = (0, 1) if pixels_first else (1, 0)
    start, stop = (start + pad).float().double(), (stop + pad).float().double()  # Pillow's box is float32
    scale = (stop - start) / (last - first)
    support = scale.clamp_min(1.0)
    centre = start + (torch.arange(side_px, dtype=torch.float64) - first + 0.5) * scale  # among padded pixels
    count = (length + 2 * pad)[0]
    where = torch.arange(count, dtype=torch.float64)  # type: ignore[call-overload]
    away = where.unsqueeze(place) - centre.unsqueeze(pixel) + 0.5
    weights = (1 - (away * (1 / support)).abs()).clamp_min(0.0)
    sums = weights.sum(dim=pixel, keepdim=True)
    weights = weights / torch.where(sums > 0, sums, torch.ones_like(sums))
    weights = (weights * 2**22 + 0.5).floor() / 2**22
    inside = ((where >= pad) & (where < pad + length)).unsqueeze(place)
    outside = torch.where(inside, torch.zeros_like(weights), weights).sum(dim=pixel, keepdim=True)
    outside = torch.where(sums > 0, outside, torch.ones_like(outside))  # far from the image all is white
    pixels = torch.arange(length[0])  # type: ignore[call-overload]
    return weights.index_select(pixel, (pixels + pad).long()), outside


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)
