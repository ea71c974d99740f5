"""From finished runs to a bundle: collect, calibrate, draw the cells it checks itself by, write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from hemoscope.data.decode import decode
from hemoscope.data.synthetic.kinds import class_names
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.ensemble import How, align, vote
from hemoscope.errors import BundleError, DataError, RunError
from hemoscope.evaluation.summary import score
from hemoscope.inference.bundle import CARD, KNOWN, README, SELFTEST, Bundle, read_bundle, write_bundle
from hemoscope.inference.calibrate import calibrate
from hemoscope.inference.card import BundleCard, MemberCard, Preprocessing
from hemoscope.inference.evaluate import pixels_of
from hemoscope.inference.known import choose, distances, left_out
from hemoscope.inference.model import on_device
from hemoscope.inference.model_card import model_card
from hemoscope.inference.network import Network, load_run
from hemoscope.inference.strangers import strangers
from hemoscope.inference.stream import views_of
from hemoscope.models.registry import get_arch
from hemoscope.places import available_cores
from hemoscope.records import FloatArray, Predictions
from hemoscope.runs import MODEL, Run, jsonable
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import scan_cached
from hemoscope.training.step import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["pack", "verify"]

Progress = Callable[[str, int, int], None]

TOLERANCE = 1e-3  # of a probability in fp32, between two machines
SELFTEST_PX = 120
STRANGERS = 100  # test cells that images without a cell are made of
BATCH = 64
INTENDED_USE = (
    "Research on the classification of images of single peripheral blood cells, of the classes and the kind of "
    "image it was trained on. Not a medical device: not for diagnosis or for decisions on a person's care."
)
LIMITS = (
    (
        "Trained on images of one data set; another laboratory's stain, microscope or camera lowers its scores by an "
        "amount that only labelled images from there can tell."
    ),
    "Where the data set names no patients, cells of one person may be in training and test: the scores are optimistic.",
    "It expects one cell in the middle of an image; it does not find cells in a field of view.",
    "What is none of its classes should come out as unknown, and not all of it does.",
    "An image without any cell can pass for a known class, platelet above all; see what it was tried on.",
)


def pack(
    runs: Sequence[Run],
    out: Path,
    *,
    how: How = "majority",
    chosen: str = "",
    data: Path | None = None,
    device_name: str = "auto",
    error_rate: float = 0.01,
    coverage: float = 0.99,
    unknown_share: float = 0.01,
    progress: Progress | None = None,
) -> BundleCard:
    """Write finished runs as one bundle, and read it back.

    Args:
        runs: One run, or the members of an ensemble.
        out: The file to write.
        how: The vote of several members.
        chosen: One sentence on how the members were chosen.
        data: The images they were trained on, to learn what is unknown; by default where the runs found
            them. Without them nothing is ever called unknown.
        device_name: Where to compute.
        error_rate: Wrong answers to be tolerated among those accepted.
        coverage: How often the conformal set is to hold the true class.
        unknown_share: Share of known cells that may be called unknown.
        progress: Called with (what is done, done, in all).

    Raises:
        RunError: If a run is unfinished, or the runs do not fit together.
        DataError: If `data` are not the images of the runs.
        BundleError: If `out` is there already.
    """
    unfinished = [run.name for run in runs if not run.done]
    if unfinished:
        raise RunError(f"a bundle needs finished runs; not finished: {', '.join(unfinished)}")
    if out.exists():
        raise BundleError(f"{out} is there already; choose another --out or delete it")
    names = [run.name for run in runs]
    sides = {side: align([run.predictions(side) for run in runs], names=names) for side in ("val", "test")}
    val, test = (vote(members, how=how, names=names) for members in sides.values())
    root = _images_of(runs[0], data)
    known: tuple[Tensor, ...] = ()
    far: dict[str, FloatArray | None] = {"val": None, "test": None}
    strange: dict[str, FloatArray] = {}
    if root is not None:
        networks = [load_run(run, device_name=device_name) for run in runs]
        known, far = _known(runs, networks, root, sides, progress)
        strange = _strange(networks, known, root, sides["test"][0])
    calibration = calibrate(
        val,
        test,
        val_distance=far["val"],
        test_distance=far["test"],
        strange_distances=strange,
        error_rate=error_rate,
        coverage=coverage,
        unknown_share=unknown_share,
    )
    card = BundleCard(
        name="+".join(sorted({run.arch for run in runs})),
        classes=val.classes,
        members=tuple(_member(run) for run in runs),
        vote=how,
        chosen=chosen,
        data={k: v for k, v in runs[0].card["data"].items() if k != "root"},
        split=runs[0].card["split"],
        scores=jsonable(score(test).to_json()),  # type: ignore[arg-type]
        calibration=calibration.model_copy(update={"measured": jsonable(calibration.measured)}),
        intended_use=INTENDED_USE,
        limits=LIMITS,
        versions={name: version(name) for name in ("hemoscope", "torch", "torchvision", "numpy", "pillow")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    parts = {
        CARD: (card.model_dump_json(indent=2) + "\n").encode(),
        README: model_card(card).encode(),
        **{f"member-{i}.safetensors": (run.path / MODEL).read_bytes() for i, run in enumerate(runs)},
    }
    if calibration.unknown_above is not None:
        parts[KNOWN] = save({f"member-{i}": features for i, features in enumerate(known)})
    cells = {f"selftest-{i}.png": _drawn(name, i) for i, name in enumerate(class_names())}
    expected = _expected(card, runs, cells)
    write_bundle(out, {**parts, **cells, SELFTEST: json.dumps(expected, indent=1).encode()})
    try:
        verify(read_bundle(out))
    except BundleError:
        out.unlink()
        raise
    return card


def verify(bundle: Bundle, *, device_name: str = "cpu") -> float:
    """Let a bundle answer for its own drawn cells, in fp32; return the largest difference.

    Raises:
        BundleError: If a probability differs by more than `TOLERANCE` from what the bundle expects.
    """
    model = on_device(bundle, device_name, "fp32")
    names = sorted(bundle.cells)
    got = model.predict_proba([bundle.cells[name] for name in names])
    want = np.array([bundle.selftest[name] for name in names])
    worst = float(np.abs(got - want).max())
    if not worst <= TOLERANCE:  # NaN is not
        raise BundleError(
            f"{bundle.path} does not answer as it did where it was made: probabilities of its own cells differ by "
            f"up to {worst:.3g}, more than {TOLERANCE}"
        )
    return worst


def _member(run: Run) -> MemberCard:
    recipe = Recipe.model_validate(run.card["recipe"])
    image_px, canvas_px = get_arch(run.arch).sides_px(recipe.image_px, recipe.canvas_px)
    return MemberCard(
        run=run.name,
        arch=run.arch,
        head=recipe.head,
        preprocessing=Preprocessing(
            image_px=image_px,
            canvas_px=canvas_px,
            view=recipe.eval_view,
            fill=recipe.fill,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        recipe=recipe.model_dump(),
        seed=run.seed,
        digest=run.card["digest"],
        parameters=run.card["parameters"],
        pretrained=dict(run.card["weights"]),
    )


def _images_of(run: Run, data: Path | None) -> Path | None:
    """Return where the run's images are; None if nobody said and they are not where they were."""
    root = data or Path(run.card["data"]["root"])
    if not root.exists():
        if data:
            raise DataError(f"there is no data folder {data}")
        return None
    if scan_cached(root).digest == run.card["data"]["digest"]:
        return root
    if data:
        raise DataError(f"{data} does not hold the images that {run.name} was trained on")
    return None


