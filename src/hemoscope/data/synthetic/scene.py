"""A cell among red cells under a camera: layers of density, then light, lens and sensor."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.synthetic.cell import Patch, render_cell
from hemoscope.data.synthetic.kinds import KINDS, kinds_of
from hemoscope.data.synthetic.morphology import FIELD_PX, PAPER_WHITE, RED_CELL, Kind
from hemoscope.data.synthetic.shapes import as_mask, blur, fill, outline
from hemoscope.data.synthetic.texture import Density, grain, pick_density
from hemoscope.errors import ConfigError

__all__ = ["SIZE_LIMITS_PX", "draw_cell", "draw_kind", "draw_with_mask"]

SIZE_LIMITS_PX = (32, 1024)
_PLATELET = next(kind for kind in KINDS if kind.prefix == "PLATELET")
_NEIGHBOURS = tuple(kind for kind in KINDS if kind.prefix in {"SNE", "LY", "MO", "EO"})


def draw_cell(class_name: str, *, size_px: int = 360, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one cell of a class in the middle of a field of red cells.

    The field is as wide a piece of smear at every size: a smaller image is a coarser one, though not of
    the same cells.

    Args:
        class_name: One of the eight classes.
        size_px: Side of the square image, 32 to 1024.
        rng: Where all the chance comes from; equal states give equal images.

    Returns:
        RGB, shape (size_px, size_px, 3).

    Raises:
        UnknownNameError: If there is no such class.
        ConfigError: If the size is out of range.
    """
    return draw_with_mask(class_name, size_px=size_px, rng=rng)[0]


