"""Tensors as one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from hemoscope.files import atomic_path

__all__ = ["ABOUT", "on_cpu", "write_tensors"]

ABOUT = "hemoscope"  # the one key of the metadata: the format's own writer puts several into a random order


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object] | None = None
) -> None:
    """Write tensors, and what is to be known about them, atomically; equal tensors give equal files.

    Raises:
        OSError: If the disk is full or cannot be written.
    """
    metadata = None if about is None else {ABOUT: json.dumps(about, sort_keys=True)}
    with atomic_path(path) as part:  # not by the library, whose file is for one person and left by a kill
        part.write_bytes(save(on_cpu(tensors), metadata))


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they are written: in one piece, in the memory of the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
