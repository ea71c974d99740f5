"""A trained model to ask: one network or an ensemble, with calibrated probabilities and refusals.

    model = hemoscope.load("model.hemo")
    model.predict(["a.jpg", "b.png"])        # class names
    model.predict_proba(images)              # (N, C), columns in the order of model.classes_
    for verdict in model.judge(images): ...  # with status and reason; a bad image is a verdict too

Names and shapes follow scikit-learn. Nothing here trains, and nothing is cached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hemoscope.bundle.card import BundleCard, Calibration
from hemoscope.bundle.file import Bundle, read_bundle
from hemoscope.data.camera import evenly
from hemoscope.data.images.decode import Decoded, decode_opened
from hemoscope.ensemble.vote import combine
from hemoscope.errors import ConfigError, ImageError, ShapeError
from hemoscope.models.build import head_path
from hemoscope.models.registry import get_arch
from hemoscope.predict.network import Network, at_nucleus, seen_px, trained_px
from hemoscope.predict.stream import Answer, Source, stream
from hemoscope.predict.verdict import decide, odd_size
from hemoscope.records import FloatArray
from hemoscope.training.device import Device, choose_device, resolve_precision, tune

__all__ = ["ImageLike", "Model", "Status", "Verdict", "load"]

NARROW = "16-bit-narrow"
Status = Literal["accepted", "review", "unknown", "error"]
ImageLike = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | torch.Tensor | ImageError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says of one image, and how far to trust it.

    Attributes:
        status: `accepted`; `review` for a person to look at; `unknown` for what is like none of the
            classes; `error` if it could not be read.
        reason: Why it was not accepted, in plain words; empty if it was.
        pred: The class; empty on error.
        probs: Calibrated probabilities, shape (C,); None on error.
        shares: Share of the members that voted for each class, shape (C,); None on error.
        margin: Probability of `pred` less the largest other one; NaN on error.
        distance: From the nearest known cell, 0 to 2; NaN on error, and where the bundle knows none.
        candidates: The conformal set: the true class is among them at the stated coverage.
        converted: What had to be done to make the file upright 8-bit RGB, by the names of `hemoscope data
            check`; `cropped` where the central square leaves more than half of it out.
    """

    status: Status
    reason: str = ""
    pred: str = ""
    probs: FloatArray | None = None
    shares: FloatArray | None = None
    margin: float = float("nan")
    distance: float = float("nan")
    candidates: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()


