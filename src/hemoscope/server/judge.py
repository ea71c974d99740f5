"""The model as the server asks it: verdicts with the features they stand on, and where the networks looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hemoscope.encoding import jsonable
from hemoscope.explain.gradcam import explain_pixels
from hemoscope.predict.model import Model, Verdict
from hemoscope.predict.network import Network
from hemoscope.predict.stream import views_of
from hemoscope.records import FloatArray

__all__ = ["Judge", "Judged"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One image judged.

    Attributes:
        verdict: What the model says.
        features: What the members' heads were given, each of length 1, side by side, as 16-bit floats; empty on error.
    """

    verdict: Verdict
    features: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """Return what the API says of a cell beyond its name; numbers that are none are null."""
        v = self.verdict
        found = jsonable(
            {
                "probs": [] if v.probs is None else v.probs.round(6),
                "shares": [] if v.shares is None else v.shares.round(6),
                "margin": round(v.margin, 6),
                "distance": round(v.distance, 6),
                "candidates": v.candidates,
                "reason": v.reason,
                "converted": v.converted,
            }
        )
        assert isinstance(found, dict)  # noqa: S101
        return found


class Judge:
    """A model to be asked by one thread.

    Attributes:
        model: What is asked.
        tta: Whether answers are averaged over eight flips and turns.
    """

    def __init__(self, model: Model, *, tta: bool = False) -> None:
        model.trust(tta=tta)
        self.model, self.tta = model, tta

    def at(self, nucleus_px: float | None) -> Judge:
        """Return the judge of cells whose typical nucleus has this diameter; see `Model.at_nucleus`."""
        return self if nucleus_px is None else Judge(self.model.at_nucleus(nucleus_px), tta=self.tta)

    def facts(self) -> dict[str, Any]:
        """Return what must be known of the model to count the cells it has judged."""
        card, trust = self.model.card, self.model.trust(tta=self.tta)
        return {
            "name": card.name,
            "digest": self.model.digest,
            "classes": list(card.classes),
            "networks": [member.arch for member in card.members],
            "tta": self.tta,
            "n_val": sum(map(sum, trust.confusion)),
            "confusion": [list(row) for row in trust.confusion],
            "usually_unknown": trust.usually_unknown,
            "review_below": trust.review_below,
            "unknown_above": trust.unknown_above,
            "coverage": trust.coverage,
            "error_rate": trust.error_rate,
            "nucleus_px": self.model.nucleus_px,
        }

    def judge(self, images: Sequence[Path | bytes]) -> list[Judged]:
        """Return what the model says of every image, in order; a bad file is a verdict too."""
        asked = self.model.ask(images, tta=self.tta, features=True)
        return [
            Judged(verdict, b"" if answer.features is None else answer.features.tobytes())
            for answer, verdict in asked
        ]

    def heat(self, pixels: NDArray[np.uint8], class_name: str) -> NDArray[np.uint8]:
        """Return where the members looked for a class: RGBA of the image's shape, nothing where they did not look.

        Args:
            pixels: The image, shape (H, W, 3).
            class_name: One of the model's classes.

        Raises:
            MissingPackageError: If the package grad-cam is not installed.
        """
        target = np.array([self.model.card.classes.index(class_name)])
        height, width = pixels.shape[:2]
        maps = [
            _over_image(network, explain_pixels(network, member.arch, view[None], target)[0], (width, height))
            for network, member, view in zip(
                self.model.networks,
                self.model.card.members,
                views_of(self.model.networks, pixels),
                strict=True,
            )
        ]
        heat = np.mean(maps, axis=0).clip(0, 1)
        colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
        strength = (255 * 0.75 * heat).astype(np.uint8)
        return np.dstack([colours, strength])


def _over_image(network: Network, heat: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return a map of a network's view, shape (S, S), laid over the image of (width, height) it was cut from."""
    width, height = size
    laid = cv2.warpAffine(heat, network.in_image(height, width)[:2], size, flags=cv2.INTER_LINEAR)
    return np.asarray(laid, np.float64)
