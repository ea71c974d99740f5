"""ROAD: does a heatmap order the pixels by what they mean to a network?

Pixels are taken away by the order of the map and replaced by what their neighbours would make of them, so
that neither the hole nor its shape shows. A network that needs the hottest pixels loses its class quickly
when they go first, and keeps it when the coldest do.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.predict.network import Network
from hemoscope.records import FloatArray

Pixels = NDArray[np.float32]

__all__ = ["PERCENTS", "impute", "road"]

PERCENTS = (20, 50, 80)  # of the pixels replaced
NOISE = 0.57  # grey levels: the authors' 0.01 of what ImageNet's deviation makes 1
KERNEL = np.array([1, 2, 1], np.float32)  # its square, less the middle, weighs a pixel's eight neighbours
SWEEPS, RADIUS = 20, 0.99  # on the finest level, and of the Chebyshev acceleration


def road(
    network: Network, image: NDArray[np.uint8], maps: FloatArray, target: int, *, rng: np.random.Generator
) -> FloatArray:
    """Return how well each map orders the pixels of one image, -1 to 1, shape (M,).

    It is the probability of the class with the coldest pixels replaced, less that with the hottest replaced,
    mean over `PERCENTS`. A random order has 0 on average. Equal maps have equal scores: ties are broken, and
    the noise is drawn, alike for all. A map costs `2 * len(PERCENTS)` forward passes.

    Args:
        network: What to ask.
        image: Already cut to the input, shape (S, S, 3).
        maps: Shape (M, S, S).
        target: The class.
        rng: Draws the order of equal pixels, and the noise.

    Source:
        Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022;
        both orders together as in grad-cam's ROADCombined, which is half of this.
    """
    ties = rng.permutation(image[..., 0].size)
    noise = rng.normal(0, NOISE, image.shape)
    scores = np.empty(len(maps))
    for m, heat in enumerate(maps):
        order = ties[np.argsort(heat.ravel()[ties], kind="stable")]  # coldest first
        gone = np.zeros((2, len(PERCENTS), order.size), bool)
        for k, percent in enumerate(PERCENTS):
            n = round(order.size * percent / 100)
            gone[0, k, order[:n]] = True
            gone[1, k, order[-n:]] = True
        gone = gone.reshape(-1, *heat.shape)
        frames = impute(image, gone) + noise * gone[..., None]
        pixels = torch.from_numpy(frames.round().clip(0, 255).astype(np.uint8))
        logits = network.ask(pixels.to(network.device.torch_device))[0]
        cold, hot = logits.softmax(dim=1)[:, target].double().cpu().numpy().reshape(2, -1)
        scores[m] = cold.mean() - hot.mean()
    return scores


def impute(image: NDArray[np.uint8], gone: NDArray[np.bool_]) -> Pixels:
    """Return the image once a mask, each pixel that is gone the weighted mean of its eight neighbours.

    The neighbours may be gone as well, so this is a system of equations. It is solved from coarse to fine by
    relaxation, all masks at once: within one grey level of the exact solution on average, in about a
    tenth of the time.

    Args:
        image: Shape (S, S, 3).
        gone: Shape (K, S, S).

    Returns:
        Shape (K, S, S, 3).
    """
    k, side = len(gone), image.shape[0]
    known = np.repeat((~gone).transpose(1, 2, 0).astype(np.float32), 3, axis=2)  # (S, S, 3K)
    filled = _solve(np.tile(image.astype(np.float32), k), known, SWEEPS)
    return filled.reshape(side, side, k, 3).transpose(2, 0, 1, 3)


def _solve(image: Pixels, known: Pixels, sweeps: int) -> Pixels:
    side = image.shape[0]
    if side <= 4:
        mean = (image * known).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1)
        return _relax(np.where(known > 0, image, mean).astype(np.float32), image * known, 1 - known, sweeps)
    weight = _halve(known)
    smaller = np.asarray(_halve(image * known) / np.maximum(weight, 1), np.float32)
    coarse = _solve(smaller, (weight > 0).astype(np.float32), sweeps + sweeps // 2)
    guess = np.concatenate(
        [
            cv2.resize(coarse[..., c : c + 3], (2 * len(coarse),) * 2)[:side, :side]
            for c in range(0, coarse.shape[2], 3)
        ],
        axis=2,
    )
    return _relax(np.where(known > 0, image, guess).astype(np.float32), image * known, 1 - known, sweeps)


def _relax(start: Pixels, fixed: Pixels, gone: Pixels, sweeps: int) -> Pixels:
    """Return `start` after Jacobi's sweeps under Chebyshev acceleration (Golub & Van Loan, 11.2.8)."""
    share = np.asarray(gone / _neighbours(np.ones((*start.shape[:2], 1), np.float32)), np.float32)
    omega, before, now = 2.0, start, _step(start, fixed, share)
    for _ in range(sweeps - 1):
        omega = 1 / (1 - RADIUS**2 * omega / 4)
        before, now = now, np.asarray(omega * (_step(now, fixed, share) - before) + before, np.float32)
    return now


def _step(now: Pixels, fixed: Pixels, share: Pixels) -> Pixels:
    return np.asarray(fixed + share * _neighbours(now), np.float32)


def _neighbours(image: Pixels) -> Pixels:
    blurred = cv2.sepFilter2D(image, -1, KERNEL, KERNEL, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred.reshape(image.shape) - 4 * image, np.float32)


def _halve(image: Pixels) -> Pixels:
    """Return the sums of 2 x 2 pixels; what lies outside is 0."""
    odd = image.shape[0] % 2
    padded = np.pad(image, ((0, odd), (0, odd), (0, 0)))
    half = padded.shape[0] // 2
    return padded.reshape(half, 2, half, 2, -1).sum(axis=(1, 3))
