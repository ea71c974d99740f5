"""A bundle: one file with weights, card, model card and cells to check itself by. Never a pickle.

    squeezenet.hemo          an uncompressed zip
      bundle.json            the card (`card.BundleCard`)
      README.md              the same for people, with Hugging Face's metadata
      member-0.safetensors   one file a network
      known.safetensors      features of known cells for each network, unless there are none
      selftest.json          expected probabilities of
      selftest-0.png ...     drawn cells, one a class
      SHA256SUMS             of all of the above

Reading trusts nothing: names, sizes, digests, the card's every field and each tensor's name, type and
shape are checked before a network is made of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from hemoscope.bundle.card import FORMAT, BundleCard, MemberCard
from hemoscope.errors import BundleError, UnknownNameError, WeightsError
from hemoscope.models.build import head_path, load_state, skeleton
from hemoscope.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from hemoscope.models.registry import get_arch
from hemoscope.plain_files import check_plain

__all__ = ["Bundle", "read_bundle", "write_parts"]

CARD, README, SUMS, SELFTEST = "bundle.json", "README.md", "SHA256SUMS", "selftest.json"
KNOWN = "known.safetensors"
_MAX_KNOWN = 100_000  # cells
_LENGTH_OFF = 0.01  # float16 rounds a length of 1 by less than a thousandth
_WEIGHTS = "member-{}.safetensors"
_NAMES = re.compile(
    r"bundle\.json|README\.md|SHA256SUMS|selftest\.json|selftest-\d{1,3}\.png|member-\d{1,2}\.safetensors|known\.safetensors"
)
_MAX_TEXT_BYTES = 4 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content is the same file


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every part has been checked.

    Attributes:
        path: The file.
        card: What it says of itself.
        models: A network a member, in evaluation mode, on the CPU.
        selftest: Expected probabilities, by image name.
        cells: The images of the self-test as PNG bytes, by name.
        digest: SHA-256 of the whole content.
        known: Features of known cells for each member, shape (M, F), float16; empty if there are none.
        readme: The card for people that is in the file, Markdown.
    """

    path: Path
    card: BundleCard
    models: tuple[nn.Module, ...]
    selftest: Mapping[str, list[float]]
    cells: Mapping[str, bytes]
    digest: str
    known: tuple[Tensor, ...] = ()
    readme: str = ""

    def at_nucleus(self, nucleus_px: float | None) -> Bundle:
        """Return it as it looks at cells with nuclei of this diameter; see `BundleCard.at_nucleus`."""
        return replace(self, card=self.card.at_nucleus(nucleus_px))


