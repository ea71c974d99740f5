"""Outlines of cells and nuclei as antialiased masks.

Every mask is float32 in [0, 1] on a square patch whose middle is the cell's middle; lengths are in
px of that patch. Nothing here knows a colour.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.synthetic.morphology import Nucleus

__all__ = ["Mask", "as_mask", "blur", "body_mask", "fill", "nucleus_mask", "outline"]

Mask = NDArray[np.float32]
_SUBPIXEL_BITS = 4

# Of every outline, and there are thirty to an image: made once.
_POINTS = 128
_TURN = np.linspace(0, 2 * math.pi, _POINTS, endpoint=False)  # (128,)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_WAVES = np.arange(2, 7)[:, None]  # (5, 1)
_WAVES_AROUND = _WAVES * _TURN  # (5, 128)


def outline(
    rng: np.random.Generator, radius: float, *, stretch: float, bulge: float, ragged: float = 0.0
) -> NDArray[np.float64]:
    """Return a closed outline around the origin as points, shape (128, 2).

    Args:
        rng: Where the chance comes from.
        radius: Radius of the circle of the same area, about.
        stretch: Long axis over short axis.
        bulge: Amplitude of slow waves around the outline, as a fraction of the radius.
        ragged: Amplitude of point-to-point roughness, as a fraction of the radius.
    """
    weight = rng.normal(size=(5, 1)) * bulge * 2 / _WAVES
    reach = 1 + (weight * np.cos(_WAVES_AROUND + rng.uniform(0, 2 * math.pi, (5, 1)))).sum(0)
    reach += rng.normal(size=_POINTS) * ragged
    axis = math.sqrt(stretch)
    points = np.empty((_POINTS, 2))
    points[:, 0] = _COS * reach * axis
    points[:, 1] = _SIN * reach / axis
    points *= radius
    return points @ _rotation(rng.uniform(0, 2 * math.pi))


def fill(canvas: NDArray[np.uint8], points: NDArray[np.float64], value: int = 255) -> None:
    """Fill a polygon given around the canvas's middle, antialiased, in place."""
    middle = (canvas.shape[0] - 1) / 2
    fixed = np.round((points + middle) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], (value,), cv2.LINE_AA, _SUBPIXEL_BITS)


def as_mask(canvas: NDArray[np.uint8]) -> Mask:
    """Return a drawn canvas, 0 to 255, as a mask in [0, 1]."""
    return (canvas * np.float32(1 / 255)).astype(np.float32, copy=False)


def blur(mask: Mask, sigma: float) -> Mask:
    """Return the mask blurred by a Gaussian; a sigma below a quarter px changes nothing."""
    if sigma < 0.25:
        return mask
    return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.float32, copy=False)


def body_mask(side: int, points: NDArray[np.float64]) -> Mask:
    """Return the mask of a cell's body on a patch of `side` px."""
    canvas = np.zeros((side, side), np.uint8)
    fill(canvas, points)
    return as_mask(canvas)


def nucleus_mask(rng: np.random.Generator, nucleus: Nucleus, *, side: int, radius: float) -> Mask:
    """Return the mask of a nucleus in a cell of the given radius on a patch of `side` px."""
    canvas = np.zeros((side, side), np.uint8)
    size = rng.uniform(*nucleus.size)
    if nucleus.form == "lobes":
        smooth = _draw_lobes(rng, nucleus, canvas, radius=radius, size=size)
    elif nucleus.form == "band":
        smooth = _draw_band(rng, nucleus, canvas, radius=radius, size=size)
    else:
        smooth = _draw_whole(rng, nucleus, canvas, radius=radius, size=size)
    return smooth


def _draw_whole(
    rng: np.random.Generator, nucleus: Nucleus, canvas: NDArray[np.uint8], *, radius: float, size: float
) -> Mask:
    """Draw a round nucleus, or one with an indentation from one side."""
    bulge = {"round": 0.02, "kidney": 0.05, "folded": 0.10}.get(nucleus.form, 0.0)
    stretch = rng.uniform(1.0, 1.12 if nucleus.form == "round" else 1.3)
    away = rng.uniform(0, 2 * math.pi)
    shift = _toward(away) * radius * (1 - size) * rng.uniform(*nucleus.offset)
    fill(canvas, outline(rng, radius * size, stretch=stretch, bulge=bulge) + shift)
    notches = {"round": 0, "kidney": 1, "folded": int(rng.integers(1, 4))}.get(nucleus.form, 0)
    for notch in range(notches):
        # The first notch looks to the wide side of the cytoplasm; further folds are shallower.
        side = away + math.pi + rng.normal(0, 0.4) + notch * rng.uniform(1.4, 2.6)
        depth = rng.uniform(*nucleus.depth) * (1 if notch == 0 else 0.5)
        reach = radius * size * (1.12 - depth * 0.5)
        width = radius * size * rng.uniform(0.18, 0.38) * (1 if notch == 0 else 0.6)
        # A cleft that is narrow at its bottom and opens outward.
        opening = width * (0.8 + 0.7 * np.cos(_RING))
        dent = np.stack([np.cos(_RING) * radius * size * depth * 0.62, np.sin(_RING) * opening], axis=1)
        fill(canvas, dent @ _rotation(-side) + shift + _toward(side) * reach, 0)
    return _smooth(canvas, radius * 0.08)


