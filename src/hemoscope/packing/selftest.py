"""The cells a bundle checks itself by: drawn, one a class, with the probabilities it gave where it was made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from hemoscope.bundle.card import BundleCard
from hemoscope.bundle.file import Bundle
from hemoscope.data.synthetic.kinds import class_names
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.errors import BundleError
from hemoscope.predict.model import on_device

__all__ = ["TOLERANCE", "drawn_cells", "expected_answers", "verify"]

TOLERANCE = 1e-3  # of a probability in fp32, between two machines
SIDE_PX = 120


def drawn_cells() -> dict[str, bytes]:
    """Return PNG files by the names they have in a bundle."""
    return {f"selftest-{i}.png": _drawn(name, i) for i, name in enumerate(class_names())}


def expected_answers(
    card: BundleCard, models: Sequence[nn.Module], cells: Mapping[str, bytes]
) -> dict[str, list[float]]:
    """Return the probabilities that a bundle of these networks gives for its cells, in fp32, by name."""
    bundle = Bundle(Path(card.name), card, tuple(models), {}, cells, "")
    names = sorted(cells)
    probs = on_device(bundle, "cpu", "fp32").predict_proba([cells[name] for name in names])
    return {name: row.tolist() for name, row in zip(names, probs, strict=True)}


def verify(bundle: Bundle, *, device_name: str = "cpu") -> float:
    """Let a bundle answer for its own drawn cells, in fp32; return the largest difference.

    Raises:
        BundleError: If a probability differs by more than `TOLERANCE` from what the bundle expects.
    """
    model = on_device(bundle, device_name, "fp32")
    names = sorted(bundle.cells)
    got = model.predict_proba([bundle.cells[name] for name in names])
    want = np.array([bundle.selftest[name] for name in names])
    worst = float(np.abs(got - want).max())
    if not worst <= TOLERANCE:  # NaN is not
        raise BundleError(
            f"{bundle.path} does not answer as it did where it was made: probabilities of its own cells differ by "
            f"up to {worst:.3g}, more than {TOLERANCE}"
        )
    return worst


def _drawn(class_name: str, i: int) -> bytes:
    cell = draw_cell(class_name, size_px=SIDE_PX, rng=np.random.default_rng(i))
    file = io.BytesIO()
    Image.fromarray(cell).save(file, "PNG", optimize=True)
    return file.getvalue()