def draw_with_mask(
    class_name: str, *, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one cell and say where it is: image, shape (S, S, 3), and mask, shape (S, S); see `draw_cell`."""
    kinds = kinds_of(class_name)
    return _draw(kinds[rng.integers(len(kinds))], size_px=size_px, rng=rng)


def draw_kind(kind: Kind, *, size_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one cell of a subtype; see `draw_cell`."""
    return _draw(kind, size_px=size_px, rng=rng)[0]


def _draw(
    kind: Kind, *, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    if not SIZE_LIMITS_PX[0] <= size_px <= SIZE_LIMITS_PX[1]:
        low, high = SIZE_LIMITS_PX
        raise ConfigError(f"size_px must lie in [{low}, {high}], got {size_px}; 200 or 360 are usual")
    scale = size_px / FIELD_PX
    centre = size_px / 2 + rng.normal(0, 4 * scale, 2)
    cell = render_cell(kind, scale=scale, rng=rng)
    film = _red_cells(rng, size_px, keep_clear=(*centre, cell.radius))
    _strew_others(rng, film, keep_clear=cell.radius)
    _place(film, cell, centre)
    mask = np.zeros((size_px, size_px), dtype=np.bool_)
    window, part = _overlap(size_px, cell.body.shape[0], centre)
    mask[window] = cell.body[part] > 0.5
    return _photograph(rng, film, scale=scale), mask


def _red_cells(rng: np.random.Generator, size_px: int, *, keep_clear: tuple[float, float, float]) -> Density:
    """Return the film's density, shape (S, S, 3), with red cells that keep mostly off the middle."""
    scale = size_px / FIELD_PX
    film = np.zeros((size_px, size_px), np.float32)
    mean_radius = rng.uniform(35, 45) * scale
    crowding, pallor = rng.uniform(0.62, 1.02), rng.uniform(0.35, 1.0)
    crenated = rng.uniform(0.02, 0.05) if rng.random() < 0.1 else 0.0
    placed: list[tuple[float, float, float]] = []
    wanted = rng.integers(10, 36)
    for _ in range(90):
        if len(placed) >= wanted:
            break
        x, y = rng.uniform(-0.1 * size_px, 1.1 * size_px, 2)
        radius = mean_radius * rng.normal(1, 0.07)
        clear = math.hypot(x - keep_clear[0], y - keep_clear[1]) - keep_clear[2] - radius * 0.85
        tight = any(math.hypot(x - a, y - b) < (radius + r) * crowding for a, b, r in placed)
        if clear < 0 or tight:
            continue
        placed.append((x, y, radius))
        disc = _red_cell(rng, radius, pallor=np.clip(pallor + rng.normal(0, 0.12), 0, 0.9), crenated=crenated)
        _add(film, disc, (x, y))
    return film[..., None] * pick_density(rng, RED_CELL)


def _red_cell(rng: np.random.Generator, radius: float, *, pallor: float, crenated: float) -> Density:
    side = 2 * math.ceil(radius * 1.4) + 3
    stretch, bulge = 1 + abs(rng.normal(0, 0.10)), rng.uniform(0.01, 0.05)
    disc, hollow = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    points = outline(rng, radius, stretch=stretch, bulge=bulge, ragged=0)
    if crenated:
        turn = np.linspace(0, 2 * math.pi, len(points), endpoint=False)
        points *= (1 + crenated * np.cos(turn * rng.integers(9, 15)))[:, None]
    fill(disc, points)
    fill(hollow, points * rng.uniform(0.25, 0.55))
    thick = as_mask(disc)
    hollow_mask = as_mask(hollow)
    dip = 0.7 * blur(hollow_mask, radius * 0.09) + 0.5 * blur(hollow_mask, radius * 0.24)
    rim = blur(thick, radius * 0.12)
    return (
        blur(thick, radius * 0.03)
        * np.maximum(0.66 + 0.40 * rim - pallor * dip, 0)
        * np.float32(rng.normal(1, 0.06))
    )


def _strew_others(rng: np.random.Generator, film: Density, *, keep_clear: float) -> None:
    """Lay stray platelets, and now and then a second white cell at the border, on the film."""
    size_px = film.shape[0]
    scale = size_px / FIELD_PX
    strays = [(_PLATELET, 0.30, 0.49) for _ in range(min(rng.poisson(0.4), 3))]
    if rng.random() < 0.10:
        strays.append((_NEIGHBOURS[rng.integers(len(_NEIGHBOURS))], 0.52, 0.60))
    for kind, near, far in strays:
        angle = rng.uniform(0, 2 * math.pi)
        other = render_cell(kind, scale=scale, rng=rng)
        away = max(rng.uniform(near, far) * size_px * 1.1, keep_clear + other.radius * 1.1)
        centre = size_px / 2 + away * np.array([math.cos(angle), math.sin(angle)])
        _place(film, other, centre)


def _place(film: Density, cell: Patch, centre: NDArray[np.float64]) -> None:
    """Lay a cell over the film in place: it displaces what was there."""
    window, part = _overlap(film.shape[0], cell.body.shape[0], centre)
    film[window] *= 1 - 0.92 * cell.body[part][..., None]
    film[window] += cell.density[part]


def _add(film: Density, patch: Density, centre: tuple[float, float]) -> None:
    window, part = _overlap(film.shape[0], patch.shape[0], np.array(centre))
    below, above = film[window], patch[part]
    film[window] = np.maximum(below, above) + 0.3 * np.minimum(below, above)


def _overlap(
    film_px: int, patch_px: int, centre: NDArray[np.float64]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices (rows, columns) of film and patch that lie on each other."""
    window, part = [], []
    for start in np.round(centre - patch_px / 2).astype(int).tolist()[::-1]:
        low, high = max(start, 0), min(start + patch_px, film_px)
        high = max(low, high)
        window.append(slice(low, high))
        part.append(slice(low - start, high - start))
    return (window[0], window[1]), (part[0], part[1])


def _photograph(rng: np.random.Generator, film: Density, *, scale: float) -> NDArray[np.uint8]:
    """Turn density into an image: stain strength, light, focus, sharpening, sensor noise."""
    size_px = film.shape[0]
    stain = rng.uniform(0.84, 1.16) * rng.normal(1, 0.04, 3)
    light = np.array(PAPER_WHITE) * rng.normal(1, 0.007, 3) * rng.uniform(0.97, 1.0)
    shade = 1 + 0.006 * cv2.resize(grain(rng, (6, 6), 2), (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    image = np.exp(film * -stain.astype(np.float32)) * light.astype(np.float32)
    image *= shade[..., None]
    image = blur(image, rng.uniform(0.5, 1.3) * scale)
    sharp = rng.uniform(0.4, 1.2)
    image += sharp * (image - blur(image, 2.0 * scale))
    noise = blur(rng.standard_normal(image.shape, dtype=np.float32), 0.5) * rng.uniform(1.0, 3.0)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
