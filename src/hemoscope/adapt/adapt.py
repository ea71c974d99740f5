"""From a bundle and cells to an adapted bundle, or to why there is none: every step in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hemoscope.adapt.answers import voted
from hemoscope.adapt.assumed import lean_of, prior_of
from hemoscope.adapt.cells import Cells
from hemoscope.adapt.fit import EpochTold, Lesson, fit, with_new_statistics
from hemoscope.adapt.look import Looked, canvases_of, look
from hemoscope.adapt.plan import Fit, check_enough, digest_of, plan_fits
from hemoscope.adapt.recipe import ADAPT, CHECKED_BY, AdaptRecipe
from hemoscope.adapt.result import Learned, Result
from hemoscope.adapt.shares import estimate_shares
from hemoscope.adapt.trust import (
    Signals,
    balanced_accuracy,
    doubts,
    mutual_information,
    neighbourhood_density,
    shares_moved,
)
from hemoscope.adapt.write import write_adapted
from hemoscope.bundle.card import BundleCard
from hemoscope.bundle.file import Bundle
from hemoscope.bundle.known import distances
from hemoscope.data.camera import evenly
from hemoscope.data.canvas import Canvas
from hemoscope.files import lock_folder, refuse_existing
from hemoscope.predict.model import on_device
from hemoscope.predict.network import Network, at_camera
from hemoscope.predict.verdict import is_unknown
from hemoscope.progress import Progress
from hemoscope.records import IntArray
from hemoscope.training.device import Device

__all__ = ["Outcome", "Watch", "adapt", "work_folder"]

Watch = Callable[[str, EpochTold], None]
"""Hears what is being done and how an epoch went."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an adaptation.

    Attributes:
        card: Of the bundle that was written; None: nothing was, and the model stays as it was.
        reasons: Why it is not to be trusted; empty where it is.
        signals: What told so.
        shares: Estimated class shares of the cells without a label, by class; empty where there is none.
    """

    card: BundleCard | None
    reasons: tuple[str, ...]
    signals: Signals
    shares: dict[str, float]


def adapt(
    bundle: Bundle,
    cells: Cells,
    out: Path,
    *,
    recipe: AdaptRecipe = ADAPT,
    seed: int = 0,
    device_name: str = "auto",
    overwrite: bool = False,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Adapt a bundle to cells, and write it as another one if that is to be trusted.

    A call that was killed goes on where it was when it is given again, and so does one after a refusal, by other rules.

    Args:
        bundle: The model before. Its networks are used up: they are moved to the device.
        cells: Of one laboratory.
        out: The file to write.
        recipe: How.
        seed: Of everything drawn.
        device_name: Where to compute.
        overwrite: Replace what is at `out`, once the new bundle has given the right answers.
        watch: Called after every epoch.
        progress: Called with what is done, how much, and of how much.

    Raises:
        DataError: If the cells are too few, or there is a file already.
        RunError: If another process is writing this file.
        TrainingError: If a loss is no number any more.
        BundleError: If what was written does not give the answers it should; it is deleted again.
    """
    refuse_existing(out, overwrite=overwrite)
    check_enough(cells, bundle.card.classes, recipe)
    work = work_folder(out)
    with lock_folder(work):
        before = _networks(bundle, cells, device_name)
        canvases = canvases_of(before, cells.sources, progress)
        parent = [
            look(_exact(network), canvas, np.arange(len(cells.target)))
            for network, canvas in zip(before, canvases, strict=True)
        ]
        known = _known(bundle.card, cells, before, parent)
        if reasons := doubts(known, recipe):
            if not any(work.glob("*.safetensors")):  # else an earlier call has learnt
                shutil.rmtree(work, ignore_errors=True)
            return Outcome(None, reasons, known, {})
        fits = plan_fits(cells, recipe, seed)
        facts = _facts(bundle, before, cells, recipe)

        def learn(one: Fit) -> Learned:
            lessons = _lessons(
                bundle.card, before, canvases, recipe, cells.unlabelled, one.labelled, cells.target
            )
            networks = []
            for k, lesson in enumerate(lessons):
                what = one.name if len(lessons) == 1 else f"{one.name}, network {k + 1} of {len(lessons)}"
                digest = digest_of(
                    {**facts, "member": k, "seed": one.seed, "labelled": one.labelled.tolist()}
                )
                tell = partial(watch, what) if watch else None
                found = fit(lesson, recipe, seed=one.seed, folder=work, digest=digest, tell=tell)
                networks.append(_exact(found))
            looked = _looked(networks, canvases, bundle.card)
            return Learned(one, tuple(networks) if one is fits[0] else (), looked)

        learned = [learn(one) for one in fits]
        prior = np.mean(
            [prior_of(bundle.card, k, network, recipe) for k, network in enumerate(before)], axis=0
        )
        result = Result(bundle, cells, recipe, seed, prior, tuple(canvases), learned[0], tuple(learned[1:]))
        signals = _signals(result, known, before, parent)
        reasons = doubts(signals, recipe)
        card = None
        if not reasons:
            card = write_adapted(out, result, signals, overwrite=overwrite)
            shutil.rmtree(work, ignore_errors=True)
        return Outcome(card, reasons, signals, result.shares)


def work_folder(out: Path) -> Path:
    """Return where checkpoints are until `out` is written; they stay after a refusal, a failure or a kill."""
    return out.with_name(f".{out.name}.adapting")


