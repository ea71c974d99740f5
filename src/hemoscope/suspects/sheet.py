"""A contact sheet: small pictures in rows, each with its number and what is said of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hemoscope.report.figure_style import picture_font
from hemoscope.report.montage import THUMB_PX

__all__ = ["Tile", "contact_sheet"]

COLUMNS = 8
LINE_PX, MARGIN_PX = 15, 6
FONT_PX = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet: the image, and lines below it."""

    path: str
    lines: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile], pixels: Mapping[str, NDArray[np.uint8]]) -> bytes:
    """Return a PNG file of tiles in the order given, eight a row; one without pixels stays empty.

    Args:
        tiles: At least one.
        pixels: Of the images that could be read, shape (H, W, 3), by path.
    """
    n_lines = max(len(tile.lines) for tile in tiles)
    width, height = THUMB_PX + 2 * MARGIN_PX, THUMB_PX + 2 * MARGIN_PX + n_lines * LINE_PX
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    font = picture_font(FONT_PX)
    for place, tile in enumerate(tiles):
        left = place % columns * width + MARGIN_PX
        top = place // columns * height + MARGIN_PX
        if (found := pixels.get(tile.path)) is not None:
            image = Image.fromarray(found)
            image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
            sheet.paste(image, (left, top))
        else:
            draw.rectangle((left, top, left + THUMB_PX, top + THUMB_PX), outline="grey")
        for line, text in enumerate(tile.lines):
            draw.text((left, top + THUMB_PX + line * LINE_PX), _fitting(text, font), "black", font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _fitting(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Return as much of a text as is no wider than a picture."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    if font.getlength(shown) <= THUMB_PX:
        return shown
    while shown and font.getlength(f"{shown}…") > THUMB_PX:
        shown = shown[:-1]
    return f"{shown}…"
