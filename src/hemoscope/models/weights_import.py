"""Taking checkpoints that a person brings along into the store of ImageNet weights."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from hemoscope.archives import damage_told, open_xz
from hemoscope.errors import DataError, WeightsError
from hemoscope.files import sha256_of, write_json
from hemoscope.models.registry import ARCHITECTURES, Architecture
from hemoscope.models.weights import (
    SIDECAR_KEYS,
    TORCHVISION,
    WeightsFile,
    is_sidecar,
    read_json,
    read_state,
    store_dir,
)

__all__ = ["import_weights"]

MOST_BYTES = 4 << 30  # VGG-19's file has 0.6 GB


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
    sidecar = _listed(path, row.name)
    named = re.search(r"-([0-9a-f]{8})\.pth", path.name)
    expected = sidecar.get("sha256") or (named.group(1) if named else "")
    with tempfile.TemporaryDirectory() as folder:
        plain = _unpacked(path, Path(folder)) if path.suffix == ".xz" else path
        digest = sha256_of(plain)
        if not digest.startswith(expected):
            raise WeightsError(f"expected SHA-256 {expected[:16]}, got {digest[:16]}")
        state = read_state(plain)
    imagenet_network(row, state)  # raises if the tensors do not fit
    wide = sorted(name for name, value in state.items() if value.dtype == torch.float64)
    state |= {name: state[name].float() for name in wide}
    if odd := [
        name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()
    ]:
        raise WeightsError(f"{len(odd)} tensors hold NaN or infinity ({odd[0]}, ...); expected numbers")
    origin = sidecar.get("origin") or (TORCHVISION if named else path.name)
    target = store_dir() / f"{row.name}.safetensors"
    write_tensors(target, state)
    note = "; ".join(filter(None, [sidecar.get("note", ""), "rounded from float64" if wide else ""]))
    stored = {"arch": row.name, "sha256": sha256_of(target), "origin": origin, "note": note}
    write_json(
        target.with_suffix(".json"), stored | {"licence": sidecar.get("licence", ""), "source_sha256": digest}
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


def _listed(path: Path, arch: str) -> Mapping[str, str]:
    listing = path.parent / "weights.json"
    if not listing.is_file():
        return {}
    rows = read_json(listing, what="expected a list of objects with arch and file")
    if not isinstance(rows, list) or not all(is_sidecar(row) for row in rows):
        raise WeightsError(f"{listing}: expected a list of objects; {', '.join(SIDECAR_KEYS)} are texts")
    return next((r for r in rows if r.get("arch") == arch and path.name.startswith(r.get("file", "?"))), {})
