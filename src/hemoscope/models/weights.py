"""Where ImageNet weights come from: files imported here, or torch hub's cache; always verified.

Order: the store of imported files (`HEMOSCOPE_WEIGHTS`, by default below the cache folder), then
torch hub's cache. Nothing is downloaded unless `fetch` is called, and a missing or damaged file
never falls back to random weights.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hemoscope.errors import FetchError, RunError, WeightsError
from hemoscope.files import lock_folder, sha256_of, write_json
from hemoscope.models.registry import Architecture, get_arch
from hemoscope.places import cache_dir
from hemoscope.plain_files import read_plain, why
from hemoscope.progress import Progress
from hemoscope.transfer import Download, TransferPolicy

if TYPE_CHECKING:
    from torch import Tensor

TORCHVISION = "torchvision IMAGENET1K_V1"
NO_SIDECAR = "laid into the store by hand: nobody said which digest it should have"
MOST_SIDECAR_BYTES = 1 << 20
SIDECAR_KEYS = ("arch", "file", "sha256", "origin", "note", "licence")

__all__ = [
    "WeightsFile",
    "fetch",
    "find",
    "is_sidecar",
    "load_imagenet",
    "read_json",
    "read_state",
    "status",
    "store_dir",
    "verify",
]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of ImageNet weights.

    Attributes:
        arch: Registry name.
        state: `imported` (our store) or `cached` (torch hub).
        path: The file.
        sha256: Digest the file must have: complete for what was imported or fetched here, the first 8 hex
            digits for other files of torchvision's, empty for a safetensors file laid into the store by hand.
        origin: Where the numbers come from, for the run card.
        note: What a user of results made with them should know.
    """

    arch: str
    state: Literal["imported", "cached"]
    path: Path
    sha256: str
    origin: str
    note: str = ""


def store_dir() -> Path:
    """Return the folder of imported weights."""
    chosen = os.environ.get("HEMOSCOPE_WEIGHTS")
    return Path(chosen) if chosen else cache_dir() / "weights"


def find(arch: str) -> WeightsFile | None:
    """Return the weights file of an architecture, or None if there is none on this machine."""
    row = get_arch(arch)
    imported = store_dir() / f"{arch}.safetensors"
    if imported.is_file():
        sidecar = _sidecar_of(imported)
        return WeightsFile(
            arch,
            "imported",
            imported,
            sidecar.get("sha256", ""),
            sidecar.get("origin", "user file"),
            sidecar.get("note", "") if sidecar else NO_SIDECAR,
        )
    for folder in (store_dir(), _hub_dir()):
        path = folder / row.weights_file
        if path.is_file():
            return WeightsFile(arch, "cached", path, _pinned(row), TORCHVISION)
    return None


def status(arch: str) -> Literal["cached", "imported", "absent", "damaged"]:
    """Say whether weights are here, without reading them; damaged if their sidecar cannot be read."""
    try:
        found = find(arch)
    except WeightsError:
        return "damaged"
    return found.state if found else "absent"


def verify(weights: WeightsFile) -> str:
    """Return the SHA-256 of a weights file.

    Raises:
        WeightsError: If it is not the expected one.
    """
    now = weights.path.stat()
    digest = _sha256_as_it_was(weights.path, now.st_size, now.st_mtime_ns)
    if not digest.startswith(weights.sha256):
        raise WeightsError(
            f"{weights.path} is damaged: expected SHA-256 {weights.sha256}..., got {digest[:16]}...; "
            f"delete it and run: hemoscope weights fetch {weights.arch}"
        )
    return digest


def load_imagenet(arch: str) -> tuple[dict[str, Tensor], WeightsFile, str]:
    """Return verified ImageNet weights, where they came from, and their SHA-256.

    Raises:
        WeightsError: If there are none here (the message says which command gets them) or the
            digest differs.
    """
    weights = find(arch)
    if weights is None:
        raise WeightsError(
            f"no ImageNet weights of {arch} on this machine; expected {arch}.safetensors in {store_dir()} or "
            f"{get_arch(arch).weights_file} in torch hub's cache. Get them: hemoscope weights fetch {arch}, or "
            f"hemoscope weights import FILE_OR_FOLDER. To train from scratch instead: --weights none"
        )
    digest = verify(weights)
    return read_state(weights.path), weights, digest


