"""Flips, rotation and crop as one affine warp on a batch of uint8 images, on any device.

A draw is made of numbers only (one 2x3 matrix an image), from a seeded generator, so that the same
draw gives the same pixels on CPU and GPU to within one grey level. Nothing here reads an image.

Coordinates: pixel centres lie on integers; a matrix maps a point (x, y, 1) of the output to a point
(x, y) of the canvas. Bilinear interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import ShapeError
from hemoscope.records import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Augmentation", "Fill", "View", "draw_affine", "scaled", "view_affine", "warp", "warp_on_device"]

Fill = Literal["black", "edge", "white"]
View = Literal["center_crop", "full_image"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What training may do to an image.

    Attributes:
        rotation_deg: Rotation is uniform in plus or minus this angle about the image's centre.
        hflip: Mirror left and right with probability one half.
        vflip: Mirror top and bottom with probability one half.
        crop: Where the input square is cut from the canvas.
        zoom: Magnification is exp(u), u uniform in plus or minus this.
    """

    rotation_deg: float = 60.0
    hflip: bool = True
    vflip: bool = True
    crop: Literal["center", "random"] = "center"
    zoom: float = 0.0


def draw_affine(
    n: int, rng: np.random.Generator, *, canvas_px: int, image_px: int, augmentation: Augmentation
) -> FloatArray:
    """Draw one matrix an image: flip, then rotate about the centre, then crop.

    The same numbers are drawn whatever is switched off, so that switching one thing off leaves the
    other draws as they were.

    Args:
        n: Images.
        rng: Source of randomness.
        canvas_px: Side of the stored square.
        image_px: Side of the square the network sees, at most `canvas_px`.
        augmentation: What is allowed.

    Returns:
        Matrices from output to canvas, shape (n, 2, 3).

    Raises:
        ShapeError: If the input is larger than the canvas.
    """
    _check_sides(canvas_px, image_px)
    draws = rng.random((n, 5))
    angle = np.deg2rad((2 * draws[:, 0] - 1) * augmentation.rotation_deg)
    flip_x = np.where(augmentation.hflip & (draws[:, 1] < 0.5), -1.0, 1.0)
    flip_y = np.where(augmentation.vflip & (draws[:, 2] < 0.5), -1.0, 1.0)
    if augmentation.crop == "random":
        shift = np.floor(draws[:, 3:5] * (canvas_px - image_px + 1)) - (canvas_px - image_px) / 2
    else:
        shift = np.zeros((n, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    # Backwards, from output to canvas: undo the crop, undo the rotation, undo the flip.
    linear = np.stack(
        [np.stack([flip_x * cos, -flip_x * sin], axis=1), np.stack([flip_y * sin, flip_y * cos], axis=1)],
        axis=1,
    )  # (n, 2, 2)
    centre_out = np.full((n, 2), (image_px - 1) / 2) - shift
    if augmentation.zoom:
        linear = linear / np.exp((2 * rng.random((n, 1, 1)) - 1) * augmentation.zoom)
    offset = (canvas_px - 1) / 2 - np.einsum("nij,nj->ni", linear, centre_out)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def scaled(matrices: FloatArray, factor: float) -> FloatArray:
    """Return matrices that take the same square with `factor` times fewer pixels a side, shape (n, 2, 3).

    The pixels between are passed over and not averaged: fine structure looks coarser than in a smaller photograph.
    """
    linear, offset = matrices[:, :, :2], matrices[:, :, 2]
    corner = np.full(
        2, (factor - 1) / 2
    )  # where the centre of the first small pixel lies among the large ones
    return np.concatenate([factor * linear, (offset + linear @ corner)[:, :, None]], axis=2)


def view_affine(n: int, *, canvas_px: int, image_px: int, view: View) -> FloatArray:
    """Return the fixed matrices of evaluation, shape (n, 2, 3): centre crop, or the whole canvas scaled.

    Raises:
        ShapeError: If the input is larger than the canvas.
    """
    _check_sides(canvas_px, image_px)
    scale = 1.0 if view == "center_crop" else canvas_px / image_px
    offset = (canvas_px - 1) / 2 - scale * (image_px - 1) / 2
    if view == "center_crop":
        # An odd margin must not blur every image by half a pixel; halves go where torchvision's crop begins.
        offset = np.round(offset)
    matrix = np.array([[scale, 0.0, offset], [0.0, scale, offset]])
    return np.tile(matrix, (n, 1, 1))


def warp(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    matrices: FloatArray,
    *,
    image_px: int,
    fill: Fill = "black",
) -> NDArray[np.uint8]:
    """Warp a batch on the CPU with OpenCV.

    Args:
        images: N canvases, each of shape (S, S, 3).
        matrices: From output to canvas, shape (N, 2, 3).
        image_px: Side of the output.
        fill: What lies outside the canvas: black, white, or the nearest edge pixel.

    Returns:
        Images, shape (N, image_px, image_px, 3).
    """
    import cv2

    border = cv2.BORDER_REPLICATE if fill == "edge" else cv2.BORDER_CONSTANT
    outside = (255, 255, 255) if fill == "white" else (0, 0, 0)
    out = np.empty((len(images), image_px, image_px, 3), np.uint8)
    for image, matrix, target in zip(images, matrices, out, strict=True):
        cv2.warpAffine(
            image,
            matrix,
            (image_px, image_px),
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
            borderValue=outside,
        )
    return out


def warp_on_device(images: Tensor, matrices: Tensor, *, image_px: int, fill: Fill = "black") -> Tensor:
    """Warp a batch where it lies, with torch; same pixels as `warp` to within one grey level.

    Args:
        images: Canvases, uint8, shape (N, S, S, 3), any device.
        matrices: From output to canvas, shape (N, 2, 3), same device.
        image_px: Side of the output.
        fill: What lies outside the canvas.

    Returns:
        Images, uint8, shape (N, image_px, image_px, 3).
    """
    import torch
    from torch.nn import functional

    canvas_px = images.shape[1]
    a, b, offset = matrices.to(torch.float32)[:, None, None].unbind(dim=4)  # each (N, 1, 1, 2)
    at = torch.arange(image_px, dtype=torch.float32, device=images.device)
    # No matrix product (as in affine_grid): autocast and TF32 round those to a fraction of a pixel.
    where = a * at[None, None, :, None] + b * at[None, :, None, None] + offset  # (N, S, S, 2), canvas pixels
    # To torch's coordinates, in which -1 and 1 are the outer edges of the first and last pixel.
    grid = (2 * where + 1) / canvas_px - 1
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    warped = functional.grid_sample(
        255 - pixels if fill == "white" else pixels,
        grid,
        mode="bilinear",
        padding_mode="border" if fill == "edge" else "zeros",
        align_corners=False,
    )
    warped = 255 - warped if fill == "white" else warped
    return warped.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _check_sides(canvas_px: int, image_px: int) -> None:
    if not 1 <= image_px <= canvas_px:
        raise ShapeError(f"expected an input of 1 to {canvas_px} px, the canvas' side; got {image_px} px")
