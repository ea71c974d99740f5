"""A bundle as a model of MLflow: a folder for `mlflow models serve` and `mlflow.pyfunc.load_model`.

    blood/
      MLmodel              names this module, which loads the model again; there is no pickle
      data/model.hemo      the bundle as it was
      requirements.txt     these versions of hemoscope and MLflow
      serving_input_example.json  a request with one of its own cells

A served model is asked for images by their content. It opens no file of the machine that it runs on.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hemoscope.bundle.card import BundleCard
from hemoscope.bundle.file import read_bundle
from hemoscope.errors import BundleError, ImageError
from hemoscope.files import new_folder
from hemoscope.predict.inputs import Named
from hemoscope.predict.model import Model, load, on_device
from hemoscope.predict.rows import predict_rows
from hemoscope.tracking.on_mlflow import import_mlflow

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Served", "save_mlflow_model"]

IMAGE, PATH, NUCLEUS = "image", "path", "nucleus_px"
BUNDLE = "model.hemo"
TOLERANCE = 1e-4  # of a probability: it is the same model, loaded twice


def save_mlflow_model(bundle_file: Path, out: Path, *, nucleus_px: float | None = None) -> tuple[int, float]:
    """Write a bundle as a model of MLflow, once MLflow has loaded it and given the same answers.

    Args:
        bundle_file: A bundle.
        out: The folder to write.
        nucleus_px: Diameter of the nuclei in the images that it will be asked about, where a request does not say it;
            None: as in training.

    Returns:
        Cells of the bundle's own that were compared, and the largest difference of a probability.

    Raises:
        BundleError: If it is no sound bundle, or the answers differ.
        DataError: If `out` is there already and not empty.
        MissingPackageError: If the packages of the extra `track` are not installed.
    """
    pyfunc = _pyfunc()
    bundle = read_bundle(bundle_file).at_nucleus(nucleus_px)
    cells = dict(bundle.cells)
    with new_folder(out) as folder:
        copy = folder.parent / BUNDLE
        shutil.copyfile(bundle_file, copy)
        with _silence():
            pyfunc.save_model(
                path=str(folder),
                loader_module=__name__,
                data_path=str(copy),
                signature=_signature(bundle.card),
                input_example=_table(cells).head(1),
                pip_requirements=[f"hemoscope[track]=={version('hemoscope')}"],
                metadata={"hemoscope": {"name": bundle.card.name, "digest": bundle.digest}},
            )
        loaded = pyfunc.load_model(str(folder))
        table = loaded.predict(_table(cells))
        own = list(on_device(bundle, "auto", "auto").predict_proba(cells.values()))
        names = [f"prob_{name}" for name in bundle.card.classes]
        worst = float(np.abs(table[names].to_numpy(np.float64) - np.array(own)).max())
        if not worst <= TOLERANCE:  # NaN is not
            raise BundleError(
                f"the model that MLflow loads differs by up to {worst:.3g} in a probability, more than {TOLERANCE}, on "
                f"{len(cells)} cells; nothing was written"
            )
    return len(cells), worst


class Served:
    """What MLflow asks: a table with an image a row in, the rows of `hemoscope predict` out."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row an image; one that cannot be read has the status `error`, and says why.

        Args:
            model_input: With the column `image`: the content of image files, as bytes or as base64 text. A column
                `path` may say what the rows are to be called; no file is looked for there.
            params: `nucleus_px`, for a model that frames cells by their nuclei: their diameter in these images, in pixels.
        """
        import pandas as pd

        named = list(_images(model_input))
        rows = predict_rows(self._model.at_nucleus((params or {}).get(NUCLEUS)), named)
        # Of the type object, so that what is missing is null and not NaN, which is no JSON.
        return pd.DataFrame(list(rows), dtype=object).reset_index(drop=True)


def _pyfunc() -> Any:
    import_mlflow()
    with _silence():
        import mlflow.pyfunc
    return mlflow.pyfunc


@contextmanager
def _silence() -> Iterator[None]:
    """Keep MLflow from warning of its own type hints, and of pandas as it uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load_pyfunc(path: str) -> Served:
    """Load what `save_mlflow_model` has written; MLflow calls it by this name."""
    return Served(load(path))


def _images(table: pd.DataFrame) -> Iterable[Named]:
    names = table[PATH] if PATH in table else [None] * len(table)
    for i, (name, value) in enumerate(zip(names, table[IMAGE], strict=True)):
        shown = name if isinstance(name, str) and name else f"image {i}"
        yield shown, _content(value)


def _content(value: object) -> bytes | ImageError:
    """Return the bytes of an image file, or why there are none."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if not isinstance(value, str):
        return ImageError(f"expected an image file as bytes or base64 text, got {type(value).__name__}")
    try:
        # A data URL, as browsers make them, and base64 in lines.
        text = value.partition(",")[2] if value.startswith("data:") else value
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        return ImageError(f"expected an image file as base64 text: {error}")


def _table(cells: dict[str, bytes]) -> pd.DataFrame:
    import pandas as pd

    texts = [base64.b64encode(content).decode() for content in cells.values()]
    return pd.DataFrame({IMAGE: texts, PATH: list(cells)})


def _signature(card: BundleCard) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    texts = ("status", "error", "reason", "candidates", "converted")
    numbers = ("margin", "distance", "share")
    asked: dict[str, Any] = {}
    if card.nucleus_px is not None:
        asked["params"] = ParamSchema([ParamSpec(NUCLEUS, "double", card.nucleus_px)])
    return ModelSignature(
        inputs=Schema([ColSpec("string", IMAGE), ColSpec("string", PATH, required=False)]),
        outputs=Schema(
            [
                *(ColSpec("string", name) for name in (PATH, "pred")),
                *(ColSpec("double", f"prob_{name}", required=False) for name in card.classes),
                *(ColSpec("double", name, required=False) for name in numbers),
                *(ColSpec("string", name) for name in texts),
            ]
        ),
        **asked,
    )
