"""A model as one ONNX file that takes pixels: from RGB on, nobody's preprocessing can differ from ours.

    input   image   uint8   (N, H, W, 3)   RGB, any size, one size a batch
    outputs probs   float32 (N, C)         calibrated probabilities
            pred    int64   (N,)           the class, as voted
            distance float32 (N,)          from the nearest known cell; NaN if the bundle knows none

Outside the graph lies how a file becomes upright 8-bit RGB: orientation, transparency, 16 bits, inks, profiles,
and which JPEG decoder. docs/examples/README.md states what `data.images.decode` does with each.

A model that frames cells by their nuclei does so inside, for one camera: how large nuclei are in its images, in pixels, is
a constant of the graph. Class names, thresholds, what they were chosen on, that size and the bundle's digest are in the file's metadata.
docs/examples judge by them as the bundle does. The resampling is Pillow's, written as two matrix products
with Pillow's rounding in between, so that it is the same in any runtime.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx.operators import shape_as_tensor

from hemoscope.bundle.card import BundleCard, Calibration, Preprocessing
from hemoscope.bundle.file import Bundle
from hemoscope.bundle.known import distances
from hemoscope.data.augment import view_affine
from hemoscope.data.images.decode import decode
from hemoscope.data.images.framing import Framing
from hemoscope.errors import BundleError, MissingPackageError
from hemoscope.export.frame import framed
from hemoscope.files import atomic_path, refuse_existing
from hemoscope.predict.model import Model, on_device
from hemoscope.predict.network import ask

__all__ = ["Parity", "checked", "export", "finished", "graph", "need_packages", "open_session"]

OPSET = 18
OUTPUTS = ["probs", "pred", "distance"]
TOLERANCE = 1e-3  # of a probability or a distance, in fp32


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported model is from the Python one.

    Attributes:
        n: Images compared.
        probs: Largest difference of a probability.
        same_pred: Images with the same class.
        distance: Largest difference of a distance; NaN if the bundle knows no cells.
    """

    n: int
    probs: float
    same_pred: int
    distance: float


def export(
    bundle: Bundle, out: Path, *, images: Iterable[NDArray[np.uint8]] = (), overwrite: bool = False
) -> Parity:
    """Write a bundle as ONNX, after the file has given the same answers as the model.

    Args:
        bundle: What to export.
        out: The file to write.
        images: Decoded images to compare on, besides the bundle's own cells in several shapes.
        overwrite: Replace what is at `out`.

    Raises:
        MissingPackageError: If the packages that write and run ONNX are not installed.
        DataError: If `out` is there already.
        BundleError: If the answers differ by more than `TOLERANCE`.
    """
    refuse_existing(out, overwrite=overwrite)
    content, parity = checked(bundle, images)
    with atomic_path(out) as part:
        part.write_bytes(content)
    return parity


def checked(bundle: Bundle, images: Iterable[NDArray[np.uint8]] = ()) -> tuple[bytes, Parity]:
    """Return a bundle as ONNX that has given the same answers as the model; see `export`."""
    need_packages()
    model = on_device(bundle, "cpu", "fp32")
    trust = bundle.card.calibration
    answers = trust.measured.get("answers", "as stored")
    adapted = bundle.card.adapted is not None
    about = answers if adapted else f"chosen on answers to {trust.n_val} validation images: {answers}"
    content = finished(graph(bundle), bundle, trust, about=about)
    session = open_session(content)
    parity = compare(model, session, [*_trials(bundle), *images])
    knows = trust.unknown_above is not None
    worst = float(np.max([parity.probs, parity.distance if knows else 0.0]))
    if not worst <= TOLERANCE:  # NaN is not
        raise BundleError(
            f"the exported model differs by up to {worst:.3g} in a probability or distance, more than {TOLERANCE}, "
            f"on {parity.n} images; nothing was written"
        )
    return content, parity


def graph(bundle: Bundle, *, features: bool = False) -> bytes:
    """Return a bundle as ONNX without metadata, on request with each network's features as further outputs."""
    more = [f"features_{i}" for i in range(len(bundle.models))] if features else []
    return trace(_Exported(on_device(bundle, "cpu", "fp32"), features=features), [*OUTPUTS, *more])