class Model:
    """A bundle on a device. Made by `load`.

    In a forked process, such as a web server's worker, it answers on the CPU with one thread.

    Attributes:
        card: What the bundle says of itself, at the camera it is asked at.
        digest: SHA-256 of the bundle's content.
        classes_: Class names, shape (C,).
    """

    def __init__(self, card: BundleCard, networks: Sequence[Network], digest: str) -> None:
        self.card = card
        self.digest = digest
        self.classes_ = np.array(card.classes)
        self.networks = tuple(networks)
        self._process = os.getpid()

    def __repr__(self) -> str:
        return (
            f"<hemoscope model {self.card.name}: {len(self.networks)} networks, {len(self.classes_)} classes>"
        )

    def predict(self, images: Iterable[ImageLike], *, tta: bool = False) -> NDArray[np.str_]:
        """Return the class of every image, shape (N,); what to doubt is in `judge`.

        Args:
            images: Paths, encoded bytes, PIL images, uint8 arrays of shape (H, W, 3) or (H, W), or uint8
                tensors of shape (3, H, W).
            tta: Average over the eight flips and quarter turns; costs eight times as much.

        Raises:
            ConfigError: If the bundle was not calibrated for `tta`.
            ShapeError: If something is of another type, shape or range.
            ImageError: If a file cannot be read; the message names all of them.
        """
        return np.array([verdict.pred for verdict in self._sound(images, tta=tta)], dtype=self.classes_.dtype)

    def predict_proba(self, images: Iterable[ImageLike], *, tta: bool = False) -> FloatArray:
        """Return calibrated probabilities, shape (N, C); columns as in `classes_`. See `predict`."""
        rows = [verdict.probs for verdict in self._sound(images, tta=tta)]
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.classes_))

    def judge(
        self, images: Iterable[ImageLike], *, tta: bool = False, batch_size: int | None = None
    ) -> Iterator[Verdict]:
        """Yield a verdict for every image, in order and in the memory of a few batches.

        A file that cannot be read is a verdict with status `error`, never a substitute.

        Raises:
            ConfigError: If the bundle was not calibrated for `tta`.
            ShapeError: If something that is no file is of another type, shape or range.
        """
        return (verdict for _, verdict in self.ask(images, tta=tta, batch_size=batch_size))

    def ask(
        self,
        images: Iterable[ImageLike],
        *,
        tta: bool = False,
        batch_size: int | None = None,
        features: bool = False,
    ) -> Iterator[tuple[Answer, Verdict]]:
        """Yield what the members say of every image, before any calibration, and the verdict; see `judge`.

        With `features` answers hold what the members' heads were given, too.
        """
        if os.getpid() != self._process:  # forked: the threads that torch counts on stayed behind
            torch.set_num_threads(1)
        trust = self.trust(tta=tta)
        sources = (_source(image, i) for i, image in enumerate(_many(images)))
        answers = stream(self.networks, sources, batch_size=batch_size, tta=tta, features=features)
        return ((answer, self._verdict(answer, trust)) for answer in answers)

    @property
    def frames_nuclei(self) -> bool:
        """Whether it frames cells by their nuclei, whatever camera took them."""
        return self.nucleus_px is not None

    @property
    def nucleus_px(self) -> float | None:
        """Diameter of the nuclei that it frames cells by, in pixels of the images; None where it frames none."""
        return trained_px(self.networks)

    def at_camera(self, images: Iterable[ImageLike]) -> Model:
        """Return the model as it looks at cells of the camera that took these images.

        Only a model that frames cells by their nuclei is another one then. It looks at how large they are, and at no label.

        Args:
            images: Some of that camera's, of all kinds of cells, as `predict` takes them; 256 from everywhere among them are looked at.
                A file that cannot be read is passed over. Few are drawn towards what it was trained on, and within a tenth of that it
                stays as it is.

        Raises:
            ShapeError: If something is no image.
        """
        return self.at_nucleus(self.seen_px(images))

    def seen_px(self, images: Iterable[ImageLike]) -> float | None:
        """Return the diameter of the typical nucleus of these images, as `at_camera` takes it; None where it frames none."""
        sources = (_source(image, i) for i, image in enumerate(evenly([*_many(images)])))
        readable = (one for one in sources if not isinstance(one, ImageError))
        return seen_px(self.networks, (one.pixels if isinstance(one, Decoded) else one for one in readable))

    def at_nucleus(self, nucleus_px: float | None) -> Model:
        """Return the model as it looks at cells whose typical nucleus has this diameter, in pixels of their images.

        For None, and where it frames no nuclei, it is as it was.
        """
        return Model(self.card.at_nucleus(nucleus_px), at_nucleus(self.networks, nucleus_px), self.digest)

    def trust(self, *, tta: bool = False) -> Calibration:
        """Return temperature, thresholds and confusion, measured on answers made the same way.

        Raises:
            ConfigError: If the bundle was not calibrated for `tta`.
        """
        if not tta:
            return self.card.calibration
        if self.card.tta is None:
            raise ConfigError(
                f"{self.card.name} was calibrated without flips and turns, and its thresholds hold without them "
                "only. Ask without tta, or make the bundle again: hemoscope bundle RUNS --out FILE --tta"
            )
        return self.card.tta

    def _sound(self, images: Iterable[ImageLike], *, tta: bool) -> list[Verdict]:
        verdicts = list(self.judge(images, tta=tta))
        bad = [(i, v.reason) for i, v in enumerate(verdicts) if v.status == "error"]
        if bad:
            listing = "\n  ".join(f"image {i}: {reason}" for i, reason in bad[:20])
            raise ImageError(f"{len(bad)} of {len(verdicts)} images cannot be read:\n  {listing}")
        return verdicts

    def _verdict(self, answer: Answer, trust: Calibration) -> Verdict:
        if answer.probs is None or answer.distance is None:
            return Verdict("error", answer.error)
        pred, mean, shares = combine(answer.probs[:, None], self.card.vote)
        distance = answer.distance.mean(keepdims=True)
        found = decide(mean, pred, distance, trust)
        probs, best, names = found.probs[0], int(pred[0]), self.card.classes
        status: Status = "accepted"
        reason = ""
        if found.unknown[0]:
            status = "unknown"
            reason = f"unlike the cells it knows: distance {distance[0]:.3f} above {trust.unknown_above:.3f}"
        elif odd := self._odd(answer):
            status, reason = "review", odd
        elif found.review[0]:
            status = "review"
            runner_up = names[int(np.argsort(-probs)[1] if probs.argmax() == best else probs.argmax())]
            reason = (
                f"could be {runner_up}: probability {probs[best]:.3f} below {trust.review_below:.3f}"
                if trust.review_below is not None
                else f"this model accepts nothing by itself: no threshold keeps its errors at {trust.error_rate:.3g}"
            )
        return Verdict(
            status=status,
            reason=reason,
            pred=names[best],
            probs=probs,
            shares=shares[0],
            margin=float(found.margin[0]),
            distance=float(distance[0]),
            candidates=tuple(name for name, inside in zip(names, found.candidates[0], strict=True) if inside),
            converted=answer.converted,
        )

    def _odd(self, answer: Answer) -> str:
        """Return why a file may be no picture of one whole cell as this model knows them; empty if nothing says so."""
        if odd_size(answer.side_px, known_px := self.card.short_sides_px):
            smallest, largest = known_px or (0, 0)
            return f"{answer.side_px} px; it knows cells in images of {smallest} to {largest} px"
        if NARROW in answer.converted and NARROW not in self.card.converted:
            return "its 16-bit values use a quarter of their range or less; perhaps they have fewer bits"
        return ""


