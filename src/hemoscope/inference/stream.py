"""Images to probabilities, any number of them in the memory of a few batches.

Threads decode while a GPU works on the batch before; answers come in the order of the images. A file
that is no image gets an answer with its error, never a substitute. Nothing is cached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.data.augment import view_affine, warp
from hemoscope.data.canvas import center_square
from hemoscope.data.decode import decode
from hemoscope.errors import ConfigError, ImageError
from hemoscope.inference.network import Network
from hemoscope.places import available_cores
from hemoscope.records import FloatArray

__all__ = ["Answer", "predict_images", "predict_pixels"]

# On a CPU larger batches gain nothing; a GPU halves this until it fits.
BATCH_SIZE = {"cpu": 64, "mps": 64, "cuda": 512}
AHEAD = {"cpu": 0, "mps": 2, "cuda": 2}  # batches decoded ahead; a CPU's cores would only fight for it


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network said of one image.

    Attributes:
        probs: Softmax probabilities, shape (C,); None if the file could not be read.
        error: Why it could not; empty where it could.
    """

    probs: FloatArray | None
    error: str = ""


def predict_images(
    network: Network,
    images: Iterable[Path | NDArray[np.uint8]],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Iterator[Answer]:
    """Yield the answer to every image, in order.

    Args:
        network: What to ask.
        images: Files, or decoded RGB of shape (H, W, 3); taken from the iterable as they are needed.
        batch_size: Images at once; by default what the device takes. It does not change an answer by
            more than rounding.
        workers: Decoding threads; by default one a core.

    Raises:
        ConfigError: If `batch_size` is less than 1.
    """
    kind = network.device.torch_device.type
    size = BATCH_SIZE[kind] if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"expected a batch size of at least 1, got {size}")
    source = iter(images)
    waiting: deque[list[Future[NDArray[np.uint8] | str]]] = deque()
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        while True:
            while len(waiting) <= AHEAD[kind] and (chunk := list(islice(source, size))):
                waiting.append([pool.submit(_view, network, image) for image in chunk])
            if not waiting:
                return
            views = [future.result() for future in waiting.popleft()]
            good = [view for view in views if not isinstance(view, str)]
            probs = iter(predict_pixels(network, np.stack(good)) if good else ())
            for view in views:
                yield Answer(None, view) if isinstance(view, str) else Answer(next(probs))


def predict_pixels(network: Network, images: NDArray[np.uint8]) -> FloatArray:
    """Return the probabilities of images already cut to the network's input, shape (N, C).

    A batch that does not fit into a GPU's memory is halved until it does.

    Args:
        network: What to ask.
        images: Shape (N, image_px, image_px, 3).
    """
    batch = torch.from_numpy(images)
    try:
        probs = network.probs(batch.to(network.device.torch_device, non_blocking=True))
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
        half = len(images) // 2
        return np.concatenate(
            [predict_pixels(network, images[:half]), predict_pixels(network, images[half:])]
        )
    return probs.cpu().numpy().astype(np.float64)


def _view(network: Network, image: Path | NDArray[np.uint8]) -> NDArray[np.uint8] | str:
    """Return the network's input, shape (image_px, image_px, 3), or what is wrong with the file."""
    try:
        pixels = decode(image).pixels if isinstance(image, Path) else image
    except ImageError as error:
        return str(error)
    square = center_square(pixels, network.canvas_px)
    matrix = view_affine(1, canvas_px=network.canvas_px, image_px=network.image_px, view=network.view)
    return warp(square[None], matrix, image_px=network.image_px, fill=network.fill)[0]
