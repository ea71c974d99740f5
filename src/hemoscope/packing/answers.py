"""What the networks of a bundle say of the images of their runs: some to choose by, some to measure on.

Validation images give the known cells, the thresholds and the images without a cell. Test images are
asked once, the way `Model.judge` asks, and nothing is chosen by them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemoscope.bundle.known import choose, left_out
from hemoscope.ensemble.vote import How, combine, vote
from hemoscope.errors import DataError
from hemoscope.packing.labelled import decoded, in_order
from hemoscope.packing.strangers import strangers
from hemoscope.places import available_cores
from hemoscope.predict.evaluate import pixels_of
from hemoscope.predict.network import Network
from hemoscope.predict.stream import eight, stream, views_of
from hemoscope.progress import Progress
from hemoscope.records import FloatArray, IntArray, Manifest, Predictions

__all__ = ["STRANGERS", "Answers", "Asked", "ask_anew", "remember", "stored", "strange_distances"]

STRANGERS = 100  # validation cells that images without a cell are made of
BATCH = 64
CHANGED = 0.02  # of the clear predictions; bf16 against fp32 moves a few in a thousand of all,
CLEAR = 0.2  # and of a network that has hardly learnt many that are less apart than this
A_FEW = 3


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the vote said of both sides, ordered by path, and how far each image is from the known cells.

    Attributes:
        val: Of the validation images.
        test: Of the test images.
        made: How the answers were made, for the card.
        val_distance: Shape (N,), a remembered cell's from the others; None where nothing is remembered.
        test_distance: Shape (M,).
        strange: Distances of images without a known cell, by kind.
    """

    val: Predictions
    test: Predictions
    made: str
    val_distance: FloatArray | None = None
    test_distance: FloatArray | None = None
    strange: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Networks that remember validation cells.

    Attributes:
        names: Their runs, length K.
        networks: With their known cells, length K.
        known: Features of those cells, shape (M, F), float16, as the bundle keeps them.
        rows: Which validation images they are, shape (M,).
        left_out: Mean distance of each of them from the nearest other, shape (M,), by whether it was averaged
            over flips and turns.
    """

    names: tuple[str, ...]
    networks: tuple[Network, ...]
    known: tuple[Tensor, ...]
    rows: IntArray
    left_out: Mapping[bool, FloatArray]


def stored(sides: Mapping[str, Sequence[Predictions]], how: How, precisions: Sequence[str]) -> Answers:
    """Return what the runs wrote down, in the precision each was trained in."""
    val, test = (vote(sides[side], how=how) for side in ("val", "test"))
    return Answers(val, test, f"those the runs stored ({', '.join(sorted(set(precisions)))})")


def remember(networks: Mapping[str, Network], manifest: Manifest, val: Predictions, *, tta: bool) -> Asked:
    """Let networks remember some of the validation cells.

    Args:
        networks: By the name of their run.
        manifest: The images of the runs.
        val: Validation images and their classes.
        tta: They will be asked about flips and turns, too.
    """
    rows = choose(val.target)
    cells = in_order(manifest, [val.paths[i] for i in rows])
    seen = _features(tuple(networks.values()), cells, tta=tta)
    known = tuple(views[0].half() for views in seen)

    def far(n_views: int) -> FloatArray:
        each = [
            torch.stack([left_out(view, cells.float()) for view in views[:n_views]]).mean(dim=0)
            for views, cells in zip(seen, known, strict=True)
        ]
        return torch.stack(each).double().mean(dim=0).numpy()

    remembering = tuple(
        replace(network, known=cells.to(network.device.torch_device, torch.float32))
        for network, cells in zip(networks.values(), known, strict=True)
    )
    far_by_tta = {False: far(1), True: far(8)} if tta else {False: far(1)}
    return Asked(tuple(networks), remembering, known, rows, far_by_tta)


def ask_anew(
    asked: Asked,
    manifest: Manifest,
    sides: Mapping[str, Sequence[Predictions]],
    how: How,
    *,
    tta: bool = False,
    turned: Collection[str] = (),
    progress: Progress | None = None,
) -> Answers:
    """Ask the networks about every validation and test image.

    Args:
        asked: The networks.
        manifest: The images of the runs.
        sides: What each network said before of either side, for the targets and to see that it is the same.
        how: The vote.
        tta: Average over flips and turns.
        turned: Runs whose stored predictions are such averages.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If an image cannot be read any more, or a network answers differently now.
    """
    what = "with flips and turns" if tta else "as they are"
    voted: dict[str, Predictions] = {}
    far: dict[str, FloatArray] = {}
    for side, members in sides.items():
        tell = partial(progress, f"{side} images {what}") if progress else None
        probs, far[side] = _said(asked.networks, manifest, members[0].paths, tta=tta, tell=tell)
        for name, answers, member in zip(asked.names, probs, members, strict=True):
            if (name in turned) == tta:
                _check_same(name, answers, member)
        pred, mean, _ = combine(probs, how)
        voted[side] = replace(members[0], probs=mean, pred=pred)
    far["val"][asked.rows] = asked.left_out[tta]
    made = f"this bundle's own ({asked.networks[0].device.precision}), of images {what}"
    strange = _strange(asked, manifest, voted["val"].paths, tta=tta)
    return Answers(voted["val"], voted["test"], made, far["val"], far["test"], strange)


def _said(
    networks: Sequence[Network],
    manifest: Manifest,
    paths: Sequence[str],
    *,
    tta: bool,
    tell: Callable[[int, int], None] | None,
) -> tuple[FloatArray, FloatArray]:
    """Return probabilities, shape (K, N, C), and mean distances, shape (N,), in the order of `paths`."""
    rows = {path: row for row, path in enumerate(paths)}
    probs = np.empty((len(networks), len(rows), len(networks[0].classes)))
    distance = np.empty(len(rows))
    asked: list[str] = []
    for i, answer in enumerate(stream(networks, pixels_of(manifest, rows, asked), tta=tta)):
        if answer.probs is None or answer.distance is None:
            raise DataError(f"{asked[i]} cannot be read any more: {answer.error}")
        probs[:, rows[asked[i]]], distance[rows[asked[i]]] = answer.probs, answer.distance.mean()
        if tell:
            tell(i + 1, len(rows))
    return probs, distance


def _check_same(name: str, probs: FloatArray, stored: Predictions) -> None:
    """Refuse other weights or images; where a network is sure of nothing, nothing tells."""
    second, first = np.sort(stored.probs, axis=1)[:, -2:].T
    clear = first - second > CLEAR
    differ, n = int((clear & (probs.argmax(axis=1) != stored.pred)).sum()), int(clear.sum())
    if differ > max(CHANGED * n, A_FEW):
        raise DataError(
            f"{name} answers differently now: {differ:,} of its {n:,} clear predictions have changed; expected the weights and images "
            "it was evaluated with, in the folder it was trained on or in --data"
        )


def _strange(asked: Asked, manifest: Manifest, paths: Sequence[str], *, tta: bool) -> dict[str, FloatArray]:
    """Return the mean distances of images without a cell, by kind, made of validation images.

    Images whose cell is remembered come last, when there are no others.
    """
    order = np.random.default_rng(0).permutation(len(paths))
    order = order[np.argsort(np.isin(order, asked.rows), kind="stable")][:STRANGERS]
    cells = map(decoded, in_order(manifest, [paths[i] for i in map(int, order)]))
    return strange_distances(asked.networks, cells, tta=tta)


def strange_distances(
    networks: Sequence[Network], cells: Iterable[NDArray[np.uint8]], *, tta: bool
) -> dict[str, FloatArray]:
    """Return the mean distances of images without a known cell, by kind, made of these cells, each of shape (H, W, 3)."""
    kinds: list[str] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for kind, image in strangers(cells, np.random.default_rng(0)):
            kinds.append(kind)
            yield image

    answers = stream(networks, images(), tta=tta)
    far = np.array([answer.distance.mean() for answer in answers if answer.distance is not None])
    return {kind: far[np.array(kinds) == kind] for kind in dict.fromkeys(kinds)}


def _features(
    networks: Sequence[Network], cells: Sequence[Path | NDArray[np.uint8]], *, tta: bool
) -> list[Tensor]:
    """Return each network's features, shape (V, M, F), of 1 view or 8; the first is the image as it is."""
    kept: list[list[Tensor]] = [[] for _ in networks]
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(cells), BATCH):
            chunk = cells[start : start + BATCH]
            views = list(pool.map(lambda image: views_of(networks, decoded(image)), chunk))
            for k, network in enumerate(networks):
                batch = torch.from_numpy(np.stack([view[k] for view in views]))
                batch = batch.to(network.device.torch_device)
                turned = eight(batch) if tta else (batch,)
                kept[k].append(torch.stack([network.ask(view)[1].cpu() for view in turned]))
    return [torch.cat(features, dim=1) for features in kept]