def _known(
    runs: Sequence[Run],
    networks: Sequence[Network],
    root: Path,
    sides: Mapping[str, Sequence[Predictions]],
    progress: Progress | None,
) -> tuple[tuple[Tensor, ...], dict[str, FloatArray | None]]:
    """Return the validation cells each member remembers, and every image's mean distance from them.

    A cell that is remembered is compared with the others only.
    """
    val, test = (_features(runs, networks, root, sides[side], side, progress) for side in ("val", "test"))
    rows = choose(sides["val"][0].target)
    known = tuple(features[rows].half() for features in val)
    far = {
        "val": torch.stack([left_out(features, rows) for features in val]),
        "test": torch.stack([distances(f, k.float()) for f, k in zip(test, known, strict=True)]),
    }
    return known, {side: each.mean(dim=0).double().numpy() for side, each in far.items()}


def _strange(
    networks: Sequence[Network], known: Sequence[Tensor], root: Path, test: Predictions
) -> dict[str, FloatArray]:
    """Return the mean distances of made-up images without a cell, by kind; see `strangers`."""
    chosen = np.random.default_rng(0).permutation(len(test))[:STRANGERS]
    cells = pixels_of(scan_cached(root), {test.paths[i] for i in chosen}, [])
    far: dict[str, list[FloatArray]] = {}
    made = strangers(map(_pixels, cells), np.random.default_rng(0))
    while chunk := list(islice(made, BATCH)):
        views = [views_of(networks, image) for _, image in chunk]
        each = []
        for k, network in enumerate(networks):
            batch = torch.from_numpy(np.stack([view[k] for view in views]))
            _, features = network.ask(batch.to(network.device.torch_device))
            each.append(distances(features.cpu(), known[k].float()))
        mean = torch.stack(each).mean(dim=0).double().numpy()
        for (kind, _), distance in zip(chunk, mean, strict=True):
            far.setdefault(kind, []).append(distance)
    return {kind: np.array(values) for kind, values in far.items()}


