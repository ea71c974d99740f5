"""A network that frames cells by their nuclei says the same of cells from a camera that looks closer."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hemoscope.data.camera import evenly
from hemoscope.data.images.framing import SQUARE, by_nucleus
from hemoscope.data.images.nucleus import nucleus_px
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.models.build import build
from hemoscope.predict.inputs import from_everywhere
from hemoscope.predict.network import Network, at_camera
from hemoscope.predict.stream import predict_images, views_of
from hemoscope.training.device import Device

NAMES = ("monocyte", "lymphocyte", "neutrophil", "ig")
SIDE = 160


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    return [draw_cell(NAMES[i % 4], size_px=SIDE, rng=np.random.default_rng(i)) for i in range(24)]


def closer(cell: np.ndarray, zoom: float) -> np.ndarray:
    size = (round(SIDE * zoom),) * 2
    return np.asarray(Image.fromarray(cell).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def network(cells) -> Network:
    model = build("squeezenet1_1", 4, seed=0).eval()
    typical = float(np.median([nucleus_px(cell) for cell in cells]))
    framing = by_nucleus(typical, image_px=64, canvas_px=88)
    device = Device(torch.device("cpu"), "fp32")
    return Network(model, NAMES, 64, 88, "white", "center_crop", device, "classifier.1", framing=framing)


def said(network: Network, images: list[np.ndarray]) -> np.ndarray:
    return np.array(
        [answer.probs[0] for answer in predict_images(network, images) if answer.probs is not None]
    )


@pytest.mark.parametrize("zoom", [0.6, 1.8])
def test_answers_stay_where_the_camera_moves(cells, network, zoom):
    other = [closer(cell, zoom) for cell in cells]
    (moved,) = at_camera([network], other)
    assert moved.nucleus_px == pytest.approx(zoom * network.nucleus_px, rel=0.12)
    home = said(network, cells)
    assert np.abs(said(moved, other) - home).mean() < 0.4 * np.abs(said(network, other) - home).mean()


def test_cells_of_the_camera_it_was_trained_on_look_exactly_as_they_did(cells, network):
    (same,) = at_camera([network], cells)
    assert same.framing == network.framing


def test_a_network_that_frames_no_nuclei_is_left_as_it_is_and_no_image_is_read(network):
    square = Network(network.model, NAMES, 64, 88, "edge", "center_crop", network.device, "classifier.1")

    def never():
        raise AssertionError("an image was asked for")
        yield

    assert at_camera([square], never()) == (square,)


def test_a_sample_of_inputs_comes_from_all_of_them(tmp_path: Path, cells):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(cells[i]).save(tmp_path / name / f"{i}.png")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for i in range(6):
            archive.write(tmp_path / "a" / f"{i}.png", f"{i}.png")
    inputs = [str(tmp_path / name) for name in ("a", "b", "c.zip")]
    found = list(from_everywhere(inputs, 6))
    assert len(found) == 6
    assert {source.parent.name if isinstance(source, Path) else "c.zip" for source in found} == {
        "a",
        "b",
        "c.zip",
    }
    assert len(list(from_everywhere(inputs, 100))) == 18


@pytest.mark.parametrize("total", [6, 7, 11, 12, 17, 18])
def test_a_sample_of_inputs_lies_where_a_sample_of_a_data_set_does(tmp_path: Path, total: int):
    """Of 11 images the first six are no sample: files of one class often stand together."""
    for i in range(total):
        (tmp_path / f"{i:02d}.png").touch()
    assert list(from_everywhere([str(tmp_path)], 6)) == evenly(sorted(tmp_path.iterdir()), 6)


def test_of_a_tar_archive_the_sample_is_its_first_images(tmp_path: Path):
    with tarfile.open(tmp_path / "cells.tar", "w") as archive:
        for i in range(5):
            (tmp_path / f"{i}.png").write_bytes(bytes([i]))
            archive.add(tmp_path / f"{i}.png", f"{i}.png")
    assert list(from_everywhere([str(tmp_path / "cells.tar")], 2)) == [b"\0", b"\1"]


@pytest.mark.parametrize("view", ["center_crop", "full_image"])
@pytest.mark.parametrize("nucleus_px_here", [None, 38.0, 105.0])
@pytest.mark.parametrize("size", [(363, 360), (88, 120), (320, 320)])  # as laboratories cut their cells
def test_a_place_in_the_input_is_a_place_in_the_image(network, size, nucleus_px_here, view):
    height, width = size
    framing = SQUARE if nucleus_px_here is None else by_nucleus(nucleus_px_here, image_px=64, canvas_px=88)
    asked = replace(network, framing=framing, view=view)
    image = np.full((height, width, 3), 230, np.uint8)
    y, x = round(0.4 * height), round(0.55 * width)
    image[y - 3 : y + 4, x - 3 : x + 4] = 20
    (seen,) = views_of([asked], image)
    dark = 255.0 - seen.min(axis=2)
    dark[dark < 40] = 0  # the ground, and black or white around it
    rows, columns = np.mgrid[: len(seen), : len(seen)]
    at = [(dark * places).sum() / dark.sum() for places in (columns, rows)]
    matrix = asked.in_image(height, width)
    np.testing.assert_allclose((matrix @ [*at, 1.0])[:2], [x, y], atol=0.3 * max(1, matrix[0, 0]))
