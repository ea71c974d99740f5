"""Two small trained networks, and bundles of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemoscope.inference.bundle import Bundle, read_bundle
from hemoscope.inference.model import Model, load
from hemoscope.inference.pack import pack
from hemoscope.runs import Run
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job


@pytest.fixture(scope="session")
def runs(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two ResNet-18s that know discs by colour; they differ in seed, input size and view."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HEMOSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    out = tmp_path_factory.mktemp("runs")
    common = Recipe(weights="none", epochs=6, batch_size=8, lr=0.05, precision="fp32", image_px=32)
    other = common.model_copy(update={"image_px": 48, "eval_view": "full_image", "fill": "edge"})
    made = [
        run_job("resnet18", recipe, prepare(discs), seed=seed, out=out, device_name="cpu")
        for seed, recipe in enumerate((common, other))
    ]
    patch.undo()
    return made


@pytest.fixture(scope="session")
def single_file(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one network."""
    path = tmp_path_factory.mktemp("single") / "one.hemo"
    pack(runs[:1], path, error_rate=0.3, coverage=0.9, unknown_share=0.1, device_name="cpu")
    return path


@pytest.fixture(scope="session")
def ensemble_file(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of both, by majority."""
    path = tmp_path_factory.mktemp("both") / "both.hemo"
    pack(
        runs,
        path,
        error_rate=0.3,
        coverage=0.9,
        unknown_share=0.1,
        tta=True,
        device_name="cpu",
        chosen="both there are",
    )
    return path


@pytest.fixture(scope="session")
def bundle(ensemble_file: Path) -> Bundle:
    """The ensemble's bundle, read and checked."""
    return read_bundle(ensemble_file)


@pytest.fixture(scope="session")
def model(ensemble_file: Path) -> Model:
    """The ensemble, ready to answer."""
    return load(ensemble_file, device="cpu", precision="fp32")