def fetch(
    arch: str,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
    policy: TransferPolicy | None = None,
) -> WeightsFile:
    """Download torchvision's weights into torch hub's cache, verified; a no-op if they are here.

    A download that was cut goes on. torchvision publishes 32 bits of each digest, in the file's name; the
    whole digest of what came is written down in the store, and the file must have it from then on.

    Args:
        arch: Registry name.
        mirror: Base address to use instead of torchvision's.
        progress: Called with what is done, bytes done, and bytes in all.
        policy: Tries and time-outs.

    Raises:
        WeightsError: If the server cannot be reached or the digest differs.
    """
    found = find(arch)
    if found:
        verify(found)
        return found
    row = get_arch(arch)
    url = row.weights_url if mirror is None else f"{mirror.rstrip('/')}/{row.weights_file}"
    target = _hub_dir() / row.weights_file
    staging = target.with_name(f".fetch-{arch}")
    part, came = staging / f"{row.weights_file}.part", staging / row.weights_file
    try:
        with lock_folder(staging):
            if not came.is_file():  # else of a call that was stopped before it was checked
                Download(part, policy=policy or TransferPolicy(), progress=progress)(url, came)
            digest = sha256_of(came)
            _check_prefix(came, digest, row)
            write_json(_pin_of(row), {"arch": arch, "sha256": digest, "url": url})
            came.replace(target)
        with suppress(OSError):
            (staging / ".lock").unlink(missing_ok=True)
            staging.rmdir()
    except RunError as error:
        raise WeightsError(f"the weights of {arch} are being fetched by another process") from error
    except (OSError, FetchError) as error:
        raise WeightsError(
            f"could not fetch the weights of {arch} from {url}: {error}. On a machine with internet access download "
            f"that file, then here: hemoscope weights import {row.weights_file}"
        ) from error
    return WeightsFile(arch, "cached", target, digest, TORCHVISION)


def _check_prefix(came: Path, digest: str, row: Architecture) -> None:
    if not digest.startswith(row.weights_sha256_prefix):
        came.unlink()
        raise FetchError(f"expected SHA-256 {row.weights_sha256_prefix}..., got {digest[:16]}...")


def _pin_of(row: Architecture) -> Path:
    return store_dir() / f"{row.weights_file}.json"


def _pinned(row: Architecture) -> str:
    """Return what is known of the digest of torchvision's file: all of it, or its first 8 digits."""
    try:
        pin = json.loads(read_plain(_pin_of(row), most=MOST_SIDECAR_BYTES))["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pin = None  # fetched by other software, or by nobody yet
    fits = isinstance(pin, str) and len(pin) == 64 and pin.startswith(row.weights_sha256_prefix)
    return str(pin) if fits else row.weights_sha256_prefix


def _sidecar_of(path: Path) -> Mapping[str, str]:
    file = path.with_suffix(".json")
    if not file.exists():
        return {}
    again = "import the weights again: hemoscope weights import"
    sidecar = read_json(file, what=again)
    if not is_sidecar(sidecar):
        raise WeightsError(
            f"{file} does not say of weights what it should; expected an object; {', '.join(SIDECAR_KEYS)} are texts; {again}"
        )
    return sidecar


def read_json(path: Path, *, what: str) -> Any:
    """Return a small JSON document; `WeightsError` says what is wrong and `what` to do."""
    try:
        return json.loads(read_plain(path, most=MOST_SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: {why(error)}; {what}") from error


def is_sidecar(value: Any) -> bool:
    """Tell whether a JSON value says of a file of weights what we ask."""
    return isinstance(value, dict) and all(isinstance(value.get(key, ""), str) for key in SIDECAR_KEYS)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` or `.pth`, never running code; else raise `WeightsError`."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        ImportError,
        AttributeError,
    ) as e:
        raise WeightsError(f"{path.name} cannot be read as weights: {e}") from e
    except Exception as error:
        raise WeightsError(f"{path.name} holds more than tensors and was refused: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path.name}: expected a dictionary of tensors")
    return {_modern_name(name): value for name, value in state.items()}


def _modern_name(name: str) -> str:
    # DenseNet files from before torch 0.4 name their layers `norm.1`; now it is `norm1`.
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)


def _hub_dir() -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


@cache  # a sweep asks once a run
def _sha256_as_it_was(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001
    return sha256_of(path)
