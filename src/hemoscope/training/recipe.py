"""The recipe: every choice of training as one frozen, checked record, and the built-in ones.

The paper leaves points open; each of them is a field here, with the default argued in
docs/decisions/0002-ambiguities-of-the-paper.md. Imports no torch.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from math import cos, pi
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.plain_files import read_plain

MOST_BYTES = 2**20  # of a recipe file
SPELT_OUT = 3  # changes in a label; more are counted
ADDED_LATER = frozenset(
    {
        "blur", "canvas_px", "ema", "frame_jitter", "framing", "grey", "head_lr", "in_blood", "instance_norm", "jpeg", "label_smoothing", "mixup", "noise", "norm", "schedule",
        "small_epochs", "small_px", "stain_gain", "stain_mix", "views", "warmup", "zoom",
    }
)  # fmt: skip

__all__ = [
    "ADDED_LATER",
    "RECIPES",
    "Recipe",
    "changed",
    "identity_of",
    "load_recipe",
    "parse_value",
    "without_effect",
]


class Recipe(BaseModel):
    """How a network is trained and evaluated. The defaults are the paper's recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(default="paper", pattern=r"^[A-Za-z0-9_.]+$")
    epochs: int = Field(default=25, ge=1)
    batch_size: int = Field(default=32, ge=2)
    lr: float = Field(default=0.001, gt=0)
    lr_step: int = Field(default=7, ge=1, description="epochs between two decays of the learning rate")
    lr_gamma: float = Field(default=0.1, gt=0, le=1, description="factor of one decay")
    schedule: Literal["step", "cosine", "warm_cosine"] = Field(
        default="step",
        description="step: decays by lr_gamma every lr_step epochs; cosine: down to near 0, an epoch at a time; "
        "warm_cosine: up over the first `warmup` of all steps, then down to 0, a step at a time",
    )
    warmup: float = Field(
        default=0.1, gt=0, lt=1, description="share of the steps that warm_cosine rises over"
    )
    head_lr: float = Field(default=1.0, gt=0, description="factor of the rate of the new last layer")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay a step of the averaged weights that are scored and kept; 0: none",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(
        default=0.0, ge=0, description="alpha of the Beta that two images are mixed by; 0: never"
    )
    weights: Literal["imagenet", "none"] = "imagenet"
    head: Literal["replace_last", "single_layer"] = "replace_last"
    aux_weight: float = Field(default=0.4, ge=0, description="share of Inception v3's auxiliary loss")
    image_px: int | None = Field(
        default=None, ge=32, le=1024, description="None: the architecture's own input size"
    )
    canvas_px: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="side an image is resized to before the crop; larger looks closer",
    )
    small_px: int | None = Field(
        default=None, ge=32, le=1024, description="side of the input in the first `small_epochs` epochs"
    )
    small_epochs: int = Field(default=0, ge=0)
    framing: Literal["square", "nucleus"] = Field(
        default="square",
        description="square: the largest central square; nucleus: the whole image on white, zoomed until the typical "
        "nucleus of its laboratory has one size",
    )
    zoom: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="training images are magnified by exp(±zoom) at most; 0: as they are",
    )
    stain_mix: float = Field(
        default=0.0, ge=0, le=1, description="deviation of a random mixing of the three colours' densities"
    )
    stain_gain: float = Field(
        default=0.0, ge=0, le=1, description="deviation of the logarithm of a random strength of the stain"
    )
    grey: float = Field(default=0.0, ge=0, le=1, description="share of the training images without colour")
    frame_jitter: float = Field(default=0.0, ge=0, le=1, description="share that is cut to a narrower frame")
    blur: float = Field(default=0.0, ge=0, le=1, description="share that is blurred")
    noise: float = Field(
        default=0.0, ge=0, le=1, description="deviation of the noise of the noisiest image, of full light"
    )
    jpeg: float = Field(
        default=0.0, ge=0, le=1, description="share that is shown as JPEG files of some quality show it"
    )
    norm: Literal["batch", "frozen"] = Field(
        default="batch",
        description="batch: batch normalisation learns the statistics of the training images; frozen: it keeps those of "
        "ImageNet, and only its scales and shifts learn. A network without it is trained alike",
    )
    instance_norm: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of each image's own mean and variance in batch normalisation, on maps of 8 px and more; a network "
        "without it is trained alike",
    )
    rotation_deg: float = Field(default=60.0, ge=0, le=180)
    hflip: bool = True
    vflip: bool = True
    crop: Literal["center", "random"] = "center"
    fill: Literal["black", "edge", "white"] = "black"
    eval_view: Literal["center_crop", "full_image"] = "center_crop"
    views: Literal[1, 8] = Field(
        default=1, description="8: the final predictions are means over the flips and quarter turns"
    )
    class_weights: Literal["none", "balanced"] = "none"
    in_blood: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far answers lean to the classes that are common in healthy blood, a power of their shares; 0: not at all",
    )
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    select_epoch: Literal["last", "best_val"] = "last"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.norm == "frozen" and self.weights == "none":
            raise ValueError("norm=frozen keeps the statistics of ImageNet, which weights=none does not have")
        if self.canvas_px is not None and (self.image_px is None or self.canvas_px < self.image_px):
            raise ValueError(
                f"canvas_px: expected an image_px that is not larger, got canvas_px {self.canvas_px}, image_px {self.image_px}"
            )
        if (self.small_px is None) != (self.small_epochs == 0):
            raise ValueError(
                f"small_px and small_epochs: expected both or neither, got {self.small_px} and {self.small_epochs}"
            )
        if self.small_epochs >= self.epochs and self.small_px:
            raise ValueError(
                f"small_epochs: expected fewer than epochs, so that the last ones are of full size, got "
                f"{self.small_epochs} of {self.epochs}"
            )
        if self.small_px and self.image_px and self.small_px >= self.image_px:
            raise ValueError(
                f"small_px: expected less than image_px, got {self.small_px} and {self.image_px}"
            )
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What a run's digest covers: every field; those added later count only where they are used.

        So a run keeps its name when hemoscope learns a new option.
        """
        return identity_of(self.model_dump())

    def small_at(self, epoch: int) -> int | None:
        """Return the smaller side of the input in an epoch, counted from 1; None: the whole one."""
        return self.small_px if epoch <= self.small_epochs else None

    @property
    def changes(self) -> dict[str, Any]:
        """Fields that differ from the built-in recipe of that name; empty where there is none.

        A precision is no change: `auto` becomes whatever the device does best. Nor is a field without effect, or one
        job would have two names.

        >>> Recipe(epochs=10, warmup=0.3).changes
        {'epochs': 10}
        """
        base = next((recipe for recipe in RECIPES if recipe.name == self.name), self)
        fields = self.model_dump(exclude={"precision", *without_effect({"schedule": self.schedule})})
        return {name: value for name, value in fields.items() if value != getattr(base, name)}

    @property
    def label(self) -> str:
        """The recipe's name, and what was changed: a paper with ten epochs is not the paper's.

        >>> Recipe(epochs=10).label, Recipe().label
        ('paper.epochs10', 'paper')
        """
        changed = [re.sub(r"[^A-Za-z0-9_.]", "", f"{name}{value}") for name, value in self.changes.items()]
        return ".".join([self.name, *(changed if len(changed) <= SPELT_OUT else [f"{len(changed)}changes"])])

    def lr_at(self, epoch: int, done: float = 0.5) -> float:
        """Return the learning rate of an epoch, counted from 1, of whose steps a share is done.

        Only `warm_cosine` changes within an epoch.

        >>> [Recipe().lr_at(epoch) for epoch in (1, 7, 8, 15)]
        [0.001, 0.001, 0.0001, 1e-05]
        """
        if self.schedule == "warm_cosine":
            gone = (epoch - 1 + done) / self.epochs
            if gone < self.warmup:
                return self.lr * gone / self.warmup
            return self.lr * 0.5 * (1 + cos(pi * (gone - self.warmup) / (1 - self.warmup)))
        if self.schedule == "cosine":
            return float(f"{self.lr * 0.5 * (1 + cos(pi * (epoch - 1) / self.epochs)):.12g}")
        # Rounded, so that 0.001 * 0.1 * 0.1 reads 1e-05 in every history.
        return float(f"{self.lr * self.lr_gamma ** ((epoch - 1) // self.lr_step):.12g}")


def identity_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe, as a run card holds them, without later ones that are not used.

    >>> identity_of({"epochs": 4, "ema": 0.0, "warmup": 0.3, "schedule": "step"})
    {'epochs': 4}
    """
    unused = {k for k in ADDED_LATER & fields.keys() if fields[k] == Recipe.model_fields[k].default}
    unused |= without_effect(fields)
    return {k: v for k, v in fields.items() if k not in unused}


