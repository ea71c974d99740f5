"""INT8: an exported model whose convolutions and last layers compute in whole numbers.

Scales come from calibration images; accuracy before and after is counted on other, labelled ones.
Resizing, normalisation and the votes stay in fp32.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemoscope.errors import BundleError
from hemoscope.inference.export import open_session
from hemoscope.runs import atomic_path

__all__ = ["Quantised", "quantise"]

_OPERATORS = ["Conv", "Gemm"]  # MatMul is the resampling


@dataclass(frozen=True, slots=True)
class Quantised:
    """What became of the answers: images right of n in fp32 and in INT8, and with the same class in both."""

    n: int
    right_fp32: int
    right_int8: int
    same_pred: int
    mib_fp32: float
    mib_int8: float


def quantise(
    source: Path,
    out: Path,
    calibration: Sequence[NDArray[np.uint8]],
    labelled: Sequence[tuple[NDArray[np.uint8], int]],
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Quantised:
    """Write an INT8 form of an exported model and count what it costs.

    Args:
        source: What `export` wrote.
        out: The file to write.
        calibration: Decoded images that set the scales.
        labelled: Other decoded images and their classes.
        progress: Called with (what is done, done, in all).

    Raises:
        BundleError: If `out` is there already.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if out.exists():
        raise BundleError(f"{out} is there already; choose another --out or delete it")

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:  # type: ignore[override]
            image = next(self._images, None)
            return None if image is None else {"image": image[None]}

    with tempfile.TemporaryDirectory() as work, atomic_path(out) as part, _quiet():
        prepared = Path(work) / "prepared.onnx"
        _shape_inferred(source, prepared)
        quantize_static(
            prepared,
            part,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    before, after = open_session(source), open_session(out)
    said: list[list[int]] = []
    for i, (image, _) in enumerate(labelled, 1):
        said.append([int(s.run(["pred"], {"image": image[None]})[0][0]) for s in (before, after)])
        if progress:
            progress("scoring fp32 and INT8", i, len(labelled))
    targets = [target for _, target in labelled]
    return Quantised(
        n=len(labelled),
        right_fp32=sum(a == t for (a, _), t in zip(said, targets, strict=True)),
        right_int8=sum(b == t for (_, b), t in zip(said, targets, strict=True)),
        same_pred=sum(a == b for a, b in said),
        mib_fp32=source.stat().st_size / 2**20,
        mib_int8=out.stat().st_size / 2**20,
    )


def _shape_inferred(source: Path, out: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(source, out, skip_symbolic_shape=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice on other ways to quantise off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
