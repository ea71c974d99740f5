"""Images to probabilities, any number of them in the memory of a few batches.

Threads decode while a GPU works on the batch before; answers come in the order of the images. A file
that is no image gets an answer with its error, never a substitute. Nothing is cached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemoscope.bundle.known import distances
from hemoscope.data.augment import view_affine, warp
from hemoscope.data.images.decode import Decoded, decode
from hemoscope.data.images.square import is_long
from hemoscope.errors import ConfigError, ImageError
from hemoscope.places import available_cores
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray

__all__ = ["Answer", "Said", "Source", "eight", "predict_images", "predict_pixels", "stream", "views_of"]

# On a CPU larger batches gain nothing; a GPU halves this until it fits.
BATCH_SIZE = {"cpu": 64, "mps": 64, "cuda": 512}
AHEAD = {"cpu": 0, "mps": 2, "cuda": 2}  # batches decoded ahead; a CPU's cores would only fight for it

Source = Path | bytes | Decoded | NDArray[np.uint8] | ImageError
"""A file, its content, a decoded image, RGB of shape (H, W, 3), or why there is none of these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What K networks said of one image.

    Attributes:
        probs: Softmax probabilities, shape (K, C); None if the file could not be read.
        distance: One minus the cosine of its features with the nearest known cell's, shape (K,); NaN
            where a network has no known cells.
        error: Why it could not be read; empty where it could.
        converted: What had to be done to make it upright 8-bit RGB, as `Decoded.conversions`; and `cropped`
            where it is so long that the central square leaves more than half of it out.
        side_px: Its shorter side; 0 if it could not be read.
        features: What the networks' heads were given of the image as it is, each of length 1, side by side, shape (sum of D,);
            None if it could not be read, or they were not asked for.
    """

    probs: FloatArray | None
    distance: FloatArray | None = None
    error: str = ""
    converted: tuple[str, ...] = ()
    side_px: int = 0
    features: NDArray[np.float16] | None = None


class Said(NamedTuple):
    """What one network said of N images: `probs` (N, C), `distance` (N,) and `features` (N, D), as in `Answer`."""

    probs: FloatArray
    distance: FloatArray
    features: NDArray[np.float16]


def predict_images(
    network: Network,
    images: Iterable[Source],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    tta: bool = False,
) -> Iterator[Answer]:
    """Yield one network's answer to every image, in order; see `stream`."""
    return stream((network,), images, batch_size=batch_size, workers=workers, tta=tta)


def stream(
    networks: Sequence[Network],
    images: Iterable[Source],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    tta: bool | Sequence[bool] = False,
    features: bool = False,
) -> Iterator[Answer]:
    """Yield the answers to every image, in order; the networks are asked in turn, batch by batch.

    Args:
        networks: Whom to ask, all on one device.
        images: Taken from the iterable as they are needed.
        batch_size: Images at once; by default what the device takes. It does not change an answer by
            more than rounding.
        workers: Decoding threads; by default one a core.
        tta: Average over the eight flips and quarter turns of each image; one for all, or one a network.
        features: Whether answers hold them, too.

    Raises:
        ConfigError: If `batch_size` is less than 1.
    """
    kind = networks[0].device.torch_device.type
    size = BATCH_SIZE[kind] if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"expected a batch size of at least 1, got {size}")
    turned = [tta] * len(networks) if isinstance(tta, bool) else tta
    source = iter(images)
    waiting: deque[list[Future[_Input | str]]] = deque()
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        while True:
            while len(waiting) <= AHEAD[kind] and (chunk := list(islice(source, size))):
                waiting.append([pool.submit(_input, networks, image) for image in chunk])
            if not waiting:
                return
            inputs = [future.result() for future in waiting.popleft()]
            good = [found for found in inputs if not isinstance(found, str)]
            said = [
                predict_pixels(network, np.stack([found.views[k] for found in good]), tta=turned[k])
                for k, network in enumerate(networks)
                if good
            ]
            row = 0
            for found in inputs:
                if isinstance(found, str):
                    yield Answer(None, error=found)
                    continue
                yield Answer(
                    np.stack([one.probs[row] for one in said]),
                    np.array([one.distance[row] for one in said]),
                    converted=found.converted,
                    side_px=found.side_px,
                    features=np.concatenate([one.features[row] for one in said]) if features else None,
                )
                row += 1


def predict_pixels(network: Network, images: NDArray[np.uint8], *, tta: bool = False) -> Said:
    """Return what a network says of images.

    A batch that does not fit into a GPU's memory is halved until it does.

    Args:
        network: What to ask.
        images: Already cut to the input, shape (N, image_px, image_px, 3).
        tta: Average over flips and quarter turns.
    """
    try:
        return _ask(network, images, tta=tta)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    # Not in the handler: the error would keep the failed batch in memory while its halves need it.
    half = len(images) // 2
    parts = [predict_pixels(network, part, tta=tta) for part in (images[:half], images[half:])]
    return Said(*(np.concatenate(both) for both in zip(*parts, strict=True)))


def _ask(network: Network, images: NDArray[np.uint8], *, tta: bool) -> Said:
    batch = torch.from_numpy(images).to(network.device.torch_device, non_blocking=True)
    said = [network.ask(view) for view in (eight(batch) if tta else (batch,))]
    probs = torch.stack([logits.softmax(dim=1) for logits, _ in said]).mean(dim=0)
    distance = torch.stack([distances(features, network.known) for _, features in said]).mean(dim=0)
    _, as_it_is = said[0]
    return Said(
        probs.cpu().numpy().astype(np.float64),
        distance.cpu().numpy().astype(np.float64),
        as_it_is.cpu().numpy().astype(np.float16),
    )


def eight(batch: Tensor) -> Iterator[Tensor]:
    """Yield the batch, shape (N, S, S, 3), in its eight flips and quarter turns."""
    for mirrored in (batch, batch.flip(2)):
        for turns in range(4):
            yield torch.rot90(mirrored, turns, (1, 2))


@dataclass(frozen=True, slots=True)
class _Input:
    """One image as each network is given it, what was converted, and its shorter side."""

    views: list[NDArray[np.uint8]]
    converted: tuple[str, ...]
    side_px: int


def _input(networks: Sequence[Network], image: Source) -> _Input | str:
    """Return each network's input, or what is wrong with the file."""
    try:
        if isinstance(image, ImageError):
            raise image
        if isinstance(image, np.ndarray):
            found = Decoded(image)
        else:
            found = image if isinstance(image, Decoded) else decode(image)
    except ImageError as error:
        return str(error)
    height, width = found.pixels.shape[:2]
    cropped = ("cropped",) if is_long(width, height) else ()
    return _Input(views_of(networks, found.pixels), (*found.conversions, *cropped), min(height, width))


def views_of(networks: Sequence[Network], pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return what each network is given of a decoded image, shape (image_px, image_px, 3).

    The image is resized once for each size that is asked for.
    """
    kinds = {(network.framing, network.canvas_px) for network in networks}
    squares = {(framing, side): framing.square(pixels, side) for framing, side in kinds}
    return [_cut(squares[network.framing, network.canvas_px], network) for network in networks]


def _cut(square: NDArray[np.uint8], network: Network) -> NDArray[np.uint8]:
    matrix = view_affine(1, canvas_px=network.canvas_px, image_px=network.image_px, view=network.view)
    return warp(square[None], matrix, image_px=network.image_px, fill=network.fill)[0]
