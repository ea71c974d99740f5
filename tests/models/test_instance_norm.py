"""Batch normalisation that also looks at each image by itself: what it computes, and that it stays with a network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn
from torch.nn import functional

from hemoscope.bundle.file import read_bundle
from hemoscope.models.build import build, skeleton
from hemoscope.models.instance_norm import LEAST_PX, mix_instances
from hemoscope.models.registry import ARCHITECTURES
from hemoscope.packing.pack import pack
from hemoscope.packing.selftest import verify
from hemoscope.predict.network import load_network
from hemoscope.runs import Run
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job
from hemoscope.training.sharing import SharedBatch

RECIPE = Recipe(
    weights="none", epochs=1, batch_size=16, image_px=64, canvas_px=72, precision="fp32", instance_norm=0.3
)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_a_share_of_each_image_is_normalised_by_itself(share: float, training: bool):
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(4).train(training)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    mixed = mix_instances(copy.deepcopy(plain), share)
    images = torch.rand(3, 4, LEAST_PX, LEAST_PX + 1)
    by_itself = functional.instance_norm(images, weight=plain.weight, bias=plain.bias, eps=plain.eps)
    torch.testing.assert_close(mixed(images), (1 - share) * plain(images) + share * by_itself)
    small = images[..., : LEAST_PX - 1, :]
    assert torch.equal(mixed(small), plain(small))  # so small a map says little


@pytest.mark.parametrize("n", [1, 2])
def test_its_gradients_are_those_of_its_formula_also_for_one_image(n: int):
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(4).eval().double()
    nn.init.normal_(plain.weight)
    norm = mix_instances(copy.deepcopy(plain), 1.0)
    images = torch.rand(n, 4, 9, 9, dtype=torch.float64)
    back = torch.rand(n, 4, 9, 9, dtype=torch.float64).contiguous(memory_format=torch.channels_last)

    def formula(given: torch.Tensor) -> torch.Tensor:
        var, mean = torch.var_mean(given, dim=(2, 3), correction=0, keepdim=True)
        normal = (given - mean) / (var + plain.eps).sqrt()
        return normal * plain.weight[:, None, None] + plain.bias[:, None, None]

    def gradients(way: Callable[[torch.Tensor], torch.Tensor], layer: nn.Module) -> list[torch.Tensor | None]:
        given = images.clone().requires_grad_()
        way(given).backward(back)
        return [given.grad, *(parameter.grad for parameter in layer.parameters())]

    torch.testing.assert_close(gradients(norm, norm), gradients(formula, plain))


def test_what_another_stain_and_camera_do_to_a_channel_is_undone():
    norm = mix_instances(nn.BatchNorm2d(4).eval(), 1.0)
    images = torch.rand(3, 4, 16, 16)
    gain, offset = torch.rand(1, 4, 1, 1) + 0.5, torch.rand(1, 4, 1, 1)
    torch.testing.assert_close(norm(gain * images + offset), norm(images), atol=1e-3, rtol=1e-3)


def test_tensors_and_their_names_are_those_of_the_network_without():
    plain, mixed = build("resnet18", 3), build("resnet18", 3, instance_norm=0.3)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in mixed.state_dict().items())
    assert mixed.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_it_goes_with_every_batch_normalisation_and_a_network_without_any_stays_as_it_is(row):
    model = mix_instances(skeleton(row.name, 3), 0.3)
    for module in model.modules():
        assert bool(module._forward_hooks) == isinstance(module, nn.BatchNorm2d)


def test_it_stays_where_ranks_share_a_batch_on_gpus():
    batch = cast("SharedBatch", object.__new__(SharedBatch))
    model = build("resnet18", 3, instance_norm=0.3)
    state = copy.deepcopy(model.state_dict())
    shared = batch.adapt(model, torch.device("cuda"))
    norms = [module for module in shared.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == 20
    assert all(norm._forward_hooks and norm.process_group is None for norm in norms)
    assert shared.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in shared.state_dict().items())


@pytest.fixture(scope="module")
def run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs")
    return run_job("resnet18", RECIPE, prepare(discs), seed=0, out=out, device_name="cpu")


def test_a_run_and_its_bundle_answer_by_it(run: Run, tmp_path: Path):
    pack([run], tmp_path / "one.hemo", device_name="cpu")
    bundle = read_bundle(tmp_path / "one.hemo")
    assert bundle.card.members[0].instance_norm == 0.3
    verify(bundle)
    images = torch.rand(2, 3, 64, 64)
    said = load_network(run)(images)
    torch.testing.assert_close(bundle.models[0](images), said)
    without = build("resnet18", 3).eval()
    without.load_state_dict(bundle.models[0].state_dict())
    assert not torch.allclose(without(images), said, atol=1e-3)