def finished(content: bytes, bundle: Bundle, trust: Calibration, *, about: str) -> bytes:
    """Return ONNX with its three outputs and the metadata to judge by.

    Args:
        content: From `graph`, or made of it.
        bundle: What it was made of.
        trust: Thresholds of the answers that this graph gives.
        about: What those were chosen on.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    del model.graph.output[len(OUTPUTS) :]
    del model.metadata_props[:]
    told = {
        "classes": list(bundle.card.classes),
        "review_below": trust.review_below,
        "unknown_above": trust.unknown_above,
        "conformal_score": trust.conformal_score,
        **({"conformal_by_class": trust.conformal_by_class} if trust.conformal_by_class else {}),
        "short_sides_px": bundle.card.short_sides_px,
        **({"nucleus_px": bundle.card.nucleus_px} if bundle.card.nucleus_px else {}),
        "converted": sorted(bundle.card.converted),
        "thresholds": about,
        "intended_use": bundle.card.intended_use,
        "bundle": bundle.digest,
    }
    for name, value in told.items():
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    model.producer_name = "hemoscope"
    return model.SerializeToString()


def open_session(model: bytes | Path) -> Any:
    """Return an ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def compare(model: Model, session: Any, images: Iterable[NDArray[np.uint8]]) -> Parity:
    """Return how far a session's answers are from a model's."""
    off: list[tuple[float, float]] = []
    same = 0
    for image in images:
        (verdict,) = model.judge([image])
        probs, pred, distance = session.run(None, {"image": image[None]})
        off.append(
            (float(np.abs(probs[0] - verdict.probs).max()), abs(float(distance[0]) - verdict.distance))
        )
        same += model.card.classes[int(pred[0])] == verdict.pred
    worst, far = np.max(off, axis=0).tolist()
    return Parity(len(off), worst, same, far)


class _Exported(nn.Module):
    """From uint8 images of any size to calibrated probabilities, class and distance."""

    def __init__(self, model: Model, *, features: bool = False) -> None:
        super().__init__()
        self.features = features
        self.networks = nn.ModuleList([network.model for network in model.networks])
        self.heads = [network.head for network in model.networks]
        self.known = [network.known for network in model.networks]
        self.steps: tuple[Preprocessing, ...] = tuple(m.preprocessing for m in model.card.members)
        self.card: BundleCard = model.card

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = image.permute(0, 3, 1, 2).double()  # (N, 3, H, W)
        kinds = {(step.framing, step.canvas_px) for step in self.steps}
        squares = {(framing, px): _square(pixels, framing, px) for framing, px in kinds}
        answers = [
            ask(network, head, _normalised(_view(squares[step.framing, step.canvas_px], step), step))
            for network, head, step in zip(self.networks, self.heads, self.steps, strict=True)
        ]
        logits = torch.stack([logits for logits, _ in answers])  # (K, N, C)
        distance = torch.stack(
            [distances(features, known) for (_, features), known in zip(answers, self.known, strict=True)]
        ).mean(dim=0)
        each = logits.softmax(dim=2)
        mean = each.mean(dim=0)
        n_classes = len(self.card.classes)
        rank = mean
        if self.card.vote == "majority":  # a probability is at most 1: it only decides ties
            rank = functional.one_hot(each.argmax(dim=2), n_classes).sum(dim=0) + 0.5 * mean
        probs = (
            mean.clamp_min(torch.finfo(torch.float32).tiny).log() / self.card.calibration.temperature
        ).softmax(1)
        more = [features for _, features in answers] if self.features else []
        return probs, rank.argmax(dim=1), distance, *more


def _square(pixels: Tensor, framing: Framing, side_px: int) -> Tensor:
    if framing.view_px is None:
        return _center_square(pixels, side_px)
    return framed(pixels, side_px, view_px=framing.view_px)


