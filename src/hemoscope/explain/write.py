"""Explanations on disk: every cell beside its heatmap and what that is worth, one sheet of all, and CSV."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.data.images.decode import decode
from hemoscope.encoding import to_cell, to_text
from hemoscope.errors import DataError, ImageError
from hemoscope.explain.gradcam import explain_pixels, need_package, randomised
from hemoscope.explain.nulls import Trial, examine, mean_trial
from hemoscope.explain.sheet import join, save_png, tile
from hemoscope.files import atomic_path
from hemoscope.plain_files import read_plain
from hemoscope.predict.inputs import Named
from hemoscope.predict.model import Model
from hemoscope.predict.network import Network
from hemoscope.predict.stream import views_of
from hemoscope.progress import Progress
from hemoscope.records import FloatArray

__all__ = ["explain_to", "free_folder"]

SHEET_MOST = 120
AT_ONCE = 64  # images whose maps are held together; the map of another image is one of these
SHEET, TABLE = "sheet.png", "explanations.csv"
MOST_TABLE_BYTES = 2**28
OTHERS = 2  # maps of other images that a map is compared with


def free_folder(out: Path, *, overwrite: bool = False) -> list[Path]:
    """Return the files of earlier explanations in a folder, as their table lists them; refuse others.

    Raises:
        DataError: If the folder holds something, with `overwrite` something that is no explanation.
    """
    held = sorted(out.iterdir()) if out.is_dir() else []
    pictures = _listed(out / TABLE) if overwrite else set()
    own = pictures | {SHEET, TABLE} if pictures else pictures  # a sheet without its table is somebody's own
    if others := [file.name for file in held if file.name not in own]:
        raise DataError(
            f"{out} is not empty ({', '.join(others[:3])}); choose another --out"
            + ("" if overwrite else ", or --overwrite to replace explanations")
        )
    return held


def _listed(table: Path) -> set[str]:
    """Return the pictures that a table of explanations names."""
    try:
        rows = csv.DictReader(read_plain(table, most=MOST_TABLE_BYTES).decode("utf-8").splitlines())
        return {row["file"] for row in rows}
    except (OSError, ValueError, KeyError, csv.Error):
        return set()


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """One image: what the model said, what each of K members was given, and their maps.

    Shapes: views K of (S, S, 3), maps and random maps K of (S, S); the size is the image's height and width.
    """

    pred: int
    probability: float | None
    views: list[NDArray[np.uint8]]
    maps: list[FloatArray]
    random_maps: list[FloatArray]
    size_px: tuple[int, int]


def explain_to(
    out: Path,
    model: Model,
    images: Sequence[Named],
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[list[dict[str, object]], list[Trial]]:
    """Write `NNN.png` for every image, `sheet.png` of the first 120, and `explanations.csv`.

    An image costs each member of the model 56 forward passes and two backward. An ensemble's heatmap is the
    mean of its members'; its figures are the mean of what each member's own map scores on that member.

    Args:
        out: A folder; absent or empty, or with `overwrite` one of explanations.
        model: What to ask.
        images: Names and sources.
        seed: Of the random weights, of which other image a map is compared with, and of ties and noise.
        overwrite: Replace the explanations that are in the folder, once the new ones are whole.
        progress: Called with (what is done, done, in all).

    Returns:
        The rows of the CSV, and what each image's map scored.

    Raises:
        MissingPackageError: If the package grad-cam is not installed.
        DataError: If the folder holds anything else, there is no image or one lies in the folder, or images
            cannot be read; all of them are named.
    """
    old = free_folder(out, overwrite=overwrite)
    need_package()
    if not images:
        raise DataError(
            "there is no image to explain; expected image files, folders, archives or patterns in quotes"
        )
    if inside := [
        name
        for name, source in images
        if isinstance(source, Path) and source.resolve().parent == out.resolve()
    ]:
        raise DataError(f"{inside[0]} lies in {out}, where the explanations go; choose another --out")
    bad: list[str] = []
    for name, source in images:
        try:
            _pixels(source)
        except ImageError as error:
            bad.append(f"{name}: {error}")
    if bad:
        raise DataError(f"{len(bad)} of {len(images)} images cannot be read:\n  " + "\n  ".join(bad[:20]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=out.parent) as scratch:
        rows, trials = _explain(Path(scratch), model, images, seed=seed, progress=progress)
        out.mkdir(exist_ok=True)
        new = sorted(Path(scratch).iterdir())
        for file in new:
            file.replace(out / file.name)
        for file in {file.name for file in old} - {file.name for file in new}:
            (out / file).unlink()
    return rows, trials


def _explain(
    out: Path,
    model: Model,
    images: Sequence[Named],
    *,
    seed: int,
    progress: Progress | None,
) -> tuple[list[dict[str, object]], list[Trial]]:
    untrained = [
        randomised(network, member.arch, head=member.head, seed=seed, instance_norm=member.instance_norm)
        for network, member in zip(model.networks, model.card.members, strict=True)
    ]
    rows: list[dict[str, object]] = []
    trials: list[Trial] = []
    tiles: list[NDArray[np.uint8]] = []
    for chunk in np.array_split(np.arange(len(images)), -(-len(images) // AT_ONCE) or 1):
        looks = [_look(model, untrained, _pixels(images[i][1])) for i in chunk]
        for k, (i, look) in enumerate(zip(chunk.tolist(), looks, strict=True)):
            rng = np.random.default_rng([seed, i])
            others, like = _others(looks, k, rng)
            trial = mean_trial(
                [
                    examine(network, view, heat, random, [o.maps[m] for o in others], look.pred, rng=rng)
                    for m, (network, view, heat, random) in enumerate(
                        zip(model.networks, look.views, look.maps, look.random_maps, strict=True)
                    )
                ]
            )
            trials.append(trial)
            row = {
                "file": f"{i:03d}.png",
                "path": to_text(images[i][0]),
                "pred": model.card.classes[look.pred],
                "probability": look.probability,
                **asdict(trial),
                "other_class": like,
                "verdict": trial.in_words(),
            }
            picture = tile(look.views[0], _together(model.networks, look.maps, look.size_px), row)
            save_png(out / f"{i:03d}.png", picture)
            if i < SHEET_MOST:
                tiles.append(picture)
            rows.append(row)
            if progress:
                progress("explaining", i + 1, len(images))
    save_png(out / SHEET, join(tiles))
    _write_csv(out / TABLE, rows)
    return rows, trials


def _look(model: Model, untrained: Sequence[Network], image: NDArray[np.uint8]) -> _Look:
    (verdict,) = model.judge([image])
    pred = model.card.classes.index(verdict.pred)
    views = views_of(model.networks, image)
    maps, random_maps = (
        [
            explain_pixels(network, member.arch, view[None], np.array([pred]))[0]
            for network, member, view in zip(networks, model.card.members, views, strict=True)
        ]
        for networks in (model.networks, untrained)
    )
    probability = None if verdict.probs is None else float(verdict.probs[pred])
    return _Look(pred, probability, views, maps, random_maps, (image.shape[0], image.shape[1]))


def _others(looks: Sequence[_Look], k: int, rng: np.random.Generator) -> tuple[list[_Look], str]:
    """Return up to two other images, of the same class if there is one, and which kind they are."""
    rest = [look for i, look in enumerate(looks) if i != k]
    same = [look for look in rest if look.pred == looks[k].pred]
    pool, like = (same, "same") if same else (rest, "any" if rest else "")
    return [pool[i] for i in rng.permutation(len(pool))[:OTHERS]], like


def _together(
    networks: Sequence[Network], maps: Sequence[FloatArray], size_px: tuple[int, int]
) -> FloatArray:
    """Return the mean map in the first network's view; where another does not see, it says 0."""
    first, *_ = networks
    laid: list[NDArray[Any]] = []
    for network, heat in zip(networks, maps, strict=True):
        matrix = (np.linalg.inv(network.in_image(*size_px)) @ first.in_image(*size_px))[:2]
        size = (first.image_px, first.image_px)
        laid.append(cv2.warpAffine(heat, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    return np.asarray(np.mean(laid, axis=0))


def _pixels(source: Path | bytes | ImageError) -> NDArray[np.uint8]:
    if isinstance(source, ImageError):
        raise source
    return decode(source).pixels


def _write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _cell(v) for k, v in row.items()})


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return to_cell(value) if isinstance(value, str) else value
