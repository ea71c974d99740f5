"""A small bundle, cells of another camera, and what adapting it to them gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.adapt.adapt import Outcome, adapt
from hemoscope.adapt.cells import Cells, gather
from hemoscope.adapt.recipe import AdaptRecipe, adapt_recipe
from hemoscope.bundle.file import read_bundle
from tests.two_networks import MadeOnce

CAST = (0.35, 0.35, 0.35)  # of red, green and blue light: a camera so dark that the networks know little
CLASSES = ("blue", "green", "red")
QUICK = {
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.001,
    "ema": 0.5,
    "turns": 1,
    "least_cells": 30,
    "most_sure": 1.0,
    "least_seeds_agree": 0.0,
    "least_kept": 0.0,
    "least_information": 0.0,
    "most_neighbours": 1.0,
    "least_nuclei": 0.0,
    "most_lost": 1.0,
    "error_rate": 0.4,
    "known_certainty": 0.0,
    "share_draws": 20,
}
QUICK_LABELS = {"labelled_epochs": 2, "labelled_lr": 1.0, "folds": 2}


@pytest.fixture(scope="session")
def here(discs: Path, made_once: MadeOnce) -> Path:
    """The discs as another camera shows them, in no folders, and a few of them in class folders."""

    def take(folder: Path) -> None:
        (folder / "cells").mkdir()
        for path in sorted(discs.rglob("*.png")):
            pixels = np.asarray(Image.open(path).convert("RGB")) * np.array(CAST)
            if path.stem >= "12":
                continue
            image = Image.fromarray(pixels.round().astype(np.uint8))
            image.save(folder / "cells" / f"{path.parent.name}-{path.name}")
            if path.stem < "04":
                (folder / "labelled" / path.parent.name).mkdir(parents=True, exist_ok=True)
                image.save(folder / "labelled" / path.parent.name / path.name)

    return made_once("discs-in-the-dark", take)


@pytest.fixture(scope="session")
def quick() -> AdaptRecipe:
    """A recipe of seconds, which trusts whatever comes of it."""
    return adapt_recipe(**QUICK).model_copy(update=QUICK_LABELS)


@pytest.fixture(scope="session")
def cells(here: Path) -> Cells:
    """All of the discs, none with a label."""
    return gather(str(here / "cells"), CLASSES, most=1000)


@pytest.fixture(scope="session")
def run(single_file: Path, quick: AdaptRecipe) -> Callable[..., Outcome]:
    """Adapts the small bundle of one network on the CPU."""

    def adapted(cells: Cells, out: Path, *, model: Path = single_file, **options: object) -> Outcome:
        return adapt(read_bundle(model), cells, out, **{"recipe": quick, "device_name": "cpu", **options})

    return adapted


@pytest.fixture(scope="session")
def adapted_file(run: Callable[..., Outcome], cells: Cells, made_once: MadeOnce) -> Path:
    """The bundle, adapted without labels."""
    return made_once("adapted", lambda folder: run(cells, folder / "here.hemo")) / "here.hemo"
