"""`norm = "frozen"`: what batch normalisation knew of ImageNet's images stays, and everything else learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import get_model

from hemoscope.errors import ConfigError
from hemoscope.models.build import build, skeleton
from hemoscope.models.registry import arch_names
from hemoscope.runs import EpochRow, Run
from hemoscope.training.loop import Watcher
from hemoscope.training.norms import keep_statistics
from hemoscope.training.recipe import Recipe, load_recipe
from hemoscope.training.run import Prepared, run_job

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
FROZEN = Recipe(
    norm="frozen", epochs=2, batch_size=16, lr=0.01, image_px=32, canvas_px=36, precision="fp32", ema=0.5
)


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights to begin with, in the place of ImageNet's; statistics that no small image would give."""
    store = tmp_path / "weights"
    store.mkdir()
    monkeypatch.setenv("HEMOSCOPE_WEIGHTS", str(store))
    for arch in ("resnet18", "squeezenet1_1"):
        torch.manual_seed(0)
        state = dict(get_model(arch, weights=None).state_dict())
        for name, value in state.items():
            if name.endswith(STATISTICS[:2]):
                value += 0.1 * torch.rand_like(value)
        save_file(state, store / f"{arch}.safetensors")
    return load_file(store / "resnet18.safetensors")


def learn(prepared: Prepared, out: Path, arch: str, recipe: Recipe, watcher: Watcher | None = None) -> Run:
    return run_job(arch, recipe, prepared, seed=0, out=out, device_name="cpu", watcher=watcher)


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "model.safetensors")


@pytest.mark.parametrize("arch", arch_names())
def test_of_every_architecture_batch_normalisation_alone_stops_learning_statistics(arch: str):
    model = skeleton(arch, 3).train()
    keep_statistics(model)
    for name, module in model.named_modules():
        assert module.training != hasattr(module, "running_mean"), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_in_training_it_normalises_as_in_evaluation_and_its_scales_learn():
    model = build("resnet18", 3).train()
    keep_statistics(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.rand(4, 3, 48, 48)
    said = model(images)
    said.sum().backward()
    torch.testing.assert_close(said, model.eval()(images))
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(float(norm.weight.grad.abs().sum()) > 0 for norm in norms if norm.weight.grad is not None)
    assert all(norm.weight.grad is not None for norm in norms)


def test_a_run_ends_with_the_statistics_it_began_with(prepared: Prepared, tmp_path: Path, pretrained):
    once = FROZEN.model_copy(update={"epochs": 1})
    kept = tensors(learn(prepared, tmp_path, "resnet18", once))
    moved = tensors(learn(prepared, tmp_path, "resnet18", once.model_copy(update={"norm": "batch"})))
    for name, value in pretrained.items():
        if name.endswith(STATISTICS):
            assert torch.equal(kept[name], value), name
            assert not torch.equal(moved[name], value), name
    assert not torch.equal(kept["bn1.weight"], pretrained["bn1.weight"])


class _Stop(Watcher):
    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        raise KeyboardInterrupt


@pytest.mark.usefixtures("pretrained")
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(prepared: Prepared, tmp_path: Path):
    recipe = FROZEN.model_copy(update={"jpeg": 0.5})
    whole = tensors(learn(prepared, tmp_path / "whole", "resnet18", recipe))
    with pytest.raises(KeyboardInterrupt):
        learn(prepared, tmp_path / "stopped", "resnet18", recipe, _Stop())
    again = tensors(learn(prepared, tmp_path / "stopped", "resnet18", recipe))
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.usefixtures("pretrained")
def test_a_network_without_batch_normalisation_is_trained_alike(prepared: Prepared, tmp_path: Path):
    frozen = tensors(learn(prepared, tmp_path, "squeezenet1_1", FROZEN))
    batch = tensors(learn(prepared, tmp_path, "squeezenet1_1", FROZEN.model_copy(update={"norm": "batch"})))
    assert all(torch.equal(value, batch[name]) for name, value in frozen.items())


def test_from_scratch_there_are_no_statistics_to_keep():
    with pytest.raises(ConfigError, match="statistics of ImageNet, which weights=none does not have"):
        load_recipe("paper", norm="frozen", weights="none")
