"""A small network that frames drawn cells by their nuclei, its bundle, and the same cells from a camera that looks less closely."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from hemoscope.runs import Run

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
KINDS = ("lymphocyte", "monocyte", "neutrophil")
SIDE, EACH, FARTHER = 96, 24, 0.55


@pytest.fixture(scope="session")
def round_cells(made_once: MadeOnce) -> Path:
    """A folder of class folders of drawn cells."""
    from hemoscope.data.synthetic import draw_cell

    def draw(folder: Path) -> None:
        for kind in KINDS:
            (folder / "cells" / kind).mkdir(parents=True)
            for i in range(EACH):
                pixels = draw_cell(kind, size_px=SIDE, rng=np.random.default_rng([KINDS.index(kind), i]))
                Image.fromarray(pixels).save(folder / "cells" / kind / f"{i:02d}.png")

    return made_once("round-cells", draw) / "cells"


@pytest.fixture(scope="session")
def farther_cells(round_cells: Path, made_once: MadeOnce) -> Path:
    """The same cells as another camera shows them, in fewer pixels."""

    def shrink(folder: Path) -> None:
        side = round(SIDE * FARTHER)
        for file in round_cells.rglob("*.png"):
            there = folder / "cells" / file.relative_to(round_cells)
            there.parent.mkdir(parents=True, exist_ok=True)
            Image.open(file).resize((side, side), Image.Resampling.BOX).save(there)

    return made_once("farther-cells", shrink) / "cells"


@pytest.fixture(scope="session")
def framed_run(round_cells: Path, made_once: MadeOnce) -> Run:
    """A run of a few epochs, framed by nuclei."""
    from hemoscope.runs import find_runs
    from hemoscope.training.recipe import load_recipe
    from hemoscope.training.run import prepare, run_job

    def train(folder: Path) -> None:
        recipe = load_recipe(
            "robust",
            epochs=12,
            batch_size=16,
            lr=0.02,
            weights="none",
            image_px=48,
            views=1,
            precision="fp32",
            ema=0.0,
            stain_mix=0.1,
            stain_gain=0.1,
            grey=0.0,
            frame_jitter=0.0,
            blur=0.0,
            jpeg=0.0,
            weight_decay=0.0,
            sampler="shuffle",
        )
        run_job("resnet18", recipe, prepare(round_cells), seed=0, out=folder / "runs", device_name="cpu")

    (made,) = find_runs(made_once("framed-run", train) / "runs")
    return made


@pytest.fixture(scope="session")
def framed_file(framed_run: Run, made_once: MadeOnce) -> Path:
    """Its bundle."""
    from hemoscope.packing.calibrate import Goals
    from hemoscope.packing.pack import pack

    def write(folder: Path) -> None:
        goals = Goals(error_rate=0.4, coverage=0.9, unknown_share=0.1)
        pack([framed_run], folder / "framed.hemo", goals=goals, device_name="cpu")

    return made_once("framed-file", write) / "framed.hemo"
