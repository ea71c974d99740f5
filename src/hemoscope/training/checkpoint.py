"""The resumable state of a run: one safetensors file, replaced atomically after an epoch.

It holds the network, the momentum of every parameter, and the history so far. No generator state is
needed: every epoch's randomness is drawn from (seed, epoch).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from hemoscope.errors import RunError
from hemoscope.models.tensor_file import ABOUT, on_cpu, write_tensors
from hemoscope.runs import EpochRow

__all__ = ["Pace", "load_checkpoint", "save_checkpoint", "save_model"]

FILE = "checkpoint.safetensors"
# A save that takes longer than this waits until saving is at most this share of the work.
DEAR_S, SHARE = 1.0, 0.05


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


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: list[EpochRow],
    digest: str,
    train_s: float,
) -> None:
    """Save the state after the last epoch of `history`.

    Args:
        folder: The run folder.
        model: The network.
        optimizer: Its SGD optimiser.
        history: Every finished epoch.
        digest: The job's digest, so that a checkpoint is never taken for another job's.
        train_s: Seconds of training so far, over all sessions.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    plain = on_cpu(tensors)
    state = {"history": [asdict(row) for row in history], "digest": digest, "train_s": train_s}
    write_tensors(folder / FILE, plain, state | {"sha256": _sha256(plain)})


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, digest: str
) -> tuple[list[EpochRow], float]:
    """Bring network and optimiser to the last saved state.

    Returns:
        The history and the seconds of training so far; empty and 0 where nothing was saved.

    Raises:
        RunError: If the file is damaged or belongs to another job.
    """
    path = folder / FILE
    if not path.is_file():
        return [], 0.0
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})[ABOUT])
        tensors = load_file(path)
        _compare(state["sha256"], _sha256(tensors))
        history = [EpochRow(**row) for row in state["history"]]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise RunError(f"{path} is damaged: {error}; delete it to begin this run again") from error
    if state["digest"] != digest:
        raise RunError(
            f"{path} belongs to another job; expected digest {digest[:8]}, got {state['digest'][:8]}"
        )
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    for name, parameter in model.named_parameters():
        momentum = tensors.get(f"momentum.{name}")
        if momentum is not None:
            buffer = torch.empty_like(parameter, requires_grad=False)  # keeps channels-last
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
    return history, state["train_s"]


def save_model(path: Path, model: nn.Module, about: dict[str, str]) -> None:
    """Save a network's weights as safetensors, atomically; equal networks give equal files."""
    write_tensors(path, model.state_dict(), about)


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(wanted: str, found: str) -> None:
    if wanted != found:
        raise ValueError(f"expected tensors of SHA-256 {wanted[:16]}, got {found[:16]}")