def _draw_band(
    rng: np.random.Generator, nucleus: Nucleus, canvas: NDArray[np.uint8], *, radius: float, size: float
) -> Mask:
    """Draw a horseshoe, or an S where the second half of the arc turns the other way."""
    span = rng.uniform(*nucleus.depth) * 2 * math.pi
    steps = 40
    bend = np.full(steps, span / steps)
    if rng.random() < 0.12:
        bend[steps // 2 :] *= -0.6
    heading = np.cumsum(bend) + rng.uniform(0, 2 * math.pi)
    arc_length = rng.uniform(1.9, 2.4) * radius
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), axis=0) * arc_length / steps
    path -= (path.min(0) + path.max(0)) / 2
    path *= min(1.0, (0.88 - size) * radius / np.hypot(*path.T).max())
    path += _toward(rng.uniform(0, 2 * math.pi)) * radius * 0.15 * rng.uniform(*nucleus.offset)
    waist = 1 + 0.16 * np.cos(np.linspace(0, rng.uniform(1.5, 3) * 2 * math.pi, steps) + rng.uniform(0, 6))
    for point, width in zip(path, waist, strict=True):
        _disc(canvas, point, radius * size * width)
    return _smooth(canvas, radius * 0.05)


def _draw_lobes(
    rng: np.random.Generator, nucleus: Nucleus, canvas: NDArray[np.uint8], *, radius: float, size: float
) -> Mask:
    """Draw lobes along an arc, joined by thin filaments."""
    n = int(rng.choice(nucleus.lobes))
    long_axis = radius * size * (3 / max(n, 2)) ** 0.45 * (1.12 if n > 2 else 1.0)
    arc = radius * rng.uniform(0.46, 0.56) if n > 2 else radius * rng.uniform(0.36, 0.46)
    turn = rng.uniform(0, 2 * math.pi)
    shift = _toward(rng.uniform(0, 2 * math.pi)) * radius * 0.12 * rng.uniform(*nucleus.offset)
    centres = []
    for _ in range(n):
        axis = long_axis * rng.uniform(0.82, 1.15)
        centre = _toward(turn) * arc * rng.uniform(0.82, 1.12) + shift
        lobe = outline(rng, 1.0, stretch=1.0, bulge=0.06)
        lobe = lobe * (axis * rng.uniform(0.66, 0.95), axis)  # the long axis lies along the arc
        fill(canvas, lobe @ _rotation(-turn + rng.normal(0, 0.35)) + centre)
        centres.append(centre)
        apart = rng.uniform(0.88, 1.12) if n > 2 else rng.uniform(1.0, 1.5)
        turn += min(2 * axis * apart / arc, 5.4 / n if n > 2 else math.pi)
    mask = _smooth(canvas, radius * 0.045)
    threads = np.zeros_like(canvas)
    middle = (canvas.shape[0] - 1) / 2
    for start, end in pairwise(centres):
        ends = [tuple(np.round((p + middle) * 16).astype(int).tolist()) for p in (start, end)]
        width = max(1, round(radius * rng.uniform(0.04, 0.13)))
        cv2.line(threads, ends[0], ends[1], (230,), width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return np.maximum(mask, as_mask(threads))


_RING = np.linspace(0, 2 * math.pi, 32, endpoint=False)


def _smooth(canvas: NDArray[np.uint8], sigma: float) -> Mask:
    """Round every corner: blur, then bring the edge back to about one px."""
    soft = blur(as_mask(canvas), sigma)
    steep = max(1.0, 2.0 * sigma)
    return np.clip((soft - 0.5) * steep + 0.5, 0, 1)


def _disc(canvas: NDArray[np.uint8], centre: NDArray[np.float64], radius: float) -> None:
    middle = (canvas.shape[0] - 1) / 2
    x, y = np.round((centre + middle) * (1 << _SUBPIXEL_BITS)).astype(int).tolist()
    cv2.circle(canvas, (x, y), max(1, round(radius * 16)), (255,), -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _toward(angle: float) -> NDArray[np.float64]:
    return np.array([math.cos(angle), math.sin(angle)])


def _rotation(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])
