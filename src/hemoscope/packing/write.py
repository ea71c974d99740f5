"""A bundle as a file, read back and asked before it is in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from hemoscope.bundle.card import BundleCard
from hemoscope.bundle.file import CARD, KNOWN, README, SELFTEST, read_bundle, write_parts
from hemoscope.files import atomic_path, refuse_existing
from hemoscope.packing.selftest import drawn_cells, expected_answers, verify

__all__ = ["card_bytes", "write"]

INDENTED = 100  # classes


def write(
    out: Path,
    card: BundleCard,
    readme: str,
    weights: Sequence[bytes],
    models: Sequence[nn.Module],
    known: Sequence[Tensor],
    *,
    overwrite: bool,
) -> None:
    """Write a bundle with its README and self-test; where it does not answer as it should, there is none.

    Args:
        out: Where to.
        card: What it says of itself.
        readme: The same for people, Markdown.
        weights: Every member's as safetensors.
        models: The members with these weights.
        known: Features of the cells that every member remembers; kept where its thresholds ask for them.
        overwrite: Replace what is there.

    Raises:
        DataError: If there is a file already.
        BundleError: If what was written does not give the answers it should.
    """
    cells = drawn_cells()
    parts = {
        CARD: card_bytes(card),
        README: readme.encode(),
        **{f"member-{i}.safetensors": content for i, content in enumerate(weights)},
        **cells,
        SELFTEST: json.dumps(expected_answers(card, models, cells), indent=1).encode(),
    }
    if card.calibration.unknown_above is not None:
        parts[KNOWN] = save({f"member-{i}": features.contiguous() for i, features in enumerate(known)})
    refuse_existing(out, overwrite=overwrite)  # once more: minutes have passed
    with atomic_path(out) as part:
        write_parts(part, parts)
        verify(replace(read_bundle(part), path=out))


def card_bytes(card: BundleCard) -> bytes:
    """Return the card as it lies in a bundle.

    It is indented for people; of many classes it is one line, for the confusions of 1,000 would be larger than what is read.
    """
    indent = 2 if len(card.classes) <= INDENTED else None
    return (card.model_dump_json(indent=indent, exclude=_not_used(card)) + "\n").encode()


def _not_used(card: BundleCard) -> Any:
    """Return the fields that an older hemoscope does not know and this bundle has no use for."""
    trusts = {"calibration": card.calibration, "tta": card.tta}
    by_class = {
        name: {"conformal_by_class"}
        for name, trust in trusts.items()
        if trust and not trust.conformal_by_class
    }
    plain = {name: True for name in ("tta", "by_half", "adapted") if not getattr(card, name)}
    members = {i: {"instance_norm"} for i, member in enumerate(card.members) if not member.instance_norm}
    return {**by_class, **plain, "members": members}
