"""The resumable state of a run: one safetensors file, replaced atomically after an epoch.

It holds the network, the momentum of every parameter, and the history so far. No generator state is
needed: every epoch's randomness is drawn from (seed, epoch).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from hemoscope.errors import RunError
from hemoscope.models.tensor_file import ABOUT, on_cpu, write_tensors
from hemoscope.runs import EpochRow
from hemoscope.training.average import Averaged

__all__ = ["Pace", "State", "load_checkpoint", "read_state", "save_checkpoint", "write_state"]

FILE = "checkpoint.safetensors"
# A save that takes longer than this waits until saving is at most this share of the work.
DEAR_S, SHARE = 1.0, 0.05
_DAMAGED = (SafetensorError, KeyError, TypeError, ValueError, OSError)


class Pace:
    """When to save: after every epoch, but at most a twentieth of the time where saving takes seconds.

    A checkpoint of 1.1 GB that is forced to disk after every epoch of seconds would cost more than it saves.
    """

    def __init__(self) -> None:
        self._rest_until = -inf

    def due(self, now_s: float) -> bool:
        """Tell whether to save now."""
        return now_s >= self._rest_until

    def saved(self, began_s: float, ended_s: float) -> None:
        """Hear how long a save took."""
        took_s = ended_s - began_s
        self._rest_until = ended_s + took_s / SHARE if took_s > DEAR_S else -inf


@dataclass(frozen=True, slots=True)
class State:
    """What training changes.

    Attributes:
        model: The network.
        optimizer: Its SGD optimiser.
        averaged: The network that follows it, where the recipe has one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: Averaged | None = None

    @property
    def scored(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.averaged.model if self.averaged else self.model


def save_checkpoint(
    folder: Path, state: State, *, history: list[EpochRow], digest: str, train_s: float
) -> None:
    """Save the state after the last epoch of `history`.

    Args:
        folder: The run folder.
        state: Network, optimiser, average.
        history: Every finished epoch.
        digest: The job's digest, so that a checkpoint is never taken for another job's.
        train_s: Seconds of training so far, over all processes.
    """
    about = {"history": [asdict(row) for row in history], "digest": digest, "train_s": train_s}
    write_state(folder / FILE, state, about)


def write_state(path: Path, state: State, about: Mapping[str, Any]) -> None:
    """Write a state, and what is to be known about it, whole or not at all."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        momentum = state.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    if state.averaged:
        mean = state.averaged.model.state_dict()
        tensors |= {f"average.{name}": value for name, value in mean.items()}
        tensors["followed"] = state.averaged.steps
    plain = on_cpu(tensors)
    write_tensors(path, plain, {**about, "sha256": _sha256(plain)})


def load_checkpoint(folder: Path, state: State, *, digest: str) -> tuple[list[EpochRow], float]:
    """Bring the state to the last saved one.

    Returns:
        The history and the seconds of training so far; empty and 0 where nothing was saved.

    Raises:
        RunError: If the file is damaged or belongs to another job.
    """
    path = folder / FILE
    if not path.is_file():
        return [], 0.0
    try:
        tensors, about = _read(path)
        history = [EpochRow(**row) for row in about["history"]]
        found, train_s = about["digest"], about["train_s"]
    except _DAMAGED as error:
        raise RunError(f"{path} is damaged: {error}; delete it to begin this run again") from error
    if found != digest:
        raise RunError(f"{path} belongs to another job; expected digest {digest[:8]}, got {found[:8]}")
    _bring(state, tensors)
    return history, train_s


def read_state(path: Path, state: State, *, digest: str) -> dict[str, Any] | None:
    """Bring the state to one that `write_state` wrote, and return what is known about it.

    Returns:
        None, with the state as it was, where there is none, it is damaged, or its `digest` is another.
    """
    try:
        tensors, about = _read(path)
    except _DAMAGED:
        return None
    if about.get("digest") != digest:
        return None
    _bring(state, tensors)
    return about


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {})[ABOUT])
    tensors = load_file(path)
    _compare(about["sha256"], _sha256(tensors))
    return tensors, about


def _bring(state: State, tensors: Mapping[str, Tensor]) -> None:
    state.model.load_state_dict(_named("model.", tensors))
    for name, parameter in state.model.named_parameters():
        momentum = tensors.get(f"momentum.{name}")
        if momentum is not None:
            buffer = torch.empty_like(parameter, requires_grad=False)  # keeps channels-last
            state.optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
    if state.averaged:
        state.averaged.model.load_state_dict(_named("average.", tensors))
        state.averaged.steps.copy_(tensors["followed"])


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(wanted: str, found: str) -> None:
    if wanted != found:
        raise ValueError(f"expected tensors of SHA-256 {wanted[:16]}, got {found[:16]}")
