"""Drawn cells of which it is known what tells their class: the background alone, or the cell alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.synthetic.scene import draw_with_mask
from hemoscope.predict.evaluate import scanned
from hemoscope.predict.scorable import a_run
from hemoscope.stress.ask import stress
from hemoscope.stress.result import CLEAN, NOT_ASKED
from hemoscope.stress.words import sentences, told_by_background
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job

pytestmark = pytest.mark.slow

PER_CLASS, SIDE_PX = 60, 64
KINDS = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
TINTS = {
    "background": {"a": (0.72, 0.72, 0.72), "b": (0.86, 0.86, 0.86), "c": (1.0, 1.0, 1.0)},
    "cell": {"a": (0.5, 1.0, 1.0), "b": (1.0, 1.0, 1.0), "c": (1.0, 0.4, 1.0)},
}


def draw(root: Path, where: Literal["background", "cell"]) -> None:
    """Write cells of any kind in three classes; a class is the tint of its background, or of its cell, and nothing else."""
    for row, (name, tint) in enumerate(TINTS[where].items()):
        (root / name).mkdir(parents=True)
        for i in range(PER_CLASS):
            rng = np.random.default_rng([row, i])
            image, mask = draw_with_mask(KINDS[rng.integers(len(KINDS))], size_px=SIDE_PX, rng=rng)
            tinted = mask if where == "cell" else ~mask
            factor = np.where(tinted[..., None], tint, 1.0)
            Image.fromarray((image * factor).round().astype(np.uint8)).save(root / name / f"{i:03d}.png")


@pytest.mark.parametrize("where", ["background", "cell"])
def test_a_network_is_said_to_recognise_background_where_only_that_tells(
    where: Literal["background", "cell"], tmp_path: Path
):
    draw(tmp_path / "cells", where)
    recipe = Recipe(
        weights="none",
        epochs=12,
        batch_size=16,
        lr=0.01,
        precision="fp32",
        image_px=48,
        canvas_px=54,
        fill="edge",
    )
    run = run_job(
        "resnet18", recipe, prepare(tmp_path / "cells"), seed=0, out=tmp_path / "runs", device_name="cpu"
    )
    found = stress(a_run(run, device="cpu"), scanned(tmp_path / "cells"), side="val", limit=0, device="cpu")
    (subject,) = found.subjects
    said = " ".join(sentences(found, subject))
    assert (subject.preds[CLEAN] == found.target).mean() > 0.8
    assert found.usable.mean() > 0.8
    assert told_by_background(found, subject) == (where == "background"), said
    own, other = subject.preds["own-ground", 0], subject.preds["other-class-ground", 0]
    asked = other != NOT_ASKED
    right = [(one[asked] == found.target[asked]).mean() for one in (own, other)]
    if where == "background":
        assert right[0] > right[1] + 0.3, said
    else:
        assert abs(right[0] - right[1]) < 0.15, said
