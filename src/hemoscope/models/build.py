"""From a registry row to a network: torchvision's builder, a new head, channels-last memory.

A network is a function of (architecture, classes, head, instance norm) alone: nothing about it depends on where
its weights came from, so a saved model reloads from its run card without further flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from hemoscope.errors import WeightsError
from hemoscope.models.instance_norm import mix_instances
from hemoscope.models.registry import Architecture, get_arch

__all__ = [
    "Head",
    "build",
    "head_path",
    "head_paths",
    "imagenet_network",
    "load_state",
    "skeleton",
    "without_inplace",
]

Head = Literal["replace_last", "single_layer"]
IMAGENET_CLASSES = 1000
AUX_HEAD = "AuxLogits.fc"  # Inception v3's


def build(
    arch: str,
    n_classes: int,
    *,
    head: Head = "replace_last",
    seed: int = 0,
    imagenet_state: Mapping[str, Tensor] | None = None,
    instance_norm: float = 0.0,
) -> nn.Module:
    """Return a network with `n_classes` outputs, its head freshly drawn from `seed`.

    Args:
        arch: Registry name.
        n_classes: Outputs, at least 2.
        head: `replace_last` swaps the last layer; `single_layer` also drops the hidden classifier
            layers of AlexNet and VGG.
        seed: Seed of every random weight. The global generator is left as it was.
        imagenet_state: torchvision's 1000-class weights, or None to draw all weights.
        instance_norm: Share of each image's own statistics in batch normalisation; see `mix_instances`.

    Raises:
        UnknownNameError: If there is no such architecture.
        WeightsError: If the weights do not belong to it.
    """
    row = get_arch(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if imagenet_state is None:
            model = _construct(row, init_weights=True)
        else:
            model = imagenet_network(row, imagenet_state)
        _replace_heads(model, row, n_classes, head)
    return mix_instances(model, instance_norm).to(memory_format=torch.channels_last)


def load_state(
    arch: str,
    n_classes: int,
    state: Mapping[str, Tensor],
    *,
    head: Head = "replace_last",
    instance_norm: float = 0.0,
) -> nn.Module:
    """Return the network of a saved model; every tensor of it must be there and fit.

    Raises:
        WeightsError: If names or shapes differ.
    """
    model = skeleton(arch, n_classes, head=head)
    _assign(model, state, what=f"saved {arch} with {n_classes} classes")
    return mix_instances(model, instance_norm).to(memory_format=torch.channels_last)


def skeleton(arch: str, n_classes: int, *, head: Head = "replace_last") -> nn.Module:
    """Return a network without weights: its tensors have shapes and no memory."""
    row = get_arch(arch)
    with torch.device("meta"):
        model = _construct(row, init_weights=False)
        _replace_heads(model, row, n_classes, head)
    return model


def head_path(row: Architecture, head: Head) -> str:
    """Return the name of the module that gives the classes."""
    return row.hidden_head if head == "single_layer" and row.hidden_head else row.head


def head_paths(row: Architecture, head: Head) -> tuple[str, ...]:
    """Return the names of all modules that are drawn anew: the head, and that of a trained auxiliary branch."""
    return (head_path(row, head), *([AUX_HEAD] if row.aux == "trained" else []))


def imagenet_network(row: Architecture, state: Mapping[str, Tensor]) -> nn.Module:
    """Return torchvision's 1000-class network with the given weights.

    Raises:
        WeightsError: If names or shapes differ.
    """
    with torch.device("meta"):
        model = _construct(row, init_weights=False)
    if row.aux == "off":
        state = {name: value for name, value in state.items() if not name.startswith(("aux1.", "aux2."))}
    _assign(model, state, what=f"ImageNet weights of {row.name}")
    return model


def without_inplace(model: nn.Module) -> nn.Module:
    """Make every activation module write to new memory, so that hooks may read what they saw."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return model


def _construct(row: Architecture, *, init_weights: bool) -> nn.Module:
    options: dict[str, bool] = {}
    if row.aux != "none":
        options = {"aux_logits": row.aux == "trained", "transform_input": row.transform_input}
    if row.aux != "none" or (row.hidden_head == "classifier" and row.name != "alexnet"):
        options["init_weights"] = init_weights
    return get_model(row.name, weights=None, num_classes=IMAGENET_CLASSES, **options)


def _replace_heads(model: nn.Module, row: Architecture, n_classes: int, head: Head) -> None:
    path = head_path(row, head)
    if path == row.head:
        _set_module(model, path, _like(model.get_submodule(path), n_classes))
    else:
        _set_module(model, path, _he(_LinearHead(row.features, n_classes)))
    if row.aux == "trained":
        _set_module(model, AUX_HEAD, _like(model.get_submodule(AUX_HEAD), n_classes))
    if hasattr(model, "num_classes"):  # SqueezeNet keeps a copy
        model.num_classes = n_classes  # type: ignore[assignment]


class _LinearHead(nn.Linear):
    """Gives float32 logits under autocast: in bf16 two classes of 8 would often get the very same one."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        with _exact(input):
            return super().forward(input.to(self.weight.dtype))


class _ConvHead(nn.Conv2d):
    """The same for SqueezeNet, which classifies by a 1x1 convolution."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        with _exact(input):
            return super().forward(input.to(self.weight.dtype))


def _exact(tensor: Tensor) -> AbstractContextManager[object]:
    # Autocast knows no meta tensors, on which shapes are counted.
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


def _like(old: nn.Module, n_classes: int) -> nn.Module:
    if isinstance(old, nn.Conv2d):
        return _he(_ConvHead(old.in_channels, n_classes, kernel_size=1))
    if isinstance(old, nn.Linear):
        return _he(_LinearHead(old.in_features, n_classes))
    raise TypeError(f"expected a Linear or Conv2d head, found {type(old).__name__}")


def _he(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    # He et al. 2015, forward variance: std = sqrt(2 / fan_in); biases start at zero.
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _set_module(model: nn.Module, path: str, new: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)


def _assign(model: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    # Files older than torch 0.4.1 do not count batches; torch fills the counter in.
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(set(wanted) - set(state) - optional)
    extra = sorted(set(state) - set(wanted))
    wrong = sorted(n for n in set(wanted) & set(state) if tuple(state[n].shape) != wanted[n])
    if missing or extra or wrong:
        details = [f"{len(missing)} missing ({missing[0]}, ...)"] if missing else []
        details += [f"{len(extra)} unknown ({extra[0]}, ...)"] if extra else []
        details += [f"{n}: expected shape {wanted[n]}, got {tuple(state[n].shape)}" for n in wrong[:3]]
        raise WeightsError(f"{what}: tensors do not fit the network: {'; '.join(details)}")
    # A copy, which training may change, and of the network's own type: a checkpoint may be in fp16.
    types = {name: value.dtype for name, value in model.state_dict().items()}
    own = {name: value.to(types[name], copy=True) for name, value in state.items()}
    model.load_state_dict(own, strict=not optional, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
