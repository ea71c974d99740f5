"""Two small trained networks that are not too sure of themselves, and bundles of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:  # torch is not imported for tests that do without
    from hemoscope.bundle.file import Bundle
    from hemoscope.predict.model import Model
    from hemoscope.runs import Run


MadeOnce = Callable[[str, Callable[[Path], object]], Path]
MISFILED = ("22.png", "23.png")  # of every class


@pytest.fixture(scope="session")
def misfiled(discs: Path, made_once: MadeOnce) -> Path:
    """The discs, two of each class filed under the next: where nothing is wrong, no network learns doubt."""

    def misfile(folder: Path) -> None:
        names = sorted(path.name for path in discs.iterdir())
        shutil.copytree(discs, folder / "cells")
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            for file in MISFILED:
                shutil.copy(discs / name / file, folder / "cells" / other / file)

    return made_once("misfiled", misfile) / "cells"


@pytest.fixture(scope="session")
def runs(misfiled: Path, made_once: MadeOnce) -> list[Run]:
    """Two ResNet-18s that know discs by colour; they differ in seed, input size, view and rate.

    Their rates are so small that no probability is near 0 or 1 and no two are near each other: what one
    processor rounds otherwise than another decides no answer.
    """
    from hemoscope.runs import find_runs
    from hemoscope.training.recipe import Recipe
    from hemoscope.training.run import prepare, run_job

    def train(folder: Path) -> None:
        common = Recipe(weights="none", epochs=8, batch_size=16, precision="fp32")
        # 36 px: an even border, so that the crop is in the middle of a turned image too.
        first = {"image_px": 32, "canvas_px": 36, "lr": 0.0003}
        second = {"image_px": 48, "eval_view": "full_image", "fill": "edge", "lr": 0.0005}
        for seed, changes in enumerate((first, second)):
            recipe = common.model_copy(update=changes)
            run_job("resnet18", recipe, prepare(misfiled), seed=seed, out=folder / "runs", device_name="cpu")

    made = sorted(find_runs(made_once("two-networks", train) / "runs"), key=lambda run: run.card["seed"])
    for run in made:
        for side in ("val", "test"):
            first, second = np.sort(run.predictions(side).probs, axis=1)[:, :-3:-1].T
            assert 0.5 < np.median(first) < 0.99, run.name
            assert (first - second).min() > 0.002, run.name
    return made


@pytest.fixture(scope="session")
def single_file(runs: list[Run], made_once: MadeOnce) -> Path:
    """A bundle of one network."""
    return made_once("single", lambda folder: bundle_of(runs[:1], folder / "one.hemo")) / "one.hemo"


@pytest.fixture(scope="session")
def ensemble_file(runs: list[Run], made_once: MadeOnce) -> Path:
    """A bundle of both, by majority."""
    return made_once("both", lambda folder: bundle_of(runs, folder / "both.hemo")) / "both.hemo"


def bundle_of(runs: list[Run], path: Path) -> None:
    from hemoscope.packing.calibrate import Goals
    from hemoscope.packing.pack import Voting, pack

    card = pack(
        runs,
        path,
        goals=Goals(error_rate=0.4, coverage=0.9, unknown_share=0.1),
        tta=len(runs) > 1,
        device_name="cpu",
        voting=Voting(chosen="both there are" if len(runs) > 1 else ""),
    )
    # Below, it would sharpen every answer again, and what rounding did to it.
    assert card.calibration.temperature > 0.2


@pytest.fixture(scope="session")
def bundle(ensemble_file: Path) -> Bundle:
    """The ensemble's bundle, read and checked."""
    from hemoscope.bundle.file import read_bundle

    return read_bundle(ensemble_file)


@pytest.fixture(scope="session")
def model(ensemble_file: Path) -> Model:
    """The ensemble, ready to answer."""
    from hemoscope.predict.model import load

    return load(ensemble_file, device="cpu", precision="fp32")
