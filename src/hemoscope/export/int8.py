"""INT8: an exported model whose convolutions and last layers compute in whole numbers.

Scales come from validation images. So do the thresholds: INT8 is another model, whose certainty and
distances are its own, and fp32's would promise nothing of it. Test images are counted once, before and
after. Resizing, normalisation, votes and the temperature stay as they are.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hemoscope.bundle.card import Calibration
from hemoscope.bundle.file import Bundle
from hemoscope.bundle.known import choose, left_out
from hemoscope.encoding import jsonable
from hemoscope.ensemble.halves import halves
from hemoscope.errors import BundleError, DataError
from hemoscope.evaluation.intervals import wilson
from hemoscope.export.onnx import finished, graph, open_session
from hemoscope.packing.calibrate import Goals, calibrate, measure
from hemoscope.packing.labelled import Labelled, decoded
from hemoscope.progress import Progress
from hemoscope.records import FloatArray, Predictions

__all__ = ["Quantised", "quantised"]

SCALES = 128  # images that set the scales
_OPERATORS = ["Conv", "Gemm"]  # MatMul is the resampling


@dataclass(frozen=True, slots=True)
class Quantised:
    """What became of the answers.

    Attributes:
        n: Test images.
        right_fp32: Those of them that the exported model gets right.
        right_int8: Those that INT8 gets right.
        same_pred: Those given the same class by both.
        fp32_ci: Wilson's 95 % interval of the exported model's accuracy.
        int8_ci: The same of INT8's.
        n_scales: Validation images that set the scales.
        n_val: Validation images that set the thresholds.
        review_below: INT8's own thresholds, as in a bundle's card.
        unknown_above: The same.
        conformal_score: The same.
        conformal_by_class: The same.
        measured: What they do on the test images, by name, as in a bundle's card.
        mib_fp32: Size of the exported model.
        mib_int8: Size of the INT8 form.
    """

    n: int
    right_fp32: int
    right_int8: int
    same_pred: int
    fp32_ci: tuple[float, float]
    int8_ci: tuple[float, float]
    n_scales: int
    n_val: int
    review_below: float | None
    unknown_above: float | None
    conformal_score: float
    conformal_by_class: tuple[float, ...] | None
    measured: dict[str, Any]
    mib_fp32: float
    mib_int8: float


def quantised(
    bundle: Bundle, source: bytes, *, val: Labelled, test: Labelled, progress: Progress | None = None
) -> tuple[bytes, Quantised]:
    """Return an INT8 form of an exported bundle, and what it costs.

    Args:
        bundle: What was exported.
        source: What `export` wrote of it.
        val: The validation images of its runs, all of them, ordered by path: scales and thresholds.
        test: The test images, for counting.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If a side has no image.
        BundleError: If the bundle remembers other cells than those of `val`.
    """
    if not val or not test:
        raise DataError(
            f"INT8 needs validation images for scales and thresholds and test images to be counted; got {len(val):,} "
            f"and {len(test):,}"
        )
    some = np.random.default_rng(0).permutation(len(val))[:SCALES]
    content = _in_int8(graph(bundle, features=True), [val[i] for i in some])
    trust = _own_thresholds(bundle, content, val, progress)
    about = f"chosen on INT8 answers to {trust.n_val} validation images"
    done = finished(content, bundle, trust, about=about)
    before, after = (
        _said(bundle, open_session(model), test, f"counting test images, {form}", progress)
        for model, form in ((source, "fp32"), (done, "INT8"))
    )
    right = [int((said.pred == said.target).sum()) for said, _, _ in (before, after)]
    intervals = [tuple(float(end) for end in wilson(hits, len(test))) for hits in right]
    distance = None if trust.unknown_above is None else after[1]
    return done, Quantised(
        n=len(test),
        right_fp32=right[0],
        right_int8=right[1],
        same_pred=int((before[0].pred == after[0].pred).sum()),
        fp32_ci=intervals[0],  # type: ignore[arg-type]
        int8_ci=intervals[1],  # type: ignore[arg-type]
        n_scales=len(some),
        n_val=trust.n_val,
        review_below=trust.review_below,
        unknown_above=trust.unknown_above,
        conformal_score=trust.conformal_score,
        conformal_by_class=trust.conformal_by_class,
        measured=dict(jsonable(measure(after[0], distance, trust))),  # type: ignore[call-overload]
        mib_fp32=len(source) / 2**20,
        mib_int8=len(done) / 2**20,
    )


def _in_int8(content: bytes, images: Labelled) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, Any] | None:  # type: ignore[override]
            image, _ = next(self._images, (None, 0))
            return None if image is None else {"image": decoded(image)[None]}

    with tempfile.TemporaryDirectory() as work, _quiet():
        traced, prepared, done = (Path(work) / f"{name}.onnx" for name in ("traced", "prepared", "int8"))
        traced.write_bytes(content)
        quant_pre_process(traced, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            done,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return done.read_bytes()


def _own_thresholds(bundle: Bundle, content: bytes, val: Labelled, progress: Progress | None) -> Calibration:
    """Choose thresholds on INT8's answers, a remembered cell's distance being that from the others."""
    asked = bundle.card.calibration
    said, distance, features = _said(bundle, open_session(content), val, "asking INT8", progress)
    if asked.unknown_above is not None:
        rows = choose(said.target)
        if any(len(known) != len(rows) for known in bundle.known):
            raise BundleError(
                f"{bundle.path} remembers other cells than this hemoscope would; make it again: hemoscope bundle"
            )
        nearest = [
            left_out(torch.from_numpy(each[rows]), known.float())
            for each, known in zip(features, bundle.known, strict=True)
        ]
        distance[rows] = torch.stack(nearest).mean(dim=0).double().numpy()
    rows = halves(said.target)[1] if bundle.card.by_half else np.arange(len(said))
    goals = Goals(
        asked.error_rate, asked.coverage, asked.unknown_share, by_class=asked.conformal_by_class is not None
    )
    return calibrate(
        said.take(rows),
        None if asked.unknown_above is None else distance[rows],
        goals,
        temperature=1.0,  # the graph has divided by the bundle's
    )


def _said(
    bundle: Bundle, session: Any, images: Labelled, what: str, progress: Progress | None
) -> tuple[Predictions, FloatArray, list[np.ndarray[Any, Any]]]:
    """Return a session's answers, its distances, shape (N,), and each network's features, if it tells them."""
    rows: list[list[Any]] = []
    for i, (image, _) in enumerate(images, 1):
        rows.append([output[0] for output in session.run(None, {"image": decoded(image)[None]})])
        if progress:
            progress(what, i, len(images))
    probs, pred, distance, *features = (np.stack(column) for column in zip(*rows, strict=True))
    target = np.array([target for _, target in images], dtype=np.int64)
    paths = tuple(str(i) for i in range(len(images)))
    said = Predictions(bundle.card.classes, paths, target, probs.astype(np.float64), pred)
    return said, distance.astype(np.float64), list(features)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice on other ways to quantise off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
