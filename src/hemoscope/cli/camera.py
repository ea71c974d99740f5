"""A model at the camera of the images that it is asked about, and a line that says which that is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hemoscope.cli.console import note

if TYPE_CHECKING:
    from hemoscope.predict.model import Model

__all__ = ["at_camera"]


def at_camera(model: Model, images: Iterable[Path | bytes]) -> Model:
    """Return the model as `Model.at_camera` does; say how large nuclei are where it frames cells by them."""
    here = model.at_camera(images)
    if here.nucleus_px is not None:
        known = "in training" if model.card.adapted is None else "where it was adapted"
        note(f"nuclei measure {here.nucleus_px:.0f} px here, {model.nucleus_px:.0f} px {known}")
    return here
