"""Heatmaps: Grad-CAM by its definition for all 27, and what `explain` writes of them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from hemoscope.errors import DataError, MissingPackageError, ShapeError
from hemoscope.explain.gradcam import explain_pixels, randomised
from hemoscope.explain.write import _together, explain_to
from hemoscope.models.build import build
from hemoscope.models.normalise import Normalise
from hemoscope.models.registry import ARCHITECTURES, Architecture
from hemoscope.predict.model import Model
from hemoscope.predict.network import Network
from hemoscope.predict.stream import views_of
from hemoscope.training.device import Device

pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")

CPU = Device(torch.device("cpu"), "fp32")


def network_of(model: nn.Module, image_px: int, head: str = "") -> Network:
    names = tuple("abcdefgh")
    return Network(model, names, image_px, image_px, "edge", "center_crop", CPU, head)


def by_definition(
    model: nn.Module, layer: nn.Module, images: NDArray[np.uint8], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Selvaraju et al., equations 1 and 2, at the layer's own size: ReLU of the weighted sum of channels."""
    seen: list[torch.Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output.clone()  # what follows may work in place

    hook = layer.register_forward_hook(keep)
    pixels = Normalise(torch.device("cpu"))(torch.from_numpy(images)).requires_grad_(True)
    with torch.enable_grad():
        logits = model(pixels)
        chosen = logits[torch.arange(len(images)), torch.from_numpy(target)].sum()
        (gradient,) = torch.autograd.grad(chosen, seen[0])
    hook.remove()
    maps = np.einsum("nk,nkij->nij", gradient.numpy().mean(axis=(2, 3)), seen[0].detach().numpy())
    return np.maximum(maps, 0)


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_the_map_of_every_architecture_is_grad_cam_by_its_definition(row: Architecture):
    side = 107 if row.name == "inception_v3" else 96
    model = build(row.name, 8, seed=0).eval()
    with torch.no_grad():  # an untrained head is so even that the library's 1e-7 would show
        model.get_submodule(row.head).weight.mul_(1e4)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    target = np.array([1, 5])
    maps = explain_pixels(network_of(model, side, row.head), row.name, images, target)
    want = by_definition(model, model.get_submodule(row.cam_layer), images, target)
    assert maps.shape == (2, side, side)
    for got, exact in zip(maps, want, strict=True):
        assert 0 <= got.min() <= got.max() <= 1
        if np.ptp(exact) == 0:  # nothing speaks for the class, or everything does alike
            assert got.max() == 0
            continue
        scaled = ((exact - exact.min()) / np.ptp(exact)).astype(np.float32)
        large = np.asarray(Image.fromarray(scaled).resize((side, side), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got, (large - large.min()) / np.ptp(large), atol=0.01)


def test_there_must_be_a_class_for_every_image():
    model = build("resnet18", 8, seed=0).eval()
    with pytest.raises(ShapeError, match=r"2 images need as many targets; got shape \(1,\)"):
        explain_pixels(
            network_of(model, 64), "resnet18", np.zeros((2, 64, 64, 3), np.uint8), np.zeros(1, np.int64)
        )


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    model = build("resnet18", 8, seed=0).eval()
    with pytest.raises(MissingPackageError, match=r"pip install 'hemoscope\[explain\]'"):
        explain_pixels(
            network_of(model, 64), "resnet18", np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, np.int64)
        )


def test_random_weights_leave_nothing_of_the_network_and_the_network_as_it_was():
    model = build("resnet18", 8, seed=0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = network_of(model, 64, "fc")
    drawn = randomised(network, "resnet18", seed=1).model
    weights = dict(drawn.named_parameters())
    assert not drawn.training
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        if value.ndim > 1:
            assert not torch.equal(value, weights[name]), name


def test_every_image_has_its_picture_and_bad_ones_are_named_before_any_is_made(
    model: Model, misfiled: Path, tmp_path: Path
):
    torn = tmp_path / "torn.png"
    torn.write_bytes((misfiled / "red/00.png").read_bytes()[:200])
    good = [(str(misfiled / name), misfiled / name) for name in ("red/00.png", "red/01.png", "blue/00.png")]
    out = tmp_path / "maps"
    with pytest.raises(DataError, match=r"(?s)2 of 5 images cannot be read:.*torn\.png.*absent\.png"):
        explain_to(out, model, [*good, ("torn.png", torn), ("absent.png", tmp_path / "absent.png")])
    assert not out.exists()
    told: list[tuple[str, int, int]] = []
    rows, trials = explain_to(out, model, good, progress=lambda *words: told.append(words))
    assert told == [("explaining", i, 3) for i in (1, 2, 3)]
    with (out / "explanations.csv").open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [trial.in_words() for trial in trials]
    pictures = {"000.png", "001.png", "002.png"}
    assert {p.name for p in out.iterdir()} == pictures | {"sheet.png", "explanations.csv"}
    likes = {row["path"]: row["other_class"] for row in rows}
    assert [likes[name] for name, _ in good] == ["same", "same", "any"]
    with pytest.raises(DataError, match="is not empty"):
        explain_to(out, model, good)


def test_an_ensemble_lays_its_maps_on_each_other_as_its_members_see_the_image(model: Model, tmp_path: Path):
    image = np.zeros((160, 160, 3), np.uint8)
    image[90:100, 60:70] = 255
    views = views_of(model.networks, image)
    assert views[0].shape != views[1].shape
    together = _together(model.networks, [view[..., 0] / 255 for view in views], (160, 160))
    both = np.argwhere(together > 0.6).mean(axis=0)  # where one of the two alone shows it, it has at most 0.5
    np.testing.assert_allclose(both, np.argwhere(views[0][..., 0] > 150).mean(axis=0), atol=0.75)
