"""Folders that many tests read: real cells where there are any, and small drawn noise everywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.framed import farther_cells, framed_file, framed_run, round_cells  # noqa: F401
from tests.two_networks import bundle, ensemble_file, misfiled, model, runs, single_file  # noqa: F401

# By default a property fails where one example takes 200 ms or drawing is slow: on a busy machine all do.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


CREAM = (255, 229, 203)
GREY_BLUE = (226, 219, 228)
COLOURS = {"blue": (60, 60, 200), "green": (60, 180, 60), "red": (200, 50, 50)}


@pytest.fixture(scope="session")
def real_cells() -> Path:
    """The folder named by HEMOSCOPE_REAL_CELLS, by default the mini set beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "pbc-mini"
    named = os.environ.get("HEMOSCOPE_REAL_CELLS")
    folder = Path(named) if named else beside
    if not folder.is_dir():
        pytest.skip(f"no real cells: {folder} is no folder; name one by HEMOSCOPE_REAL_CELLS")
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """A maker of folders of class folders with different PNG images: dark noise on one background."""

    def make(
        counts: Mapping[str, int],
        *,
        name: str = "cells",
        size_px: int = 24,
        background: tuple[int, int, int] = CREAM,
        seed: int = 0,
    ) -> Path:
        rng = np.random.default_rng(seed)
        for class_name, count in counts.items():
            folder = tmp_path / name / class_name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = np.full((size_px, size_px, 3), background, dtype=np.uint8)
                low, high = size_px // 4, 3 * size_px // 4
                noise = rng.integers(20, 160, (high - low, high - low, 3))
                pixels[low:high, low:high] = noise
                Image.fromarray(pixels).save(folder / f"{class_name}_{index:04d}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A maker of folders that are filled by the first process that asks and read by every one of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        path, whole = shared / name, shared / f"{name}.whole"
        with FileLock(shared / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(path, ignore_errors=True)  # of a worker in which filling failed
                path.mkdir()
                fill(path)
                whole.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def discs(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Three classes of 24 discs each, of noisy colour on a noisy ground."""
    return made_once("discs", draw_discs) / "cells"


def draw_discs(folder: Path) -> None:
    root = folder / "cells"
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


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's caches and weights out of the tests, and the tests out of them."""
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEMOSCOPE_CACHE", str(folder / "cache"))
        patch.setenv("HEMOSCOPE_WEIGHTS", str(folder / "no-weights"))
        patch.setenv("TORCH_HOME", str(folder / "no-hub"))
        yield
