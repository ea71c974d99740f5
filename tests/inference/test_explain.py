"""Heatmaps: Grad-CAM by its definition for all 27, figures that tell a true map from a false one."""

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

from hemoscope.data.augment import view_affine, warp
from hemoscope.data.synthetic.scene import draw_with_mask
from hemoscope.errors import ConfigError, DataError, ShapeError
from hemoscope.inference.explain import explain_pixels, faithfulness
from hemoscope.inference.explained import explain_to
from hemoscope.inference.model import Model
from hemoscope.inference.network import Network, load_run
from hemoscope.models.build import build
from hemoscope.models.registry import ARCHITECTURES, Architecture
from hemoscope.training.device import Device
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job
from hemoscope.training.step import Normalise

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
    with pytest.raises(ConfigError, match=r"pip install 'hemoscope\[explain\]'"):
        explain_pixels(
            network_of(model, 64), "resnet18", np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, np.int64)
        )


class RedCorner(nn.Module):
    """A network whose answer hangs on the redness of one corner, and on nothing else."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0, :16, :16].mean(dim=(1, 2)) - images[:, 2, :16, :16].mean(dim=(1, 2))
        return torch.stack([0.4 * red, -0.4 * red], dim=1)


@pytest.fixture
def corner(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = network_of(RedCorner(), 64)

    def ask(model: nn.Module, _head: str, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return model(images), images.flatten(1)

    monkeypatch.setattr("hemoscope.inference.network.ask", ask)
    return network


def test_figures_are_good_for_a_map_on_what_decides_and_bad_for_one_beside_it(corner: Network):
    image = np.full((64, 64, 3), 120, np.uint8)
    image[:16, :16] = (250, 20, 20)
    true, false = np.zeros((64, 64)), np.ones((64, 64))
    true[:16, :16] = 1
    false[:16, :16] = 0
    images, target = np.stack([image, image]), np.zeros(2, np.int64)
    found = faithfulness(corner, images, np.stack([true, false]), target, rng=np.random.default_rng(0))
    assert found.deletion[0] < found.random_deletion[0] < found.deletion[1]
    assert found.insertion[0] > found.random_insertion[0] > found.insertion[1]
    for values in (found.deletion, found.insertion, found.random_deletion, found.random_insertion):
        assert ((values >= 0) & (values <= 1)).all()


def test_a_trained_network_looks_at_the_cell(tmp_path: Path):
    """Other architectures are measured by benchmarks/explain.py; this is the smallest of them that learns in seconds."""
    for name in ("eosinophil", "lymphocyte"):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for i in range(60):
            image, _ = draw_with_mask(name, size_px=112, rng=np.random.default_rng([1, i]))
            Image.fromarray(image).save(tmp_path / "cells" / name / f"{i:02d}.png")
    recipe = Recipe(
        weights="none",
        epochs=5,
        batch_size=8,
        lr=0.02,
        image_px=80,
        canvas_px=112,
        fill="edge",
        precision="fp32",
    )
    run = run_job(
        "resnet18", recipe, prepare(tmp_path / "cells"), seed=0, out=tmp_path / "runs", device_name="cpu"
    )
    network = load_run(run, device_name="cpu", precision="fp32")
    matrix = view_affine(1, canvas_px=112, image_px=80, view="center_crop")
    inside: list[float] = []
    area: list[float] = []
    for c, name in enumerate(run.classes):
        for i in range(10):
            image, mask = draw_with_mask(name, size_px=112, rng=np.random.default_rng([2, i]))
            view = warp(image[None], matrix, image_px=80, fill="edge")
            cell = mask[16:96, 16:96]
            if network.ask(torch.from_numpy(view))[0].argmax() != c:
                continue
            heat = explain_pixels(network, "resnet18", view, np.array([c]))[0]
            if heat.sum() > 0:
                inside.append(float(heat[cell].sum() / heat.sum()))
                area.append(float(cell.mean()))
    assert len(inside) >= 15
    assert np.mean(inside) > 1.2 * np.mean(area)


def test_every_image_has_its_picture_and_bad_ones_are_named_before_any_is_made(
    model: Model, discs: Path, tmp_path: Path
):
    torn = tmp_path / "torn.png"
    torn.write_bytes((discs / "red/00.png").read_bytes()[:200])
    good = [(str(discs / f"red/{i:02d}.png"), discs / f"red/{i:02d}.png") for i in range(3)]
    out = tmp_path / "maps"
    with pytest.raises(DataError, match=r"(?s)2 of 5 images cannot be read:.*torn\.png.*absent\.png"):
        explain_to(out, model, [*good, ("torn.png", torn), ("absent.png", tmp_path / "absent.png")])
    assert not out.exists()
    told: list[tuple[str, int, int]] = []
    rows = explain_to(out, model, good, progress=lambda *words: told.append(words))
    assert told == [("explaining", i, 3) for i in (1, 2, 3)]
    with (out / "explanations.csv").open(encoding="utf-8", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [row["file"] for row in rows]
    assert {p.name for p in out.iterdir()} == {
        "000.png",
        "001.png",
        "002.png",
        "sheet.png",
        "explanations.csv",
    }
    with pytest.raises(DataError, match="is not empty"):
        explain_to(out, model, good)
