"""The framing by nuclei inside the exported graph is the one outside it, pixel by pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from torch import Tensor, nn

from hemoscope.data.images import frame
from hemoscope.export.frame import framed
from hemoscope.export.onnx import open_session, trace

pytest.importorskip("onnx", reason="the extra `export` is not installed")

KINDS = ((96, 140.0), (61, 387.3), (150, 26.0))  # side and view: near, wide, very near
SIZES = ((363, 360), (120, 120), (131, 300), (17, 400), (1, 1))


class _Frames(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = image.permute(0, 3, 1, 2).double()
        return tuple(framed(pixels, side_px, view_px=view_px) for side_px, view_px in KINDS)


@pytest.fixture(scope="module")
def session() -> Any:
    return open_session(trace(_Frames(), ["near", "wide", "very near"]))


@pytest.mark.parametrize("size", SIZES)
def test_the_graph_frames_images_of_any_size_as_the_package_does(session, size):
    height, width = size
    rng = np.random.default_rng(height)
    coarse = rng.integers(0, 256, (max(1, height // 9), max(1, width // 9), 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, 3)
    for (side_px, view_px), said in zip(KINDS, session.run(None, {"image": image[None]}), strict=True):
        off = np.abs(said[0].transpose(1, 2, 0) - frame.framed(image, side_px, view_px=view_px).astype(float))
        assert off.max() <= 3  # one level before the white is divided out
        assert (off > 0).mean() < 1e-3


def test_images_of_one_batch_are_framed_each_by_its_own_white(session):
    rng = np.random.default_rng(7)
    images = np.stack([rng.integers(low, 256, (80, 70, 3), dtype=np.uint8) for low in (10, 180)])
    together = session.run(None, {"image": images})
    for i, image in enumerate(images):
        for both, alone in zip(together, session.run(None, {"image": image[None]}), strict=True):
            np.testing.assert_array_equal(both[i], alone[0])
