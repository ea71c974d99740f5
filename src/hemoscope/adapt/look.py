"""What a network says of cells on a canvas, and what its head is given of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemoscope.adapt.cells import Source
from hemoscope.data.augment import view_affine, warp
from hemoscope.data.canvas import Canvas
from hemoscope.data.images.decode import decode
from hemoscope.models.normalise import Normalise
from hemoscope.places import available_cores
from hemoscope.predict.network import Network
from hemoscope.predict.stream import eight
from hemoscope.progress import Progress
from hemoscope.records import FloatArray, IntArray

__all__ = ["VIEWS", "Looked", "canvases_of", "images_of", "look", "pixels_of"]

BATCH = 64

Views = Callable[[Tensor], Iterable[Tensor]]


def _as_is(batch: Tensor) -> Iterator[Tensor]:
    yield batch


def _turned(batch: Tensor) -> Iterator[Tensor]:
    for turns in range(4):
        yield torch.rot90(batch, turns, (1, 2))


VIEWS: dict[int, Views] = {1: _as_is, 4: _turned, 8: eight}
"""Ways to look at a batch, by how many views they give; the first is the image as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What a network makes of N cells in V views.

    Attributes:
        probs: Softmax probabilities, float64, shape (V, N, C).
        features: What the head was given, of length 1, on the CPU, shape (V, N, F).
    """

    probs: FloatArray
    features: Tensor

    @property
    def mean_probs(self) -> FloatArray:
        """The mean over the views, shape (N, C)."""
        return self.probs.mean(axis=0)

    @property
    def mean_features(self) -> Tensor:
        """Of length 1, the mean over the views, shape (N, F)."""
        return torch.nn.functional.normalize(self.features.mean(dim=0), dim=1)


def canvases_of(
    networks: Sequence[Network], sources: Sequence[Source], progress: Progress | None = None
) -> list[Canvas]:
    """Return the cells as each network's squares; networks that frame alike share one canvas, in memory."""
    kinds = {(network.framing, network.canvas_px) for network in networks}
    made = {(framing, side): np.empty((len(sources), side, side, 3), np.uint8) for framing, side in kinds}

    def place(row: int) -> None:
        pixels = pixels_of(sources[row])
        for (framing, side), canvas in made.items():
            canvas[row] = framing.square(pixels, side)

    with ThreadPoolExecutor(available_cores()) as pool:
        for done, _ in enumerate(pool.map(place, range(len(sources))), 1):
            if progress:
                progress("framing cells", done, len(sources))
    return [Canvas(made[network.framing, network.canvas_px], {}) for network in networks]


def look(network: Network, canvas: Canvas, rows: IntArray, *, views: int = 1) -> Looked:
    """Ask a network about cells, cut as it will be given them for good.

    Args:
        network: In evaluation mode.
        canvas: Its squares.
        rows: Which of them.
        views: A key of `VIEWS`.
    """
    device = network.device.torch_device
    probs: list[Tensor] = []
    features: list[Tensor] = []
    for start in range(0, len(rows), BATCH):
        batch = torch.from_numpy(_cut(network, canvas, rows[start : start + BATCH])).to(device)
        said = [network.ask(view) for view in VIEWS[views](batch)]
        probs.append(torch.stack([logits.softmax(dim=1) for logits, _ in said]).cpu())
        features.append(torch.stack([given for _, given in said]).cpu())
    return Looked(torch.cat(probs, dim=1).double().numpy(), torch.cat(features, dim=1))


def images_of(network: Network, canvas: Canvas, rows: IntArray, *, batch_size: int) -> Iterator[Tensor]:
    """Yield batches of normalised images, float32, shape (N, 3, image_px, image_px), of about one size.

    The last statistics of a batch count as much as the first, so none is much smaller.
    """
    normalise = Normalise(network.device.torch_device)
    for part in np.array_split(rows, max(1, round(len(rows) / batch_size))):
        yield normalise(torch.from_numpy(_cut(network, canvas, part)).to(network.device.torch_device))


def _cut(network: Network, canvas: Canvas, rows: IntArray) -> NDArray[np.uint8]:
    matrices = view_affine(
        len(rows), canvas_px=network.canvas_px, image_px=network.image_px, view=network.view
    )
    return warp([canvas.pixels[row] for row in rows], matrices, image_px=network.image_px, fill=network.fill)


def pixels_of(source: Source) -> NDArray[np.uint8]:
    """Return a cell's pixels, shape (H, W, 3)."""
    return source if isinstance(source, np.ndarray) else decode(source).pixels
