"""A finished run on images it has not seen: any labelled folder, or one side of a split of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hemoscope.data.canvas import open_canvas
from hemoscope.data.scan import usable
from hemoscope.data.split_file import read_split
from hemoscope.errors import DataError, RunError
from hemoscope.models.build import load_state
from hemoscope.models.registry import get_arch
from hemoscope.records import Predictions
from hemoscope.runs import MODEL, Run
from hemoscope.training.device import Device, choose_device, resolve_precision
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import scan_cached
from hemoscope.training.step import Batches, predict_probs

__all__ = ["load_network", "predict_folder"]


def load_network(run: Run) -> nn.Module:
    """Return the network of a finished run, in evaluation mode.

    Raises:
        RunError: If its weights are missing or damaged.
    """
    path = run.path / MODEL
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read: {error}; expected the weights that training writes"
        ) from error
    head = Recipe.model_validate(run.card["recipe"]).head
    return load_state(run.arch, len(run.classes), state, head=head).eval()


def predict_folder(
    run: Run,
    root: Path,
    *,
    split_file: Path | None = None,
    device_name: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Predictions:
    """Return a run's predictions of a labelled data set, ordered by path.

    Args:
        run: A finished run.
        root: A folder of class folders or an `.npz`; its classes must be among the run's.
        split_file: Predict only the test side of this split.
        device_name: Where to compute.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If the data hold errors, or classes the run does not know.
    """
    manifest = usable(scan_cached(root, progress), skip_bad=False)
    unknown = sorted(set(manifest.classes) - set(run.classes))
    if unknown:
        raise DataError(
            f"{root} holds classes that {run.name} does not know: {', '.join(unknown)}; it knows {', '.join(run.classes)}"
        )
    recipe = Recipe.model_validate(run.card["recipe"])
    image_px, canvas_px = get_arch(run.arch).sides_px(recipe.image_px, recipe.canvas_px)
    report = (lambda done, n: progress("building the canvas", done, n)) if progress else None
    canvas = open_canvas(manifest, canvas_px, progress=report)
    wanted = {r.path for r in read_split(split_file, manifest).side("test")} if split_file else None
    images = [image for image in manifest.images if wanted is None or image.path in wanted]
    torch_device = choose_device(device_name)
    device = Device(torch_device, resolve_precision("auto", torch_device))
    model = load_network(run).to(device.torch_device)
    batches = Batches(canvas, image_px, recipe.fill, device.torch_device)
    paths = tuple(image.path for image in images)
    probs = predict_probs(model, batches, canvas.rows(list(paths)), device=device, view=recipe.eval_view)
    target = np.array([run.classes.index(image.class_name) for image in images], dtype=np.int64)
    return Predictions(run.classes, paths, target, probs, probs.argmax(axis=1))