def load(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> Model:
    """Load a bundle made by `hemoscope bundle`.

    Args:
        path: The file.
        device: auto, cuda, cuda:N, mps or cpu.
        precision: `fp32`, `bf16`, or `auto` for what the device does best.

    Raises:
        BundleError: If it is no bundle, damaged, edited or from a newer version.
        ConfigError: If the device is not there.
    """
    return on_device(read_bundle(Path(path)), device, precision)


def on_device(bundle: Bundle, device: str, precision: Literal["auto", "fp32", "bf16"]) -> Model:
    """Return a model whose networks lie on the device."""
    torch_device = choose_device(device)
    tune(torch_device)
    where = Device(torch_device, resolve_precision(precision, torch_device))
    networks = [
        Network(
            model.to(torch_device),
            bundle.card.classes,
            member.preprocessing.image_px,
            member.preprocessing.canvas_px,
            member.preprocessing.fill,
            member.preprocessing.view,
            where,
            head_path(get_arch(member.arch), member.head),
            None if known is None else known.to(torch_device, torch.float32),
            member.preprocessing.framing,
        )
        for member, model, known in zip(
            bundle.card.members, bundle.models, bundle.known or [None] * len(bundle.models), strict=True
        )
    ]
    return Model(bundle.card, networks, bundle.digest)


def _many(images: Iterable[ImageLike]) -> Iterable[ImageLike]:
    """Refuse one image where several are expected."""
    single = isinstance(images, (str, PathLike, bytes, Image.Image))
    if single or (isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim < 4):
        raise ShapeError(f"expected several images, got one {type(images).__name__}; put it into a list")
    return images


def _source(image: Any, i: int) -> Source:
    """Return what the stream takes; arrays are checked here, files where they are read."""
    if isinstance(image, (str, PathLike)):
        return Path(image)
    if isinstance(image, (bytes, ImageError)):
        return image
    if isinstance(image, Image.Image):
        try:
            return decode_opened(image)
        except ImageError as error:
            raise ShapeError(f"image {i}: {error}") from error
    if isinstance(image, torch.Tensor):
        wanted = "a uint8 tensor of shape (3, H, W)"
        pixels = image.detach().cpu().numpy()
        fits = pixels.ndim == 3 and pixels.shape[0] == 3
        pixels = np.moveaxis(pixels, 0, -1) if fits else pixels
    elif isinstance(image, np.ndarray):
        wanted = "a uint8 array of shape (H, W, 3) or (H, W)"
        pixels = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image
        fits = pixels.ndim == 3 and pixels.shape[-1] == 3
    else:
        raise ShapeError(
            f"image {i}: expected a path, bytes, PIL image, array or tensor; got {type(image).__name__}"
        )
    if not fits or 0 in pixels.shape:
        raise ShapeError(f"image {i}: expected {wanted}, not empty; got shape {tuple(image.shape)}")
    if pixels.dtype != np.uint8:
        raise ShapeError(
            f"image {i}: expected {wanted} with values 0 to 255; got {image.dtype}. For values from 0 to 1: "
            "(255 * image).round() as uint8"
        )
    return np.ascontiguousarray(pixels)
