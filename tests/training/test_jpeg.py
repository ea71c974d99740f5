"""What `Jpeg` does to a batch is what libjpeg does to files of the same quality."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from hemoscope.data.synthetic import draw_cell
from hemoscope.training.jpeg import Jpeg

JPEG = Jpeg(torch.device("cpu"))


def cell(size_px: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    return draw_cell("neutrophil", size_px=size_px, rng=np.random.default_rng(seed))


def ours(images: list[NDArray[np.uint8]], qualities: list[float]) -> NDArray[np.uint8]:
    light = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (255 * JPEG(light, torch.tensor(qualities))).round().byte().permute(0, 2, 3, 1).numpy()


def saved(image: NDArray[np.uint8], quality: int) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return Image.open(file)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def test_the_tables_of_every_quality_are_libjpegs():
    qualities = range(1, 101)
    found = JPEG.tables(torch.tensor([float(q) for q in qualities]))
    for quality, two in zip(qualities, found.flatten(2).int().tolist(), strict=True):
        wanted = saved(np.zeros((8, 8, 3), np.uint8), quality).quantization  # type: ignore[attr-defined]
        assert two == [list(wanted[0]), list(wanted[1])], quality


@pytest.mark.parametrize("quality", [20, 45, 75, 95])
@pytest.mark.parametrize("size_px", [160, 117])  # whole blocks, and not
def test_pixels_are_nearly_those_of_a_file_of_the_quality(quality: int, size_px: int):
    image = cell(size_px)
    theirs = np.asarray(saved(image, quality))
    made = ours([image], [quality])[0]
    lost = psnr(theirs, image)
    assert psnr(made, theirs) > lost + 6  # less than half of what the file loses
    assert psnr(made, image) == pytest.approx(lost, abs=0.2)


def test_each_image_of_a_batch_has_its_own_quality_and_none_of_its_neighbours():
    images, qualities = [cell()] * 3, [30.0, 60.0, 90.0]
    together = ours(images, qualities)
    for image, quality, seen in zip(images, qualities, together, strict=True):
        np.testing.assert_array_equal(ours([image], [quality])[0], seen)
    assert psnr(together[0], images[0]) < psnr(together[1], images[1]) < psnr(together[2], images[2])


def test_flat_grey_stays_as_it_is_at_the_best_quality():
    grey = [np.full((32, 32, 3), level, np.uint8) for level in (0, 1, 127, 128, 254, 255)]
    np.testing.assert_array_equal(ours(grey, [100.0] * len(grey)), np.stack(grey))
