"""Where ImageNet weights come from: files imported here, or torch hub's cache; always verified.

Order: the store of imported files (`HEMOSCOPE_WEIGHTS`, by default below the cache folder), then
torch hub's cache. Nothing is downloaded unless `fetch` is called, and a missing or damaged file
never falls back to random weights.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hemoscope.archives import damage_told, open_xz
from hemoscope.errors import DataError, WeightsError
from hemoscope.models.registry import ARCHITECTURES, Architecture, get_arch
from hemoscope.places import cache_dir
from hemoscope.runs import atomic_path, sha256_of, write_json

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = 4 << 30  # VGG-19's file has 0.6 GB

__all__ = ["WeightsFile", "fetch", "find", "import_weights", "load_imagenet", "status", "store_dir", "verify"]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of ImageNet weights.

    Attributes:
        arch: Registry name.
        state: `imported` (our store) or `cached` (torch hub).
        path: The file.
        sha256: Digest the file must have: complete for imported files, the first 8 hex digits for
            torchvision's own, empty for a safetensors file laid into the store by hand.
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
        card = _read_card(imported)
        return WeightsFile(
            arch,
            "imported",
            imported,
            card.get("sha256", ""),
            card.get("origin", "user file"),
            card.get("note", ""),
        )
    for folder in (store_dir(), _hub_dir()):
        path = folder / row.weights_file
        if path.is_file():
            return WeightsFile(arch, "cached", path, row.weights_sha256_prefix, "torchvision IMAGENET1K_V1")
    return None


def status(arch: str) -> Literal["cached", "imported", "absent"]:
    """Say whether weights are here, without reading them."""
    found = find(arch)
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
            f"hemoscope weights import FILE_OR_FOLDER. To train from scratch instead: --set weights=none"
        )
    digest = verify(weights)
    return _read_state(weights.path), weights, digest


def fetch(arch: str, *, mirror: str | None = None, progress: bool = False) -> WeightsFile:
    """Download torchvision's weights into torch hub's cache, verified; a no-op if they are here.

    Args:
        arch: Registry name.
        mirror: Base address to use instead of torchvision's.
        progress: Show torch hub's own progress bar.

    Raises:
        WeightsError: If the server cannot be reached or the digest differs.
    """
    found = find(arch)
    if found:
        verify(found)
        return found
    from torch.hub import download_url_to_file

    row = get_arch(arch)
    url = row.weights_url if mirror is None else f"{mirror.rstrip('/')}/{row.weights_file}"
    target = _hub_dir() / row.weights_file
    target.parent.mkdir(parents=True, exist_ok=True)
    try:  # atomic and checked against the digest by torch itself
        download_url_to_file(url, str(target), hash_prefix=row.weights_sha256_prefix, progress=progress)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"could not fetch the weights of {arch} from {url}: {error}. On a machine with internet access download "
            f"that file, then here: hemoscope weights import {row.weights_file}"
        ) from error
    return WeightsFile(arch, "cached", target, row.weights_sha256_prefix, "torchvision IMAGENET1K_V1")


def import_weights(sources: Iterable[Path]) -> list[WeightsFile]:
    """Take checkpoints (`.pth`, `.safetensors`, either with `.xz`) or folders of them into the store.

    A file's architecture is its name's beginning (`resnet18-f37072fd.pth`, `vgg16.safetensors`). A
    `weights.json` beside the files may give digest, origin and a note a file.

    Raises:
        WeightsError: With every problem at once. What was sound has been imported.
    """
    files = list(_expand(sources))
    if not files:
        raise WeightsError(
            "expected checkpoints named after an architecture, such as resnet18.safetensors or "
            "vgg16-397923af.pth; found none. The names: hemoscope models"
        )
    done, problems = [], []
    for path in files:
        try:
            done.append(_import_one(path))
        except (WeightsError, DataError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        listing = "\n  ".join(problems)
        raise WeightsError(f"{len(problems)} of {len(files)} files could not be imported:\n  {listing}")
    return done


def _expand(sources: Iterable[Path]) -> Iterable[Path]:
    for source in sources:
        if source.is_dir():
            yield from (p for p in sorted(source.iterdir()) if _arch_of(p) and p.is_file())
        elif not source.is_file():  # a pipe would be waited for
            found = "is no plain file" if source.exists() else "does not exist"
            raise WeightsError(f"{source} {found}; expected a checkpoint or a folder of them")
        else:
            if _arch_of(source) is None:
                raise WeightsError(
                    f"{source.name} names no known architecture; expected a name such as resnet18.safetensors. "
                    "The names: hemoscope models"
                )
            yield source


def _arch_of(path: Path) -> Architecture | None:
    stem = path.name.removesuffix(".xz")
    for row in ARCHITECTURES:
        if stem in (f"{row.name}.safetensors", f"{row.name}.pth") or stem == row.weights_file:
            return row
        if re.fullmatch(re.escape(row.name) + r"-[0-9a-f]{8}\.pth", stem):
            return row
    return None


def _import_one(path: Path) -> WeightsFile:
    from safetensors.torch import save_file

    from hemoscope.models.build import imagenet_network

    row = _arch_of(path)
    assert row is not None  # noqa: S101  (callers keep only named files)
    card = _listed_card(path, row.name)
    named = re.search(r"-([0-9a-f]{8})\.pth", path.name)
    expected = card.get("sha256") or (named.group(1) if named else "")
    with tempfile.TemporaryDirectory() as folder:
        plain = _unpacked(path, Path(folder)) if path.suffix == ".xz" else path
        digest = sha256_of(plain)
        if not digest.startswith(expected):
            raise WeightsError(f"expected SHA-256 {expected[:16]}, got {digest[:16]}")
        state = _read_state(plain)
    imagenet_network(row, state)  # raises if the tensors do not fit
    if odd := [
        name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()
    ]:
        raise WeightsError(f"{len(odd)} tensors hold NaN or infinity ({odd[0]}, ...); expected numbers")
    origin = card.get("origin") or ("torchvision IMAGENET1K_V1" if named else path.name)
    target = store_dir() / f"{row.name}.safetensors"
    with atomic_path(target) as part:
        save_file({name: value.contiguous() for name, value in state.items()}, part)
    note = card.get("note", "")
    stored = {"arch": row.name, "sha256": sha256_of(target), "origin": origin, "note": note}
    write_json(
        target.with_suffix(".json"), stored | {"licence": card.get("licence", ""), "source_sha256": digest}
    )
    return WeightsFile(row.name, "imported", target, stored["sha256"], origin, note)


def _unpacked(path: Path, folder: Path) -> Path:
    plain = folder / path.name.removesuffix(".xz")
    with damage_told(path.name), open_xz(path) as packed, plain.open("wb") as file:
        while piece := packed.read(1 << 20):
            file.write(piece)
            if file.tell() > MOST_BYTES:
                raise WeightsError(f"it unpacks to more than {MOST_BYTES >> 30} GiB; expected weights")
    return plain


def _listed_card(path: Path, arch: str) -> Mapping[str, str]:
    listing = path.parent / "weights.json"
    if not listing.is_file():
        return {}
    try:
        rows = json.loads(listing.read_text("utf-8"))
        return next(
            (r for r in rows if r.get("arch") == arch and path.name.startswith(r.get("file", "?"))), {}
        )
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{listing} is damaged: {error}; expected a list of objects with arch and file"
        ) from error


def _read_card(path: Path) -> Mapping[str, str]:
    try:
        return json.loads(path.with_suffix(".json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise WeightsError(
            f"{path.with_suffix('.json')} is damaged: {error}; import the weights again: hemoscope weights import"
        ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
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