def without_effect(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return which fields of a recipe play no part beside the others, whatever they hold.

    >>> sorted(without_effect({"schedule": "cosine", "warmup": 0.3}))
    ['warmup']
    """
    return frozenset() if fields.get("schedule") == "warm_cosine" else frozenset({"warmup"})


RECIPES: tuple[Recipe, ...] = (
    Recipe(),
    # A quarter of the epochs, the rate falling all the way. Batch and precision stay the paper's.
    Recipe(name="fast", epochs=6, schedule="cosine"),
    # Ten epochs, from trials on validation cells (docs/results/2026-11-past). SqueezeNets want lr=0.002.
    Recipe(
        name="best",
        epochs=10,
        batch_size=64,
        lr=0.01,
        schedule="warm_cosine",
        rotation_deg=180,
        views=8,
    ),
    # For cells of other laboratories (docs/results/2026-11-other-labs).
    Recipe(
        name="robust",
        epochs=10,
        batch_size=64,
        lr=0.01,
        schedule="warm_cosine",
        weight_decay=5e-4,
        ema=0.99,
        framing="nucleus",
        fill="white",
        rotation_deg=180,
        zoom=0.25,
        stain_mix=0.35,
        stain_gain=0.6,
        grey=0.3,
        frame_jitter=0.5,
        blur=0.5,
        noise=0.03,
        jpeg=0.3,
        instance_norm=0.3,
        views=8,
        in_blood=0.25,
        sampler="balanced",
    ),
    # Small networks from scratch on synthetic cells, in seconds an epoch on two cores.
    Recipe(
        name="demo",
        epochs=8,
        lr=0.02,
        schedule="cosine",
        weight_decay=5e-4,
        weights="none",
        image_px=48,
        canvas_px=84,
        fill="edge",  # black corners, seen in training only, mislead batch normalisation in so short a time
    ),
)


def load_recipe(name_or_file: str = "paper", changes: Iterable[str] = (), **values: Any) -> Recipe:
    """Return a built-in recipe or one from a TOML file, with changes applied.

    Args:
        name_or_file: A built-in name, or a path that ends in `.toml`.
        changes: As texts `KEY=VALUE`, such as `epochs=3` or `weights=none`.
        values: The same as values.

    Raises:
        UnknownNameError: If neither a recipe nor a field has that name.
        ConfigError: With every value that does not hold.
    """
    fields = _base(name_or_file)
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator:
            raise ConfigError(f"expected --set KEY=VALUE, got {change!r}; for example --set epochs=3")
        values = {**values, key: parse_value(text)}
    for key in values:
        if key not in Recipe.model_fields:
            raise UnknownNameError("recipe field", key, Recipe.model_fields)
    return _checked(fields | values, name_or_file)


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some values changed, checked as a whole.

    Raises:
        ConfigError: With every value that does not hold.
    """
    return _checked(recipe.model_dump() | dict(values), recipe.name)


def _checked(fields: dict[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
            if e["loc"]
            else e["msg"].removeprefix("Value error, ")  # of several fields, which it names
            for e in error.errors()
        ]
        raise ConfigError(f"the recipe {name!r} does not hold:\n  " + "\n  ".join(lines)) from None


def _base(name_or_file: str) -> dict[str, Any]:
    if name_or_file.endswith(".toml"):
        path = Path(name_or_file)
        try:
            values = tomllib.loads(read_plain(path, most=MOST_BYTES).decode("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"expected a recipe file at {path}; there is none") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
        except OSError as error:
            raise ConfigError(f"the recipe {path} cannot be read: {error.strerror}") from error
        return {"name": re.sub(r"[^A-Za-z0-9_.]+", "_", path.stem) or "recipe"} | values
    for recipe in RECIPES:
        if recipe.name == name_or_file:
            return recipe.model_dump()
    raise UnknownNameError("recipe", name_or_file, [recipe.name for recipe in RECIPES])


def parse_value(text: str) -> Any:
    """Return the value that a text names in `--set KEY=VALUE`."""
    if text in ("None", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word such as weights=none
