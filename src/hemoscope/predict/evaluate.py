"""A finished run on images it has not seen: any labelled data set, or one side of a split of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemoscope.data.scan.npz import npz_images
from hemoscope.data.scan.scan import usable
from hemoscope.data.split_file import read_split, recorded_split
from hemoscope.errors import DataError
from hemoscope.predict.network import load_run
from hemoscope.predict.stream import predict_images
from hemoscope.progress import Progress
from hemoscope.records import SIDES, CellImage, Manifest, Predictions
from hemoscope.runs import Run
from hemoscope.training.run import scan_cached

__all__ = ["Evaluated", "pixels_of", "predict_folder"]


@dataclass(frozen=True)
class Evaluated:
    """What a run says about a labelled data set.

    Attributes:
        predictions: Ordered by path.
        seen: How many of these images the run had on each side of its split, by their bytes; None
            where its split is no longer there.
    """

    predictions: Predictions
    seen: dict[str, int] | None


def predict_folder(
    run: Run,
    root: Path,
    *,
    split_file: Path | None = None,
    device_name: str = "auto",
    progress: Progress | None = None,
) -> Evaluated:
    """Return a run's predictions of a labelled data set, and how many of its images it was trained on.

    Args:
        run: A finished run.
        root: A folder of class folders (one is enough), a CSV of labels or an `.npz`; its classes must be
            among the run's.
        split_file: Predict only the test side of this split.
        device_name: Where to compute.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If the data hold errors, or classes the run does not know.
    """
    manifest = usable(scan_cached(root, progress), skip_bad=None, at_least=1)
    unknown = sorted(set(manifest.classes) - set(run.classes))
    if unknown:
        raise DataError(
            f"{root} holds classes that {run.name} does not know: {', '.join(unknown)}; it knows {', '.join(run.classes)}"
        )
    wanted = {r.path for r in read_split(split_file, manifest).side("test")} if split_file else None
    images = [image for image in manifest.images if wanted is None or image.path in wanted]
    network = load_run(run, device_name=device_name)
    rows = {image.path: row for row, image in enumerate(images)}
    probs = np.empty((len(images), len(run.classes)))
    asked: list[str] = []  # paths in the order of the answers
    problems: list[str] = []
    views = run.card["recipe"].get("views", 1)  # as it was scored by itself
    for i, answer in enumerate(predict_images(network, pixels_of(manifest, rows, asked), tta=views > 1)):
        if answer.probs is None:
            problems.append(f"{asked[i]}: {answer.error}")
        else:
            probs[rows[asked[i]]] = answer.probs[0]
        if progress:
            progress("predicting", i + 1, len(images))
    if problems:
        listing = "\n  ".join(problems[:20])
        raise DataError(f"{len(problems)} images changed while they were read; run again:\n  {listing}")
    target = np.array([run.classes.index(image.class_name) for image in images], dtype=np.int64)
    paths = tuple(image.path for image in images)
    predictions = Predictions(run.classes, paths, target, probs, probs.argmax(axis=1))
    return Evaluated(predictions, _seen(run, images))


def _seen(run: Run, images: Iterable[CellImage]) -> dict[str, int] | None:
    digest = str(run.card["split"]["digest"])
    split = recorded_split(run.path.parent / "splits" / f"{digest[:16]}.csv", digest)
    if split is None:
        return None
    side_of = {row.hash: row.side for row in split.rows}
    found = Counter(side_of.get(image.hash) for image in images)
    return {side: found[side] for side in SIDES}


def pixels_of(
    manifest: Manifest, wanted: Collection[str], asked: list[str]
) -> Iterator[Path | NDArray[np.uint8]]:
    """Yield every wanted image, a file or its pixels, and note its path in `asked`."""
    if manifest.is_npz:
        for path, pixels in npz_images(manifest.root):  # in the order of the file
            if path in wanted:
                asked.append(path)
                yield pixels
        return
    for path in wanted:
        asked.append(path)
        yield manifest.root / path
