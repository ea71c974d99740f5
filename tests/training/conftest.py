"""Small data that a network can really learn, and a cache of its own for every test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.training.run import Prepared, prepare

COLOURS = {"blue": (60, 60, 200), "green": (60, 180, 60), "red": (200, 50, 50)}


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 24 discs each, of noisy colour on a noisy ground."""
    root = tmp_path_factory.mktemp("discs") / "cells"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for index in range(24):
            pixels = rng.integers(180, 256, (40, 40, 3))
            centre, radius = rng.uniform(15, 25, 2), rng.uniform(8, 14)
            inside = np.hypot(y - centre[0], x - centre[1]) < radius
            pixels[inside] = np.array(colour) + rng.integers(-40, 41, (inside.sum(), 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index:02d}.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's caches and weights out of the tests, and the tests out of them."""
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HEMOSCOPE_WEIGHTS", str(tmp_path_factory.getbasetemp() / "no-weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.getbasetemp() / "no-hub"))
    return


@pytest.fixture
def prepared(discs: Path) -> Prepared:
    """The discs, scanned and split."""
    return prepare(discs)
