"""One cell as a patch of optical density: body, granules, nucleus, granules on top."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hemoscope.data.synthetic.morphology import Cytoplasm, Kind, Nucleus
from hemoscope.data.synthetic.shapes import Mask, as_mask, blur, body_mask, fill, nucleus_mask, outline
from hemoscope.data.synthetic.texture import Density, grain, granule_mask, mix, pick_density

__all__ = ["Patch", "render_cell"]


@dataclass(frozen=True, slots=True)
class Patch:
    """A drawn cell on its own.

    Attributes:
        density: Optical density, shape (S, S, 3).
        body: Where the cell is, shape (S, S), in [0, 1].
        radius: Its mean radius in px.
    """

    density: Density
    body: Mask
    radius: float


def render_cell(kind: Kind, *, scale: float, rng: np.random.Generator) -> Patch:
    """Draw one cell of a kind at `scale` px to one px of the reference field."""
    radius = rng.uniform(*kind.diameter_px) / 2 * scale
    side = 2 * math.ceil(radius * 1.45) + 3
    body = _body(rng, kind, side=side, radius=radius)
    paint = _cytoplasm(rng, kind.cytoplasm, body, scale=scale)
    nucleus = np.zeros_like(body)
    if kind.nucleus is not None:
        nucleus = nucleus_mask(rng, kind.nucleus, side=side, radius=radius)
        nucleus = np.minimum(nucleus, np.clip(blur(body, 2 * scale) * 2 - 0.9, 0, 1))
    # Close to the nucleus and at the very margin there are fewer granules.
    inside = np.clip(blur(body, 2 * scale) * 1.6 - 0.6, 0, 1)
    for granules in kind.granules:
        if not granules.hides_nucleus:
            spots = granule_mask(rng, granules, inside * (1 - nucleus), scale=scale)
            paint = mix(paint, pick_density(rng, granules.colours), spots * body)
    paint = _vacuoles(rng, kind.cytoplasm, paint, inside * (1 - nucleus), scale=scale)
    if kind.nucleus is not None:
        chromatin = _chromatin(rng, kind.nucleus, nucleus, scale=scale)
        paint = mix(paint, chromatin, nucleus)
    for granules in kind.granules:
        if granules.hides_nucleus:
            spots = granule_mask(rng, granules, body, scale=scale)
            body = np.maximum(body, spots)
            paint = mix(paint, pick_density(rng, granules.colours), spots)
    return Patch(density=paint * body[..., None], body=body, radius=radius)


def _body(rng: np.random.Generator, kind: Kind, *, side: int, radius: float) -> Mask:
    low, high = kind.cytoplasm.ragged
    points = outline(
        rng,
        radius,
        stretch=rng.uniform(*kind.stretch),
        bulge=rng.uniform(*kind.cytoplasm.bulge),
        ragged=low + (high - low) * rng.random() ** 2,  # most cells have a smooth margin
    )
    return body_mask(side, points)


def _cytoplasm(rng: np.random.Generator, cytoplasm: Cytoplasm, body: Mask, *, scale: float) -> Density:
    colour = pick_density(rng, cytoplasm.colours)
    fine = grain(rng, body.shape, 2.5 * scale)
    coarse = grain(rng, body.shape, 14 * scale)
    margin = np.clip(body - blur(body, 2.2 * scale), 0, 1)
    depth = np.clip(1 + cytoplasm.mottle * (0.45 * fine + 0.35 * coarse), 0.25, 2.5) + 0.7 * margin
    return (depth[..., None] * colour).astype(np.float32, copy=False)


def _chromatin(rng: np.random.Generator, nucleus: Nucleus, mask: Mask, *, scale: float) -> Density:
    """Paint condensed and open chromatin, a dark membrane, and nucleoli."""
    clumps = grain(rng, mask.shape, rng.uniform(*nucleus.clump_px) * scale)
    clumps = 0.8 * clumps + 0.6 * grain(rng, mask.shape, 2.2 * scale)
    threshold = np.quantile(clumps, 1 - rng.uniform(*nucleus.openness))
    opened = 1 / (1 + np.exp(-3.0 * (clumps - threshold)))
    if nucleus.form == "folded":
        # Folds show as winding lines where the nucleus lies double.
        opened *= 1 - np.exp(-((grain(rng, mask.shape, 24 * scale) / 0.14) ** 2))
    membrane = np.clip(mask - blur(mask, 2.0 * scale), 0, 1) * 2
    opened = np.clip(opened - membrane, 0, 1).astype(np.float32)
    dark, light = pick_density(rng, nucleus.dark), pick_density(rng, nucleus.light)
    paint = mix(np.broadcast_to(dark, (*mask.shape, 3)), light, opened)
    for _ in range(rng.integers(nucleus.nucleoli[0], nucleus.nucleoli[1] + 1)):
        paint = mix(paint, light * np.float32(0.9), _spot(rng, mask, (5, 9), scale=scale) * np.float32(0.75))
    return paint


def _vacuoles(
    rng: np.random.Generator, cytoplasm: Cytoplasm, paint: Density, where: Mask, *, scale: float
) -> Density:
    for _ in range(rng.integers(cytoplasm.vacuoles[0], cytoplasm.vacuoles[1] + 1)):
        hole = _spot(rng, where, (2.0, 5.0), scale=scale)
        paint = mix(paint, paint * np.float32(0.25), hole)
    return paint


def _spot(rng: np.random.Generator, where: Mask, radius_px: tuple[float, float], *, scale: float) -> Mask:
    """Return the mask of one soft round spot somewhere in `where`; empty where there is no room."""
    canvas = np.zeros(where.shape, np.uint8)
    room = np.flatnonzero(where > 0.9)
    if room.size:
        y, x = np.divmod(rng.choice(room), where.shape[1])
        middle = (where.shape[0] - 1) / 2
        points = outline(rng, rng.uniform(*radius_px) * scale, stretch=rng.uniform(1, 1.3), bulge=0.05)
        fill(canvas, points + np.array([x - middle, y - middle]))
    return blur(as_mask(canvas), 0.8 * scale)
