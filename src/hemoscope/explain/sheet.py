"""Pictures of explanations: a cell, its heatmap, and under both what the map is worth."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hemoscope.errors import DataError
from hemoscope.files import atomic_path
from hemoscope.records import FloatArray
from hemoscope.report.figure_style import picture_font

__all__ = ["join", "save_png", "tile"]

TILE_PX, CAPTION_PX = 224, 58
LINE_CHARACTERS = 62
COLUMNS = 3
SAYS, SAYS_NOT = (20, 90, 50), (150, 30, 30)


def tile(image: NDArray[np.uint8], heat: FloatArray, row: Mapping[str, object]) -> NDArray[np.uint8]:
    """Return the cell beside itself under its heatmap, with `row`'s class, probability and verdict below."""
    both = np.concatenate([image, _overlay(image, heat)], axis=1)
    both = cv2.resize(both, (2 * TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    canvas = Image.new("RGB", (2 * TILE_PX, TILE_PX + CAPTION_PX), "white")
    canvas.paste(Image.fromarray(np.asarray(both, np.uint8)))
    draw = ImageDraw.Draw(canvas)
    probability = row["probability"]
    name = f"{row['pred']}, {probability:.3f}" if isinstance(probability, float) else str(row["pred"])
    draw.text((4, TILE_PX + 3), f"{row['file']}  {name}"[:LINE_CHARACTERS], "black", picture_font(14))
    verdict = str(row["verdict"])
    words = "\n".join(textwrap.wrap(verdict, LINE_CHARACTERS))
    colour = SAYS if verdict.startswith("says more") else SAYS_NOT
    draw.multiline_text((4, TILE_PX + 22), words, colour, picture_font(12), spacing=2)
    return np.asarray(canvas)


def join(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return one sheet of tiles of one size, three in a row."""
    columns = min(COLUMNS, len(tiles))
    full = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.concatenate(full[i : i + columns], axis=1) for i in range(0, len(full), columns)]
    return np.concatenate(rows, axis=0)


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG whole or not at all."""
    done, content = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise DataError(f"{path} could not be written as PNG")
    with atomic_path(path) as part:
        part.write_bytes(content.tobytes())


def _overlay(image: NDArray[np.uint8], heat: FloatArray) -> NDArray[np.uint8]:
    """Return the image under its heatmap; cold places stay as they are, shape (S, S, 3)."""
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    strength = 0.75 * heat[:, :, None]
    return (image * (1 - strength) + colours * strength).round().astype(np.uint8)