def write_parts(file: Path, parts: Mapping[str, bytes]) -> str:
    """Write a bundle's parts, by name and without SHA256SUMS, into a file that nobody reads yet; return its digest.

    Raises:
        BundleError: If a name does not belong into a bundle.
    """
    wrong = [name for name in parts if not _NAMES.fullmatch(name)]
    if wrong:
        raise BundleError(f"a bundle holds no {wrong[0]!r}")
    sums = "".join(f"{hashlib.sha256(parts[name]).hexdigest()}  {name}\n" for name in sorted(parts))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [*sorted(parts.items()), (SUMS, sums.encode())]:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return hashlib.sha256(sums.encode()).hexdigest()


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: If it is no bundle, damaged, edited, from a newer version, or does not hold together.
    """
    parts = _read_parts(path)
    sums = _check_digests(path, parts)
    card = _read_card(path, parts[CARD])
    _check_normalisation(path, card)
    wanted = {_WEIGHTS.format(i) for i in range(len(card.members))}
    if card.calibration.unknown_above is not None:
        wanted.add(KNOWN)
    found = {name for name in parts if name.endswith(".safetensors")}
    if wanted != found:
        raise BundleError(
            f"{path}: the card needs {', '.join(sorted(wanted))}; the file holds {', '.join(sorted(found))}"
        )
    selftest = _read_selftest(path, parts, len(card.classes))
    cells = {name: content for name, content in parts.items() if name.endswith(".png")}
    models = tuple(
        _network(path, member, len(card.classes), parts.pop(_WEIGHTS.format(i)))
        for i, member in enumerate(card.members)
    )
    known = _known(path, card, parts[KNOWN]) if KNOWN in parts else ()
    return Bundle(path, card, models, selftest, cells, sums, known, parts[README].decode("utf-8", "replace"))


def _read_parts(path: Path) -> dict[str, bytes]:
    try:
        check_plain(path)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_directory(path, infos)
            return {info.filename: archive.read(info) for info in infos}
    except FileNotFoundError:
        raise BundleError(f"there is no bundle {path}; make one: hemoscope bundle RUN --out {path}") from None
    except IsADirectoryError:
        raise BundleError(
            f"{path} is a folder; a bundle is one file. Make one of runs: hemoscope bundle {path} --out blood.hemo"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(
            f"{path} is no bundle, or it is damaged or cut short ({error}); get it again"
        ) from error


def _check_directory(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in infos]
    strange = sorted(name for name in names if not _NAMES.fullmatch(name))
    if strange:
        raise BundleError(f"{path} is no bundle: it holds {strange[0]!r}")
    if len(set(names)) != len(names):
        raise BundleError(f"{path} is no bundle: it holds two files of one name")
    missing = sorted({CARD, README, SUMS, SELFTEST} - set(names))
    if missing:
        raise BundleError(f"{path} is no whole bundle: {', '.join(missing)} is missing")
    size = path.stat().st_size
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise BundleError(f"{path} is no bundle: {info.filename} is compressed; a bundle never is")
        limit = size if info.filename.endswith(".safetensors") else _MAX_TEXT_BYTES
        if info.file_size > min(size, limit):
            raise BundleError(
                f"{path}: {info.filename} claims {info.file_size:,} bytes; at most {limit:,} fit"
            )
    if sum(info.file_size for info in infos) > size:
        raise BundleError(f"{path}: its parts claim more bytes than the file has")


def _check_digests(path: Path, parts: Mapping[str, bytes]) -> str:
    said: dict[str, str] = {}
    for line in parts[SUMS].decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        said[name] = digest
    for name, content in parts.items():
        if name != SUMS and said.get(name) != hashlib.sha256(content).hexdigest():
            raise BundleError(
                f"{path} is damaged or was edited: {name} is not what SHA256SUMS says; get it again"
            )
    if set(said) != set(parts) - {SUMS}:
        raise BundleError(f"{path} is damaged or was edited: SHA256SUMS names other files; get it again")
    return hashlib.sha256(parts[SUMS]).hexdigest()


def _read_card(path: Path, content: bytes) -> BundleCard:
    document = _read_json(path, CARD, content)
    made_by = document.get("format") if isinstance(document, dict) else None
    if isinstance(made_by, int) and made_by > FORMAT:
        raise BundleError(
            f"{path} has bundle format {made_by}, of a newer hemoscope; this one reads up to {FORMAT}: upgrade it"
        )
    try:
        return BundleCard.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the card'}: {e['msg']}" for e in error.errors()[:5]
        )
        raise BundleError(f"{path}: its card does not hold together: {problems}") from None


def _check_normalisation(path: Path, card: BundleCard) -> None:
    """Refuse what the networks would not be given: there is one normalisation, and a card says so."""
    for member in card.members:
        said = (member.preprocessing.mean, member.preprocessing.std)
        if said != (IMAGENET_MEAN, IMAGENET_STD):
            raise BundleError(
                f"{path}: {member.run} was normalised by mean {said[0]} and std {said[1]}; this hemoscope "
                f"normalises by {IMAGENET_MEAN} and {IMAGENET_STD} only"
            )


def _read_selftest(path: Path, parts: Mapping[str, bytes], n_classes: int) -> dict[str, list[float]]:
    expected = _read_json(path, SELFTEST, parts[SELFTEST])
    cells = {name for name in parts if name.endswith(".png")}
    fits = isinstance(expected, dict) and set(expected) == cells and cells
    if not fits or not all(_is_probs(row, n_classes) for row in expected.values()):
        raise BundleError(
            f"{path}: {SELFTEST} is not one row of {n_classes} probabilities for each of its cells"
        )
    return expected


def _is_probs(row: Any, n_classes: int) -> bool:
    return (
        isinstance(row, list)
        and len(row) == n_classes
        and all(isinstance(p, (int, float)) and 0 <= p <= 1 for p in row)
    )


def _read_json(path: Path, name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {name} is no sensible JSON: {type(error).__name__}") from None


def _network(path: Path, member: MemberCard, n_classes: int, content: bytes) -> nn.Module:
    try:
        wanted = skeleton(member.arch, n_classes, head=member.head).state_dict()
        state: dict[str, Tensor] = load(content)
        _check_types(state, wanted)
        model = load_state(
            member.arch, n_classes, state, head=member.head, instance_norm=member.instance_norm
        )
        return model.eval()
    except (SafetensorError, WeightsError, UnknownNameError, ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: weights of {member.run}: {error}") from error


def _known(path: Path, card: BundleCard, content: bytes) -> tuple[Tensor, ...]:
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: {KNOWN}: {error}") from error
    names = [f"member-{i}" for i in range(len(card.members))]
    if sorted(tensors) != sorted(names):
        raise BundleError(f"{path}: {KNOWN} has {len(tensors)} tensors; expected one for each member")
    for name, member in zip(names, card.members, strict=True):
        found = tensors[name]
        head = skeleton(member.arch, 2, head=member.head).get_submodule(
            head_path(get_arch(member.arch), member.head)
        )
        width = head.in_features if isinstance(head, nn.Linear) else head.in_channels
        fits = found.ndim == 2 and found.shape[1] == width and 0 < len(found) <= _MAX_KNOWN
        if not fits or found.dtype != torch.float16:
            raise BundleError(
                f"{path}: {KNOWN}: {name} is {found.dtype} of shape {tuple(found.shape)}; expected "
                f"torch.float16 of shape (M, {width}), M from 1 to {_MAX_KNOWN:,}"
            )
        off = (found.float().norm(dim=1) - 1).abs().max().item()
        if not off <= _LENGTH_OFF:  # NaN is not; a cosine with a longer one could be anything
            raise BundleError(
                f"{path}: {KNOWN}: a cell of {name} is not of length 1 but off by {off:.3g}; its distances would "
                "mean nothing"
            )
    return tuple(tensors[name] for name in names)


def _check_types(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name, tensor in wanted.items():
        if name in state and state[name].dtype != tensor.dtype:
            raise WeightsError(f"{name} is {state[name].dtype}, expected {tensor.dtype}")