def _features(
    runs: Sequence[Run],
    networks: Sequence[Network],
    root: Path,
    members: Sequence[Predictions],
    side: str,
    progress: Progress | None,
) -> list[Tensor]:
    """Return every member's features, shape (N, F), in the order of the predictions."""
    rows = {path: row for row, path in enumerate(members[0].paths)}
    pred = np.empty((len(networks), len(rows)), dtype=np.int64)
    asked: list[str] = []
    kept: list[list[Tensor]] = [[] for _ in networks]
    images = pixels_of(scan_cached(root), rows, asked)
    with ThreadPoolExecutor(available_cores()) as pool:
        while chunk := list(islice(images, BATCH)):
            views = list(pool.map(lambda image: views_of(networks, _pixels(image)), chunk))
            at = [rows[path] for path in asked[-len(chunk) :]]
            for k, network in enumerate(networks):
                batch = torch.from_numpy(np.stack([view[k] for view in views]))
                logits, features = network.ask(batch.to(network.device.torch_device))
                pred[k, at] = logits.argmax(dim=1).cpu().numpy()
                kept[k].append(features.cpu())
            if progress:
                progress(f"distances of {side} images", len(asked), len(rows))
    for run, said, member in zip(runs, pred, members, strict=True):
        differ = float((said != member.pred).mean())
        if differ > 0.02:  # bf16 against fp32 moves a few in a thousand
            raise DataError(
                f"{run.name} answers differently now: {100 * differ:.1f} % of its predictions have changed; "
                f"expected the weights and images it was evaluated with"
            )
    order = torch.tensor([rows[path] for path in asked]).argsort()
    return [torch.cat(features)[order] for features in kept]


def _pixels(image: Path | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return decode(image).pixels if isinstance(image, Path) else image


def _drawn(class_name: str, i: int) -> bytes:
    cell = draw_cell(class_name, size_px=SELFTEST_PX, rng=np.random.default_rng(i))
    file = io.BytesIO()
    Image.fromarray(cell).save(file, "PNG", optimize=True)
    return file.getvalue()


def _expected(card: BundleCard, runs: Sequence[Run], cells: dict[str, bytes]) -> dict[str, Any]:
    from hemoscope.inference.network import load_network

    models = tuple(load_network(run) for run in runs)
    bundle = Bundle(Path(card.name), card, models, {}, cells, "")
    names = sorted(cells)
    probs = on_device(bundle, "cpu", "fp32").predict_proba([cells[name] for name in names])
    return {name: row.tolist() for name, row in zip(names, probs, strict=True)}
