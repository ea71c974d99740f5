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
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hemoscope.archives import damage_told, open_xz
from hemoscope.errors import DataError, FetchError, RunError, WeightsError
from hemoscope.models.registry import ARCHITECTURES, Architecture, get_arch
from hemoscope.places import cache_dir
from hemoscope.plain_files import read_plain, why
from hemoscope.runs import lock_folder, sha256_of, write_json
from hemoscope.transfer import Download, Progress, TransferPolicy

if TYPE_CHECKING:
    from torch import Tensor

TORCHVISION = "torchvision IMAGENET1K_V1"
NO_CARD = "laid into the store by hand: nobody said which digest it should have"
MOST_CARD_BYTES = 1 << 20
CARD_KEYS = ("arch", "file", "sha256", "origin", "note", "licence")
MOST_BYTES = 4 << 30  # VGG-19's file has 0.6 GB

__all__ = ["WeightsFile", "fetch", "find", "import_weights", "load_imagenet", "status", "store_dir", "verify"]


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
        card = _read_card(imported)
        return WeightsFile(
            arch,
            "imported",
            imported,
            card.get("sha256", ""),
            card.get("origin", "user file"),
            card.get("note", "") if card else NO_CARD,
        )
    for folder in (store_dir(), _hub_dir()):
        path = folder / row.weights_file
        if path.is_file():
            return WeightsFile(arch, "cached", path, _pinned(row), TORCHVISION)
    return None


def status(arch: str) -> Literal["cached", "imported", "absent", "damaged"]:
    """Say whether weights are here, without reading them; damaged if their card cannot be read."""
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
    return _read_state(weights.path), weights, digest


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
        progress: Called with (what is done, bytes done, bytes in all or 0).
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
    of = Counter(row.name for path in files if (row := _arch_of(path)))
    done, problems = [], []
    for path in files:
        try:
            _refuse_twice(path, of)
            done.append(_import_one(path))
        except (WeightsError, DataError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        listing = "\n  ".join(problems)
        raise WeightsError(f"{len(problems)} of {len(files)} files could not be imported:\n  {listing}")
    return done


def _refuse_twice(path: Path, of: Mapping[str, int]) -> None:
    row = _arch_of(path)
    if row and of[row.name] > 1:
        raise WeightsError(
            f"one of {of[row.name]} files of {row.name}; expected one, name the one that you mean"
        )


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
    import torch

    from hemoscope.models.build import imagenet_network
    from hemoscope.models.tensor_file import write_tensors

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
    wide = sorted(name for name, value in state.items() if value.dtype == torch.float64)
    state |= {name: state[name].float() for name in wide}
    if odd := [
        name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()
    ]:
        raise WeightsError(f"{len(odd)} tensors hold NaN or infinity ({odd[0]}, ...); expected numbers")
    origin = card.get("origin") or (TORCHVISION if named else path.name)
    target = store_dir() / f"{row.name}.safetensors"
    write_tensors(target, state)
    note = "; ".join(filter(None, [card.get("note", ""), "rounded from float64" if wide else ""]))
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
    rows = _read_json(listing, what="expected a list of objects with arch and file")
    if not isinstance(rows, list) or not all(_is_card(row) for row in rows):
        raise WeightsError(f"{listing}: expected a list of objects; {', '.join(CARD_KEYS)} are texts")
    return next((r for r in rows if r.get("arch") == arch and path.name.startswith(r.get("file", "?"))), {})


def _check_prefix(came: Path, digest: str, row: Architecture) -> None:
    if not digest.startswith(row.weights_sha256_prefix):
        came.unlink()
        raise FetchError(f"expected SHA-256 {row.weights_sha256_prefix}..., got {digest[:16]}...")


def _pin_of(row: Architecture) -> Path:
    return store_dir() / f"{row.weights_file}.json"


def _pinned(row: Architecture) -> str:
    """Return what is known of the digest of torchvision's file: all of it, or its first 8 digits."""
    try:
        pin = json.loads(read_plain(_pin_of(row), most=MOST_CARD_BYTES))["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pin = None  # fetched by other software, or by nobody yet
    fits = isinstance(pin, str) and len(pin) == 64 and pin.startswith(row.weights_sha256_prefix)
    return str(pin) if fits else row.weights_sha256_prefix


def _read_card(path: Path) -> Mapping[str, str]:
    file = path.with_suffix(".json")
    if not file.exists():
        return {}
    again = "import the weights again: hemoscope weights import"
    card = _read_json(file, what=again)
    if not _is_card(card):
        raise WeightsError(
            f"{file} is no card of weights; expected an object; {', '.join(CARD_KEYS)} are texts; {again}"
        )
    return card


def _read_json(path: Path, *, what: str) -> Any:
    try:
        return json.loads(read_plain(path, most=MOST_CARD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: {why(error)}; {what}") from error


def _is_card(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key, ""), str) for key in CARD_KEYS)


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
