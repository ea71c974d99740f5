"""The unit of work: one architecture, one recipe, one split, one seed. Its name is its content.

Doing a job again is a no-op, and two machines give the same job the same folder. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from hemoscope.errors import ConfigError
from hemoscope.models.registry import get_arch
from hemoscope.records import Manifest, Split
from hemoscope.training.recipe import Recipe

__all__ = ["SEED_LIMIT", "Job"]

SEED_LIMIT = 2**63  # of a run card; torch takes twice as many

# 1: a head in bf16, and crops of odd margins a pixel before torchvision's.
RULES = "2: the head in fp32, centre crops of odd margins as torchvision's"


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
    def sides_px(self) -> tuple[int, int]:
        """Sides of the network's input and of the canvas."""
        return get_arch(self.arch).sides_px(self.recipe.image_px, self.recipe.canvas_px)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED_LIMIT:
            raise ConfigError(f"expected a seed from 0 to {SEED_LIMIT - 1}; got {self.seed}. Choose another")
        small, whole = self.recipe.small_px, self.sides_px[0]
        if small and small >= whole:
            raise ConfigError(
                f"small_px must be smaller than the input of {self.arch}, {whole} px; got {small}"
            )

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the numbers."""
        image_px, canvas_px = self.sides_px
        content: dict[str, object] = {
            "arch": self.arch,
            "recipe": self.recipe.identity,
            "split": self.split.digest,
            "classes": self.manifest.classes,
            "seed": self.seed,
            "weights": self.weights_sha256,
        }
        if self.recipe.precision != "fp32" or (canvas_px - image_px) % 2:
            content["rules"] = RULES  # these changed; where they play no part, runs keep their names
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.arch}-{self.recipe.label}-s{self.seed}-{self.digest[:8]}"
