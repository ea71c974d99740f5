"""The unit of work: one architecture, one recipe, one split, one seed. Its name is its content.

Doing a job again is a no-op, and two machines give the same job the same folder. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from hemoscope.models.registry import Architecture, get_arch
from hemoscope.records import Manifest, Split
from hemoscope.training.recipe import Recipe

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """What one run computes.

    Attributes:
        arch: Registry name.
        recipe: With `precision` resolved, never `auto`, so that the digest says what was computed.
        manifest: The images.
        split: Their sides.
        seed: Seed of head, order, augmentation and dropout.
        weights_sha256: Digest of the ImageNet weights, empty for training from scratch.
    """

    arch: str
    recipe: Recipe
    manifest: Manifest
    split: Split
    seed: int
    weights_sha256: str = ""

    @property
    def row(self) -> Architecture:
        """The architecture's registry row."""
        return get_arch(self.arch)

    @property
    def image_px(self) -> int:
        """Side of the square the network sees."""
        return self.recipe.image_px or self.row.input_px

    @property
    def canvas_px(self) -> int:
        """Side of the stored square, in the architecture's own proportion to its input."""
        if self.recipe.image_px is None:
            return self.row.canvas_px
        return round(self.recipe.image_px * self.row.canvas_px / self.row.input_px)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the numbers."""
        content = {
            "arch": self.arch,
            "recipe": self.recipe.model_dump(),
            "split": self.split.digest,
            "classes": self.manifest.classes,
            "seed": self.seed,
            "weights": self.weights_sha256,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.arch}-{self.recipe.name}-s{self.seed}-{self.digest[:8]}"
