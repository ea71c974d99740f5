"""An adapted bundle as a file: known cells, thresholds, card, README and self-test made anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from hemoscope.adapt.answers import distance_of, remembered
from hemoscope.adapt.look import pixels_of
from hemoscope.adapt.result import Result
from hemoscope.adapt.statement import readme, statements
from hemoscope.adapt.thresholds import Evidence, thresholds
from hemoscope.adapt.trust import Signals, loosened
from hemoscope.bundle.card import ADAPTED_FORMAT, Adapted, BundleCard, Calibration, MemberCard
from hemoscope.data.camera import evenly
from hemoscope.data.images.framing import SQUARE
from hemoscope.encoding import jsonable
from hemoscope.evaluation.summary import score
from hemoscope.models.tensor_file import on_cpu
from hemoscope.packing.answers import STRANGERS, strange_distances
from hemoscope.packing.pack import PICKED
from hemoscope.packing.write import write
from hemoscope.predict.network import Network
from hemoscope.records import IntArray, Predictions

__all__ = ["write_adapted"]


def write_adapted(out: Path, result: Result, signals: Signals, *, overwrite: bool = False) -> BundleCard:
    """Write what was learnt as a bundle, and read it back.

    Raises:
        DataError: If there is a file already.
        BundleError: If what was written does not give the answers it should; it is deleted again.
    """
    rows, known = remembered(result.kept.looked, result.taken_for(), result.sure())
    remembering = _remembering(result.kept.networks, known)
    calibration, by_labels = _trust(result, remembering, rows, known, tta=False)
    tta = None
    if result.bundle.card.tta:
        tta, also = _trust(result, remembering, rows, known, tta=True)
        by_labels = by_labels and also
    card = _card(result, signals, rows, calibration, tta, by_labels=by_labels)
    models = [network.model for network in result.kept.networks]
    weights = [save(on_cpu(model.state_dict())) for model in models]
    write(out, card, readme(card), weights, models, known, overwrite=overwrite)
    return card


def _remembering(networks: Sequence[Network], known: Sequence[Tensor]) -> tuple[Network, ...]:
    if not known:
        return tuple(networks)
    return tuple(
        replace(network, known=cells.to(network.device.torch_device, torch.float32))
        for network, cells in zip(networks, known, strict=True)
    )


def _trust(
    result: Result, networks: Sequence[Network], rows: IntArray, known: Sequence[Tensor], *, tta: bool
) -> tuple[Calibration, bool]:
    cells = result.cells
    enough = len(rows) > 1
    some = [pixels_of(source) for source in evenly(cells.sources, STRANGERS)]
    evidence = Evidence(
        classes=result.bundle.card.classes,
        answers=result.answers(tta=tta),
        others=result.others_said(tta=tta),
        distance=distance_of(result.kept.looked, rows, known, tta=tta) if enough else None,
        sure=result.sure(),
        target=cells.target,
        crossed=result.crossed(tta=tta),
        strange=strange_distances(networks, some, tta=tta) if enough else {},
    )
    return thresholds(evidence, result.recipe)


def _card(
    result: Result,
    signals: Signals,
    rows: IntArray,
    calibration: Calibration,
    tta: Calibration | None,
    *,
    by_labels: bool,
) -> BundleCard:
    before, cells = result.bundle.card, result.cells
    labelled = Counter(before.classes[c] for c in cells.target[cells.labelled].tolist())
    there = {before.classes[c] for c in np.unique(result.taken_for()[rows]).tolist()}
    adapted = Adapted(
        parent=result.bundle.digest,
        parent_name=before.name,
        cells=cells.digest,
        n_cells=len(cells.unlabelled),
        labelled=dict(sorted(labelled.items())),
        nucleus_px=_nucleus(result.kept.networks),
        nucleus_px_before=next(
            (m.preprocessing.nucleus_px for m in before.members if m.preprocessing.nucleus_px), None
        ),
        shares=result.share_ranges(draws=result.recipe.share_draws),
        seed=result.seed,
        recipe=result.recipe.model_dump(mode="json"),
        signals=signals.to_json(),
        by_labels=by_labels,
        known=statements(
            n_cells=len(cells.unlabelled),
            labelled=labelled,
            absent=[name for name in before.classes if name not in there],
            by_labels=by_labels,
            reviewed_all=calibration.review_below is None,
            leant=result.leant,
            loosened=loosened(signals, result.recipe),
        ),
    )
    return BundleCard(
        format=ADAPTED_FORMAT,
        name=before.name,
        classes=before.classes,
        members=tuple(
            _member(member, network)
            for member, network in zip(before.members, result.kept.networks, strict=True)
        ),
        vote=before.vote,
        chosen=before.chosen,
        data={
            "digest": cells.digest,
            "short_sides_px": list(cells.sides_px),
            "converted": dict(cells.converted),
            "left_out": cells.left_out,
        },
        split={"policy": "adapted", "digest": None, "seed": result.seed},
        scores=jsonable(score(_crossed(result)).to_json()),  # type: ignore[arg-type]
        calibration=calibration,
        tta=tta,
        intended_use=before.intended_use,
        limits=tuple(limit for limit in before.limits if by_labels or limit != PICKED),
        versions={name: version(name) for name in ("hemoscope", "torch", "torchvision", "numpy", "pillow")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        adapted=adapted,
    )


def _member(member: MemberCard, network: Network) -> MemberCard:
    if network.framing == SQUARE:
        return member
    seen = member.preprocessing.model_copy(update={"nucleus_px": network.nucleus_px})
    return member.model_copy(update={"preprocessing": seen})


def _nucleus(networks: Sequence[Network]) -> float | None:
    return next((network.nucleus_px for network in networks if network.framing != SQUARE), None)


def _crossed(result: Result) -> Predictions:
    """Return the answers to labelled cells by networks that learnt without their labels; none without labels."""
    said, rows = result.crossed() or result.answers(), result.cells.labelled
    paths = tuple(f"{row:09d}" for row in rows)
    return Predictions(
        result.bundle.card.classes, paths, result.cells.target[rows], said.probs[rows], said.pred[rows]
    )
