"""Explanations on disk: every cell beside its heatmap, one sheet of all, and the figures as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.decode import decode
from hemoscope.errors import DataError, ImageError
from hemoscope.inference.explain import explain_pixels, faithfulness
from hemoscope.inference.inputs import Named
from hemoscope.inference.model import Model
from hemoscope.inference.stream import views_of
from hemoscope.records import FloatArray
from hemoscope.runs import atomic_path, to_text

__all__ = ["explain_to"]

COLUMNS: tuple[str, ...] = (
    "file",
    "path",
    "pred",
    "probability",
    "deletion",
    "random_deletion",
    "insertion",
    "random_insertion",
)
SHEET_COLUMNS, SHEET_MOST = 6, 120
TILE_PX = 224


def explain_to(
    out: Path,
    model: Model,
    images: Sequence[Named],
    *,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, object]]:
    """Write `NNN.png` for every image, `sheet.png` of the first 120, and `explanations.csv`; return its rows.

    An ensemble's heatmap is the mean of its members'; faithfulness is asked of the first member.

    Args:
        out: A folder; absent or empty.
        model: What to ask.
        images: Names and sources.
        seed: Of the random order that a heatmap is compared with.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If the folder holds anything, or images cannot be read; all of them are named.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; choose another --out")
    bad: list[str] = []
    for name, source in images:
        try:
            _pixels(source)
        except ImageError as error:
            bad.append(f"{name}: {error}")
    if bad:
        raise DataError(f"{len(bad)} of {len(images)} images cannot be read:\n  " + "\n  ".join(bad[:20]))
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    tiles: list[NDArray[np.uint8]] = []
    for i, (name, source) in enumerate(images):
        image = _pixels(source)
        (verdict,) = model.judge([image])
        target = np.array([model.card.classes.index(verdict.pred)])
        views = views_of(model.networks, image)
        maps = [
            explain_pixels(network, member.arch, view[None], target)[0]
            for network, member, view in zip(model.networks, model.card.members, views, strict=True)
        ]
        first = views[0]
        heat = np.mean([cv2.resize(m, first.shape[:2]) for m in maps], axis=0)
        faith = faithfulness(model.networks[0], first[None], heat[None], target, rng=rng)
        tile = _beside(first, heat)
        if len(tiles) < SHEET_MOST:
            tiles.append(_small(tile))
        file = f"{i:03d}.png"
        _save(out / file, tile)
        values = (
            file,
            to_text(name),
            verdict.pred,
            float(verdict.probs[target[0]]) if verdict.probs is not None else None,
            *(float(getattr(faith, column)[0]) for column in COLUMNS[4:]),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        if progress:
            progress("explaining", i + 1, len(images))
    if tiles:
        _save(out / "sheet.png", _sheet(tiles))
    with atomic_path(out / "explanations.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    return rows


def overlay(image: NDArray[np.uint8], heat: FloatArray) -> NDArray[np.uint8]:
    """Return the image under its heatmap; cold places stay as they are, shape (S, S, 3)."""
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    strength = 0.75 * heat[:, :, None]
    return (image * (1 - strength) + colours * strength).round().astype(np.uint8)


def _beside(image: NDArray[np.uint8], heat: FloatArray) -> NDArray[np.uint8]:
    return np.concatenate([image, overlay(image, heat)], axis=1)


def _pixels(source: Path | bytes | ImageError) -> NDArray[np.uint8]:
    if isinstance(source, ImageError):
        raise source
    return decode(source).pixels


def _small(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(tile, (2 * TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _sheet(small: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    columns = min(SHEET_COLUMNS, len(small))
    small = small + [np.full_like(small[0], 255)] * (-len(small) % columns)
    rows = [np.concatenate(small[i : i + columns], 1) for i in range(0, len(small), columns)]
    return np.concatenate(rows, 0)


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    done, content = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise DataError(f"{path} could not be written as PNG")
    with atomic_path(path) as part:
        part.write_bytes(content.tobytes())
