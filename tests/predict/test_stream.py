"""Streaming: order, errors as answers, memory, and answers that do not depend on how they were batched."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from hemoscope.data.synthetic import write_dataset
from hemoscope.errors import ConfigError
from hemoscope.models.build import build
from hemoscope.models.registry import get_arch
from hemoscope.predict.network import Network
from hemoscope.predict.stream import BATCH_SIZE, predict_images, predict_pixels
from hemoscope.training.device import Device


def network_of(arch: str = "resnet18", precision="fp32", image_px: int = 32, canvas_px: int = 40) -> Network:
    model = build(arch, 8, seed=0).eval()
    device = Device(torch.device("cpu"), precision)
    head = model.get_submodule(get_arch(arch).head)
    width = head.in_channels if isinstance(head, nn.Conv2d) else head.in_features
    features = torch.randn(20, int(width), generator=torch.Generator().manual_seed(0))
    known = features / features.norm(dim=1, keepdim=True)
    return Network(
        model,
        tuple("abcdefgh"),
        image_px,
        canvas_px,
        "black",
        "center_crop",
        device,
        get_arch(arch).head,
        known,
    )


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("cells") / "cells"
    write_dataset(root, per_class=5, size_px=64)
    return sorted(root.rglob("*.png")) or sorted(root.rglob("*.jpg"))


def probs_of(network: Network, images, **options) -> NDArray[np.float64]:
    return np.stack([answer.probs[0] for answer in predict_images(network, images, **options)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_batch_size_and_threads_change_no_probability(arch: str, precision, cells: list[Path]):
    network = network_of(arch, precision)
    want = probs_of(network, cells)
    assert want.shape == (40, 8)
    np.testing.assert_allclose(want.sum(axis=1), 1, atol=1e-6)
    for size in (1, 7, 40, 64):
        for workers in (1, 3):
            got = probs_of(network, cells, batch_size=size, workers=workers)
            np.testing.assert_allclose(got, want, atol=1e-4, err_msg=f"batch {size}, {workers} threads")


def test_answers_come_in_the_order_of_the_images_and_bad_files_in_their_place(
    cells: list[Path], tmp_path: Path
):
    network = network_of()
    bad = tmp_path / "no.jpg"
    bad.write_bytes(b"not a picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    some = [bad, cells[3], empty, tmp_path / "absent.png", cells[0]]
    answers = list(predict_images(network, some, batch_size=2))
    assert [answer.probs is None for answer in answers] == [True, False, True, True, False]
    assert "not an image" in answers[0].error
    assert "empty" in answers[2].error
    assert "cannot be read" in answers[3].error
    np.testing.assert_allclose(answers[1].probs[0], probs_of(network, [cells[3]])[0], atol=1e-4)
    np.testing.assert_allclose(answers[4].probs[0], probs_of(network, [cells[0]])[0], atol=1e-4)


def test_decoded_pixels_and_their_file_give_one_answer(cells: list[Path]):
    network = network_of()
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in cells[:5]]
    np.testing.assert_array_equal(probs_of(network, pixels), probs_of(network, cells[:5]))


def test_no_more_than_a_few_batches_are_ever_taken_from_a_long_source():
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((40, 40, 3), taken % 256, dtype=np.uint8)

    answers = predict_images(network_of(), endless(), batch_size=4)
    for count in range(1, 50):
        next(answers)
        assert taken <= count + 3 * 4
    answers.close()


def test_nothing_gives_nothing_and_a_batch_of_none_is_refused():
    assert list(predict_images(network_of(), [])) == []
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        list(predict_images(network_of(), [], batch_size=0))


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch):
    network = network_of()
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    want = predict_pixels(network, images, tta=True)
    sizes: list[int] = []
    forward = network.model.forward

    def small(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("too large")
        return forward(batch)

    monkeypatch.setattr(network.model, "forward", small)
    got = predict_pixels(network, images, tta=True)
    np.testing.assert_allclose(got.probs, want.probs, atol=1e-6)
    np.testing.assert_allclose(got.distance, want.distance, atol=1e-5)
    np.testing.assert_allclose(got.features, want.features, atol=2e-3)
    np.testing.assert_allclose(got.features, predict_pixels(network, images).features, atol=2e-3)
    assert max(size for size in sizes if size <= 3) == 3
    assert set(BATCH_SIZE) == {"cpu", "cuda", "mps"}


def test_a_batch_that_did_not_fit_is_gone_before_its_halves_are_asked(monkeypatch: pytest.MonkeyPatch):
    network = network_of("squeezenet1_1", image_px=64, canvas_px=64)
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    forward = network.model.forward

    def small(batch: torch.Tensor) -> torch.Tensor:
        alive.append(sum(ref() is not None for ref in held))
        held.append(weakref.ref(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("too large")
        return forward(batch)

    monkeypatch.setattr(network.model, "forward", small)
    predict_pixels(network, np.zeros((4, 64, 64, 3), np.uint8))
    assert len(held) == 7  # 4, 2, 1, 1, 2, 1, 1
    assert alive == [0] * 7
