"""Two pictures: what every corruption looks like on one cell of the data, and errors against severity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hemoscope.report.figure_style import BLUE, GREY, INK, PALE, VERMILION, new_figure, picture_font, style
from hemoscope.stress.corruptions import corrupt
from hemoscope.stress.result import Example, Stressed, errors_of
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["errors_figure", "sheet"]

_TILE_PX, _GAP_PX, _LABEL_PX = 96, 2, 112
_LINES = (INK, BLUE, VERMILION, GREY)
_MOST_NAMED = 12
_COLUMNS = 4


def sheet(example: Example, *, seed: int) -> NDArray[np.uint8]:
    """Return every corruption at every severity, two in a row, and below the background tests, shape (H, W, 3)."""
    batch = torch.from_numpy(example.pixels).permute(2, 0, 1)[None]
    strips = [
        _strip(
            corruption.name,
            [
                corrupt(batch, corruption.name, severity, [example.content], seed=seed)[0]
                .permute(1, 2, 0)
                .numpy()
                for severity in SEVERITIES
            ],
        )
        for corruption in CORRUPTIONS
    ]
    half = -(-len(strips) // 2)
    columns = [np.concatenate(strips[:half]), np.concatenate(strips[half:])]
    columns[1] = np.pad(
        columns[1], ((0, len(columns[0]) - len(columns[1])), (0, 0), (0, 0)), constant_values=255
    )
    upper = np.concatenate(columns, axis=1)
    parts = [_captioned("clean", example.pixels), *(_captioned(*item) for item in example.tests.items())]
    lower = np.concatenate(parts, axis=1)
    lower = np.pad(lower, ((0, 0), (0, upper.shape[1] - lower.shape[1]), (0, 0)), constant_values=255)
    return np.concatenate([upper, lower])


def errors_figure(found: Stressed) -> Figure:
    """Return a panel a corruption: share of wrong answers against severity, 0 being clean, a line a network."""
    rows = -(-len(CORRUPTIONS) // _COLUMNS)
    with style():
        figure = new_figure(width_in=7.2, height_in=0.5 + 1.35 * rows)
        grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for i, subject in enumerate(found.subjects):
            errors, clean = errors_of(found, subject)
            dashed = i == found.reference and len(found.subjects) > 1
            for axes, corruption, values in zip(grid.flat, CORRUPTIONS, errors, strict=False):
                axes.plot(
                    (0, *SEVERITIES),
                    100 * np.array([clean, *values]),
                    color=_LINES[i % len(_LINES)],
                    linestyle="--" if dashed else "-",
                    linewidth=1.1,
                    label=subject.name if corruption is CORRUPTIONS[0] and i < _MOST_NAMED else None,
                )
                axes.set_title(corruption.name, pad=2)
                axes.grid(color=PALE, linewidth=0.5)
        chance = 100 * (1 - np.bincount(found.target).max() / len(found.target))
        for axes in grid.flat:
            axes.axhline(chance, color=GREY, linewidth=0.5, linestyle=":")
            axes.set(xticks=(0, *SEVERITIES), ylim=(0, 100))
        figure.supxlabel("Severity (0: clean)", fontsize=8)
        figure.supylabel(
            f"Wrong answers, % of {len(found.target):,} images (dotted: always the same answer)", fontsize=8
        )
        figure.legend(
            loc="outside upper center", ncols=min(3, len(found.subjects)), frameon=False, fontsize=7
        )
    return figure


def _strip(name: str, images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    label = _text(name, _LABEL_PX, _TILE_PX + _GAP_PX)
    return np.concatenate([label, *(_tile(image) for image in images)], axis=1)


def _captioned(name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = _TILE_PX + _LABEL_PX // 3
    tile = np.pad(_tile(image), ((0, 0), (0, width - _TILE_PX - _GAP_PX), (0, 0)), constant_values=255)
    return np.concatenate([_text(name, width, 20), tile])


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image's middle square, small, with a white line at two sides."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    way = cv2.INTER_AREA if side >= _TILE_PX else cv2.INTER_NEAREST
    small = cv2.resize(square, (_TILE_PX, _TILE_PX), interpolation=way)
    return np.pad(np.asarray(small, np.uint8), ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255)


def _text(text: str, width_px: int, height_px: int) -> NDArray[np.uint8]:
    canvas = Image.new("RGB", (width_px, height_px), "white")
    font = picture_font(11)
    ImageDraw.Draw(canvas).text((4, math.floor(height_px / 2)), text, "black", font, anchor="lm")
    return np.asarray(canvas)