def _networks(bundle: Bundle, cells: Cells, device_name: str) -> tuple[Network, ...]:
    """Return the networks on the device, as they look at cells of this camera."""
    return at_camera(on_device(bundle, device_name, "auto").networks, evenly(cells.sources))


def _exact(network: Network) -> Network:
    return replace(network, device=Device(network.device.torch_device, "fp32"))


def _lessons(
    card: BundleCard,
    networks: Sequence[Network],
    canvases: Sequence[Canvas],
    recipe: AdaptRecipe,
    unlabelled: IntArray,
    labelled: IntArray,
    target: IntArray,
) -> list[Lesson]:
    """Return what each network is to learn, of the rows named."""
    return [
        Lesson(
            network,
            canvas,
            unlabelled,
            labelled,
            target[labelled],
            prior_of(card, k, network, recipe),
            card.classes,
            lean_of(card, k, network),
        )
        for k, (network, canvas) in enumerate(zip(networks, canvases, strict=True))
    ]


def _facts(
    bundle: Bundle, networks: Sequence[Network], cells: Cells, recipe: AdaptRecipe
) -> dict[str, object]:
    """Return what every fit follows from."""
    device = networks[0].device
    leans = [lean_of(bundle.card, k, network) for k, network in enumerate(networks)]
    return {
        "parent": bundle.digest,
        "cells": cells.digest,
        "recipe": recipe.model_dump(mode="json", exclude=set(CHECKED_BY)),
        "framing": [network.framing.view_px for network in networks],
        "device": [device.torch_device.type, device.precision],
        "lean": [None if one is None else one.tolist() for one in leans],
        "versions": [version("hemoscope"), torch.__version__],
    }


def _looked(networks: Sequence[Network], canvases: Sequence[Canvas], card: BundleCard) -> tuple[Looked, ...]:
    """Return what adapted networks make of all cells, in as many views as the bundle is to be calibrated for."""
    views = 8 if card.tta else 1
    return tuple(
        look(_exact(network), canvas, np.arange(len(canvas.pixels)), views=views)
        for network, canvas in zip(networks, canvases, strict=True)
    )


def _known(card: BundleCard, cells: Cells, before: Sequence[Network], parent: Sequence[Looked]) -> Signals:
    """Return what is known before anything is learnt."""
    rows = cells.unlabelled
    labels = {
        "labelled_cells": len(cells.labelled) or None,
        "labelled_classes": len(np.unique(cells.target[cells.labelled])) or None,
    }
    if not len(rows):
        return Signals(0, cells.nuclei, **labels)
    return Signals(
        cells=len(rows),
        nuclei=cells.nuclei,
        **labels,
        unknown_before=_unknown(before, parent, card, rows),
        sure_before=float(voted(parent, card.vote).probs[rows].max(axis=1).mean()),
    )


def _signals(result: Result, known: Signals, before: Sequence[Network], parent: Sequence[Looked]) -> Signals:
    cells, card, recipe = result.cells, result.bundle.card, result.recipe
    told = _labelled_signals(result, parent)
    rows = cells.unlabelled
    if not len(rows):
        return replace(known, **told)
    everything, none = np.arange(len(cells.target)), np.zeros(0, np.int64)
    lessons = _lessons(card, before, result.canvases, recipe, everything, none, cells.target)
    began = [
        look(_exact(with_new_statistics(lesson, recipe)), lesson.canvas, everything) for lesson in lessons
    ]
    first, last = voted(began, card.vote), result.answers()
    others = [voted(one.looked, card.vote).pred[rows] for one in result.others]
    shares = [estimate_shares(one.probs[rows], result.prior).shares for one in (first, last)]
    return replace(
        known,
        kept=float((first.pred == last.pred)[rows].mean()),
        seeds_agree=float(np.mean(np.all([other == last.pred[rows] for other in others], axis=0))),
        shares_moved=shares_moved(*shares),
        information_before=mutual_information(first.probs),
        information=mutual_information((result.crossed() or last).probs),
        density_before=_density(began, rows),
        density=_density(result.kept.looked, rows),
        **told,
    )


def _labelled_signals(result: Result, parent: Sequence[Looked]) -> dict[str, Any]:
    rows, target = result.cells.labelled, result.cells.target
    crossed = result.crossed()
    if crossed is None:
        return {}
    was = voted(parent, result.bundle.card.vote)
    right_before, right = was.pred[rows] == target[rows], crossed.pred[rows] == target[rows]
    return {
        "labelled_before": balanced_accuracy(was.pred[rows], target[rows]),
        "labelled": balanced_accuracy(crossed.pred[rows], target[rows]),
        "labelled_won": int((right & ~right_before).sum()),
        "labelled_lost": int((right_before & ~right).sum()),
    }


def _unknown(
    networks: Sequence[Network], looked: Sequence[Looked], card: BundleCard, rows: np.ndarray
) -> float | None:
    if card.calibration.unknown_above is None:
        return None
    far = [
        distances(one.features[0], None if network.known is None else network.known.cpu())
        for network, one in zip(networks, looked, strict=True)
    ]
    return float(is_unknown(torch.stack(far).double().mean(dim=0).numpy()[rows], card.calibration).mean())


def _density(looked: Sequence[Looked], rows: np.ndarray) -> float | None:
    if len(rows) < 2:
        return None
    return float(np.mean([neighbourhood_density(one.features[0, torch.from_numpy(rows)]) for one in looked]))