def _center_square(pixels: Tensor, side_px: int) -> Tensor:
    """Return the largest central square, resized as Pillow's BILINEAR does; (N, 3, S, S), float32.

    In float64 the sums of bytes and 22-bit weights are exact, as Pillow's whole numbers are.
    """
    shape = shape_as_tensor(pixels).double()  # sizes stay dynamic in the graph
    height, width = shape[2:3], shape[3:4]  # shape (1,): the exporter would make a scalar float32
    side = torch.minimum(height, width)
    reach = (side / side_px).clamp_min(1.0) + 1
    top = (height - side) / 2
    first = (top - reach).floor().clamp_min(0.0)  # as `center_square` cuts it, for the last bit of a weight
    none = torch.zeros_like(first)
    across = _weights((width - side) / 2, side, width, side_px, first=none, pixels_first=True)
    down = _weights(top - first, side, height, side_px, first=first)
    rows = _to_bytes(torch.matmul(pixels, across))  # (N, 3, H, S)
    return _to_bytes(torch.matmul(down, rows)).float()


def _weights(
    start: Tensor, length: Tensor, size: Tensor, side_px: int, *, first: Tensor, pixels_first: bool = False
) -> Tensor:
    """Return Pillow's triangle filter as a matrix of 22-bit fractions, shape (side_px, size) or (size, side_px).

    `start` is counted from the pixel `first`. The order of the arithmetic is Pillow's: ties hang on it. The second shape is
    made so and not transposed: older runtimes have no product with a transposed matrix in float64.
    """
    scale = length / side_px
    support = scale.clamp_min(1.0)
    centre = start + (torch.arange(side_px, dtype=torch.float64) + 0.5) * scale  # (S,)
    count: Any = size[0]  # a tensor, so that the graph asks again
    where = torch.arange(count, dtype=torch.float64) - first
    pixel, place = (0, 1) if pixels_first else (1, 0)
    away = where.unsqueeze(place) - centre.unsqueeze(pixel) + 0.5
    weights = (1 - (away * (1 / support)).abs()).clamp_min(0.0)
    weights = weights / weights.sum(dim=pixel, keepdim=True)
    return (weights * 2**22 + 0.5).floor() / 2**22


def _view(square: Tensor, step: Preprocessing) -> Tensor:
    matrix = view_affine(1, canvas_px=step.canvas_px, image_px=step.image_px, view=step.view)[0]
    if step.view == "full_image":
        # Not a Resize node: runtimes differ in its last bit, and half a grey level is then a whole one.
        # OpenCV's coordinates are float32, and it rounds halves to even.
        start, scale = (np.float32(matrix[0, column]) for column in (2, 0))
        where = torch.from_numpy(scale * np.arange(step.image_px, dtype=np.float32) + start)
        distance = (where.double()[:, None] - torch.arange(step.canvas_px)).abs()
        weights = (1 - distance).clamp_min(0.0)  # (image, canvas)
        scaled = torch.matmul(weights, torch.matmul(square.double(), weights.T.contiguous()))
        return scaled.round().clamp(0, 255).float()
    start = int(matrix[0, 2])
    inside = slice(start, start + step.image_px)
    return square[:, :, inside, inside]


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)


def _normalised(pixels: Tensor, step: Preprocessing) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (step.mean, step.std))
    return (pixels - mean) / std


def trace(graph: nn.Module, outputs: list[str]) -> bytes:
    """Return a module from pixels to `outputs` as ONNX, any number of images of any size."""
    example = torch.zeros(2, 90, 80, 3, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings(), torch.no_grad():
        file = Path(work) / "model.onnx"
        warnings.simplefilter("ignore")  # the tracer's: sizes are dynamic on purpose, parity shows it
        torch.onnx.export(
            graph.eval(),
            (example,),
            file,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={"image": {0: "n", 1: "height", 2: "width"}, **{name: {0: "n"} for name in outputs}},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()


def _trials(bundle: Bundle) -> list[NDArray[np.uint8]]:
    """Return the bundle's cells as they are, upright, lying and tiny: the graph must take any size."""
    from PIL import Image

    trials: list[NDArray[np.uint8]] = []
    for i, content in enumerate(bundle.cells.values()):
        cell = Image.fromarray(decode(content).pixels)
        size = ((360, 363), (363, 360), (200, 150), (64, 97), (1, 1), (31, 700))[i % 6]
        trials += [np.asarray(cell), np.asarray(cell.resize(size, Image.Resampling.BICUBIC))]
    return trials


def need_packages() -> None:
    """Refuse where the packages that write and run ONNX are missing.

    Raises:
        MissingPackageError: With the command that installs them.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError.of("exporting", error, extra="export") from None
    del onnx, onnxruntime
