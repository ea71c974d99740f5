"""Networks of all 27 architectures: heads, traps, and saving."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model

from hemoscope.errors import WeightsError
from hemoscope.models.build import Head, build, head_path, imagenet_network, load_state, without_inplace
from hemoscope.models.registry import ARCHITECTURES, Architecture, get_arch
from hemoscope.models.tensor_file import write_tensors

EVERY = pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
N_CLASSES = 5


def images(row: Architecture, n: int = 2) -> torch.Tensor:
    side = 299 if row.name == "inception_v3" else 64
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda row: row.name)
def network(request: pytest.FixtureRequest) -> tuple[Architecture, nn.Module]:
    return request.param, build(request.param.name, N_CLASSES, seed=3)


def test_a_network_answers_with_one_logit_a_class(network: tuple[Architecture, nn.Module]):
    row, model = network
    with torch.inference_mode():
        logits = model.eval()(images(row))
    assert logits.shape == (2, N_CLASSES)
    assert logits.isfinite().all()


def test_only_the_last_layer_is_new_and_it_is_drawn_after_he(network: tuple[Architecture, nn.Module]):
    row, model = network
    head = model.get_submodule(row.head)
    assert isinstance(head, nn.Conv2d if row.name.startswith("squeezenet") else nn.Linear)
    assert head.weight.shape[0] == N_CLASSES
    fan_in = head.weight[0].numel()
    assert head.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.1)
    assert not head.bias.any()
    with torch.device("meta"):
        options = {"init_weights": False} if row.aux != "none" else {}
        original = get_model(row.name, weights=None, **options).state_dict()
    ours = model.state_dict()
    heads = {row.head, "AuxLogits.fc"}
    for name, value in original.items():
        if name.startswith(("aux1.", "aux2.")) or name.rpartition(".")[0] in heads:
            continue
        assert ours[name].shape == value.shape, name


def test_a_saved_network_reloads_to_identical_logits(network: tuple[Architecture, nn.Module], tmp_path):
    row, model = network
    write_tensors(tmp_path / "model.safetensors", model.state_dict(), {})
    again = load_state(row.name, N_CLASSES, load_file(tmp_path / "model.safetensors"))
    x = images(row)
    with torch.inference_mode():
        assert torch.equal(model.eval()(x), again.eval()(x))


def test_equal_networks_are_equal_files(tmp_path):
    model = build("squeezenet1_1", N_CLASSES, seed=0)
    about = {f"key {i}": "value" for i in range(9)}
    for name, pairs in (("one", about.items()), ("two", reversed(about.items()))):
        write_tensors(tmp_path / name, model.state_dict(), dict(pairs))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()  # in each process, too: one key


def test_the_grad_cam_layer_gives_a_map_and_its_gradient(network: tuple[Architecture, nn.Module]):
    """In-place activations would overwrite what a hook saw, or stop the backward pass."""
    row, model = network
    seen: list[torch.Tensor] = []
    gradients: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        seen.append(output)
        output.register_hook(gradients.append)

    modules = [m for m in model.modules() if hasattr(m, "inplace")]
    before = [m.inplace for m in modules]
    hook = without_inplace(model).get_submodule(row.cam_layer).register_forward_hook(keep)
    try:
        model.requires_grad_(False)  # only the map's gradient is wanted, not 140 million weights
        x = images(row).requires_grad_()
        model.eval()(x).sum().backward()
        first = seen[0].detach().clone()
        model(x)
        assert first.ndim == 4
        assert min(first.shape[2:]) > 1 or row.name != "inception_v3"
        assert gradients[0].shape == first.shape
        assert gradients[0].abs().sum() > 0
        if not row.name.startswith("densenet"):  # its forward pass itself applies an in-place ReLU
            torch.testing.assert_close(seen[1].detach(), first)
    finally:
        hook.remove()
        model.requires_grad_(True)
        for module, flag in zip(modules, before, strict=True):
            module.inplace = flag


@EVERY
def test_parameters_are_counted_as_the_registry_says(row: Architecture):
    with torch.device("meta"):
        options = {"init_weights": False} if row.aux != "none" else {}
        model = get_model(row.name, weights=None, **options)
    counted = sum(
        p.numel() for n, p in model.named_parameters() if not n.startswith(("aux1.", "aux2.", "AuxLogits."))
    )
    assert counted == row.params


@pytest.mark.parametrize(("arch", "first"), [("googlenet", "conv1"), ("inception_v3", "Conv2d_1a_3x3")])
def test_the_input_is_renormalised_as_the_imagenet_weights_expect(arch: str, first: str):
    """Both were trained on inputs in -1..1; torchvision turns that on only when it loads the weights itself."""
    row = get_arch(arch)
    options = {"weights": None, "aux_logits": True, "init_weights": False}
    theirs = get_model(arch, transform_input=True, **options).eval()
    plain = get_model(arch, transform_input=False, **options).eval()
    state = theirs.state_dict()
    plain.load_state_dict(state)
    x = images(row)

    def first_features(model: nn.Module) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        model.get_submodule(first).register_forward_hook(lambda _m, _i, output: seen.append(output))
        with torch.inference_mode():
            model(x)
        return seen[0]

    ours = first_features(imagenet_network(row, state).eval())
    torch.testing.assert_close(ours, first_features(theirs), rtol=0, atol=0)
    assert not torch.allclose(ours, first_features(plain), atol=1e-3)


def test_googlenet_has_no_auxiliary_heads_and_inception_trains_with_one():
    assert isinstance(build("googlenet", 3).train()(images(get_arch("googlenet"))), torch.Tensor)
    out = build("inception_v3", 3).train()(images(get_arch("inception_v3")))
    assert out.logits.shape == out.aux_logits.shape == (2, 3)


def test_the_same_seed_draws_the_same_network_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build("squeezenet1_1", 4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.1.weight"], other["classifier.1.weight"])


def test_imagenet_weights_arrive_and_training_them_does_not_change_the_source():
    source = get_model("squeezenet1_1", weights=None).state_dict()
    before = {name: value.clone() for name, value in source.items()}
    model = build("squeezenet1_1", 4, imagenet_state=source)
    torch.testing.assert_close(
        model.get_submodule("features.0").weight, before["features.0.weight"], rtol=0, atol=0
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert all(torch.equal(source[name], before[name]) for name in source)


@pytest.mark.parametrize("arch", ["alexnet", "vgg11"])
def test_a_single_layer_head_drops_the_hidden_classifier(arch: str):
    model = build(arch, 3, head="single_layer")
    assert isinstance(model.get_submodule("classifier"), nn.Linear)
    assert model(images(get_arch(arch))).shape == (2, 3)


def test_tensors_that_do_not_fit_are_all_named():
    state = get_model("squeezenet1_1", weights=None).state_dict()
    state["features.0.weight"] = torch.zeros(1)
    state["extra"] = torch.zeros(1)
    del state["features.0.bias"]
    with pytest.raises(
        WeightsError, match=r"1 missing \(features.0.bias.*1 unknown \(extra.*expected shape \(64, 3, 3, 3\)"
    ):
        build("squeezenet1_1", 3, imagenet_state=state)


@pytest.mark.parametrize("arch", ["resnet18", "squeezenet1_1", "alexnet"])
@pytest.mark.parametrize("head", ["replace_last", "single_layer"])
def test_under_autocast_the_head_is_exact(arch: str, head: Head):
    # In bf16, with 8 bits of fraction, two classes often get the very same logit, and their names decide.
    model = build(arch, 8, head=head, seed=0).eval()
    layer = model.get_submodule(head_path(get_arch(arch), head))
    given: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    said: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _, __, out: said.append(out.clone()))  # a ReLU may write into it
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert said[0].dtype == torch.float32
    with torch.inference_mode():
        want = layer(given[0].float())
    torch.testing.assert_close(said[0], want, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_in_half_precision_trains_in_fp32():
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in get_model("squeezenet1_1", weights=None).state_dict().items()
    }
    model = build("squeezenet1_1", 3, imagenet_state=state)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(model.get_submodule("features.0").weight, state["features.0.weight"].float())
