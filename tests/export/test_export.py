"""The exported file gives the Python model's answers, whatever the size of the image, for all 27."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor, nn

from hemoscope import api
from hemoscope.bundle.card import MemberCard, Preprocessing
from hemoscope.bundle.file import Bundle, read_bundle
from hemoscope.data.augment import view_affine, warp
from hemoscope.data.images.square import center_square
from hemoscope.data.split import make_split, write_split
from hemoscope.errors import BundleError, DataError
from hemoscope.export.int8 import _own_thresholds, quantised
from hemoscope.export.onnx import TOLERANCE, _center_square, _view, export, graph, open_session, trace
from hemoscope.models.build import build, head_path
from hemoscope.models.registry import ARCHITECTURES, Architecture, get_arch
from hemoscope.packing.calibrate import Goals
from hemoscope.packing.labelled import Labelled, decoded, sides_of
from hemoscope.predict.model import Model, on_device
from hemoscope.predict.network import ask
from hemoscope.runs import Run
from hemoscope.training.scanned import scan_cached

pytest.importorskip("onnx", reason="the extra `export` is not installed")


class _Views(nn.Module):
    """The preprocessing alone: squares of two sizes and both views."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = image.permute(0, 3, 1, 2).double()
        large, small = _center_square(pixels, 256), _center_square(pixels, 64)
        crop, whole = _view(large, _steps("center_crop")), _view(large, _steps("full_image"))
        return large, small, crop, whole


def _steps(view: Literal["center_crop", "full_image"]) -> Preprocessing:
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Preprocessing(canvas_px=256, image_px=224, view=view, fill="edge", mean=zeros, std=ones)


@pytest.fixture(scope="module")
def views() -> Any:
    """An ONNX Runtime session of `_Views`."""
    content = trace(_Views(), ["large", "small", "crop", "whole"])
    return open_session(content)


SIZES = [
    *((360, 363), (363, 360), (366, 369), (256, 256), (40, 40), (20, 30), (31, 29)),
    *((70, 301), (700, 31), (700, 300), (31, 700), (1500, 1000), (1, 1), (1, 50), (50, 1), (5, 4)),
]


@pytest.mark.parametrize("size", SIZES)
def test_the_graph_sees_the_same_pixels(views: Any, size: tuple[int, int]):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    large, small, crop, whole = (
        out[0].transpose(1, 2, 0) for out in views.run(None, {"image": pixels[None]})
    )
    canvas = center_square(pixels, 256)
    np.testing.assert_array_equal(large, canvas)
    np.testing.assert_array_equal(small, center_square(pixels, 64))
    matrices = {
        "crop": view_affine(1, canvas_px=256, image_px=224, view="center_crop"),
        "whole": view_affine(1, canvas_px=256, image_px=224, view="full_image"),
    }
    want = {name: warp([canvas], matrix, image_px=224, fill="edge")[0] for name, matrix in matrices.items()}
    np.testing.assert_array_equal(crop, want["crop"])
    off = np.abs(whole - want["whole"])
    assert off.max() <= 1  # OpenCV computes in float32: 0.2 % of the pixels of noise differ by a grey level
    assert (off > 0).mean() < 0.02


def test_an_ensemble_with_two_views_is_the_same_for_one_image_and_for_many(
    bundle: Bundle, model: Model, tmp_path: Path, misfiled: Path
):
    out = tmp_path / "both.onnx"
    images = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(misfiled.rglob("*.png"))[::6]]
    parity = export(bundle, out, images=images)
    assert parity.n == 16 + len(images)
    assert parity.probs <= TOLERANCE
    assert parity.same_pred == parity.n
    session = open_session(out)
    probs, pred, distance = session.run(None, {"image": np.stack(images)})
    verdicts = list(model.judge(images))
    np.testing.assert_allclose(probs, np.array([v.probs for v in verdicts]), atol=TOLERANCE)
    np.testing.assert_allclose(distance, [v.distance for v in verdicts], atol=1e-3)
    assert [bundle.card.classes[i] for i in pred] == [v.pred for v in verdicts]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(bundle.card.classes)
    assert about["bundle"] == bundle.digest
    with pytest.raises(DataError, match="is there already"):
        export(bundle, out)


def test_a_graph_that_answers_otherwise_is_not_written(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hemoscope.export.onnx._to_bytes", lambda pixels: (pixels - 9).clamp(0, 255))
    with pytest.raises(BundleError, match="nothing was written"):
        export(bundle, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def real_images(request: pytest.FixtureRequest) -> list[NDArray[np.uint8]]:
    """Two real cells; none where there are none, so that the drawn ones are compared anywhere."""
    try:
        folder: Path = request.getfixturevalue("real_cells")
    except pytest.skip.Exception:
        return []
    return [
        np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.rglob("[A-Z]*.jpg"))[::200][:2]
    ]


# Those that are quick to trace; the others take a tier of their own, the largest of each family by hand.
LARGE = {row.name for row in ARCHITECTURES if row.params > 65_000_000} - {"vgg11"}
QUICK = {"alexnet", "squeezenet1_1", "resnet18", "mobilenet_v2", "googlenet", "densenet121"}


def _tier(arch: str) -> list[pytest.MarkDecorator]:
    if arch in QUICK:
        return []
    return [pytest.mark.long if arch in LARGE else pytest.mark.slow]


@pytest.mark.parametrize(
    ("row", "instance_norm"),
    [
        *(pytest.param(row, 0.0, id=row.name, marks=_tier(row.name)) for row in ARCHITECTURES),
        pytest.param(get_arch("resnet18"), 0.3, id="resnet18, instance norm"),
    ],
)
def test_every_architecture_is_exported_with_the_same_answers(
    row: Architecture,
    instance_norm: float,
    bundle: Bundle,
    tmp_path: Path,
    real_images: list[NDArray[np.uint8]],
):
    network = build(row.name, 3, seed=1, instance_norm=instance_norm).eval()
    image_px, canvas_px = row.sides_px()
    steps = bundle.card.members[0].preprocessing.model_copy(
        update={"image_px": image_px, "canvas_px": canvas_px}
    )
    member: MemberCard = bundle.card.members[0].model_copy(update={"arch": row.name, "preprocessing": steps})
    card = bundle.card.model_copy(update={"members": (member,)})
    cells = dict(list(bundle.cells.items())[:1])
    with torch.inference_mode():
        _, features = ask(network, head_path(row, "replace_last"), torch.randn(2, 3, image_px, image_px))
    known = (features.half(),)
    source = Bundle(Path(row.name), card, (network,), {}, cells, "0" * 64, known)
    parity = export(source, tmp_path / "m.onnx", images=real_images)
    assert parity.n == 2 + len(real_images)
    assert parity.probs <= TOLERANCE
    assert parity.distance <= TOLERANCE


def test_the_sides_are_those_of_the_runs_and_other_images_are_refused(
    bundle: Bundle, runs: list[Run], misfiled: Path, image_folder, tmp_path: Path
):
    sides = sides_of(bundle.card, misfiled)
    for side, found in sides.items():
        said = runs[0].predictions(side)
        assert [image for image, _ in found] == [misfiled / path for path in said.paths]
        assert [target for _, target in found] == said.target.tolist()
    with pytest.raises(DataError, match="does not hold the images of this bundle's runs"):
        sides_of(bundle.card, image_folder({"blue": 9, "green": 9, "red": 9}))
    other = tmp_path / "other.csv"
    write_split(make_split(scan_cached(misfiled), policy="paper", seed=1), other)
    with pytest.raises(DataError, match="gives another split than this bundle's runs had"):
        sides_of(bundle.card, misfiled, other)


def test_thresholds_of_a_graph_are_those_of_the_same_answers_in_torch(
    bundle: Bundle, misfiled: Path, tmp_path: Path
):
    """The way INT8 gets its thresholds, on the graph in fp32: there the bundle's own are the oracle."""
    trust = _own_thresholds(
        bundle, graph(bundle, features=True), sides_of(bundle.card, misfiled)["val"], None
    )
    want = bundle.card.calibration
    assert trust.unknown_above == pytest.approx(want.unknown_above, abs=TOLERANCE)
    assert trust.review_below == pytest.approx(want.review_below, abs=TOLERANCE)
    assert trust.conformal_score == pytest.approx(want.conformal_score, abs=TOLERANCE)
    assert trust.confusion == want.confusion


def test_thresholds_of_a_graph_are_of_the_images_and_of_the_kind_that_its_bundle_s_are(
    runs: list[Run], misfiled: Path, tmp_path: Path
):
    goals = Goals(error_rate=0.4, coverage=0.7, by_class=True)
    want = api.bundle(
        runs[0].path.parent, tmp_path / "half.hemo", members="greedy", goals=goals, device="cpu"
    ).calibration
    half = read_bundle(tmp_path / "half.hemo")
    trust = _own_thresholds(half, graph(half, features=True), sides_of(half.card, misfiled)["val"], None)
    assert trust.n_val == want.n_val == 9
    assert trust.confusion == want.confusion
    assert trust.conformal_by_class == pytest.approx(want.conformal_by_class, abs=TOLERANCE)


def judged_by_metadata(file: Path, images: Labelled) -> Counter[str]:
    """Count statuses, and the wrong among the accepted, by the rule of docs/examples/onnx_minimal.py."""
    session = open_session(file)
    about = session.get_modelmeta().custom_metadata_map
    unknown_above, review_below = (json.loads(about[key]) for key in ("unknown_above", "review_below"))
    counts: Counter[str] = Counter()
    for image, target in images:
        probs, pred, distance = session.run(None, {"image": decoded(image)[None]})
        if unknown_above is not None and not distance[0] <= unknown_above:
            counts["unknown"] += 1
        elif review_below is None or not probs[0, pred[0]] >= review_below:
            counts["review"] += 1
        else:
            counts["accepted"] += 1
            counts["wrong"] += int(pred[0]) != target
    return counts


def test_int8_is_smaller_has_thresholds_of_its_own_and_is_counted_on_test_images(
    single_file: Path, misfiled: Path, tmp_path: Path
):
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    bundle = read_bundle(single_file)
    export(bundle, fp32)
    written, sides = fp32.read_bytes(), sides_of(bundle.card, misfiled)
    content, done = quantised(bundle, written, val=sides["val"], test=sides["test"])
    int8.write_bytes(content)
    assert (done.n, done.n_val, done.n_scales) == (9, 18, 18)
    assert done.mib_int8 < 0.4 * done.mib_fp32
    assert min(done.right_fp32, done.right_int8, done.same_pred) >= 7
    assert done.int8_ci == pytest.approx(binomtest(done.right_int8, 9).proportion_ci(method="wilson"))
    session, before = open_session(int8), open_session(fp32)
    assert [output.name for output in session.get_outputs()] == ["probs", "pred", "distance"]
    about, was = (each.get_modelmeta().custom_metadata_map for each in (session, before))
    for name in ("review_below", "unknown_above", "conformal_score"):
        assert json.loads(about[name]) == getattr(done, name)
    assert about["unknown_above"] != was["unknown_above"]  # fp32's were carried over once
    assert about["thresholds"] == "chosen on INT8 answers to 18 validation images"
    assert "own (fp32)" in was["thresholds"]
    counts = judged_by_metadata(int8, sides["test"])
    assert done.measured["accepted"]["count"] == counts["accepted"]
    assert done.measured["review"]["count"] == counts["review"]
    assert done.measured["called_unknown"]["count"] == counts["unknown"]
    assert done.measured["errors_among_accepted"]["count"] == counts["wrong"]
    for val, test in ([], sides["test"]), (sides["val"], []):
        with pytest.raises(DataError, match=f"got {len(val)} and {len(test)}"):
            quantised(bundle, written, val=val, test=test)
    few = [next(one for one in sides["val"] if one[1] == target) for target in range(3)]
    with pytest.raises(BundleError, match="remembers other cells"):
        quantised(bundle, written, val=few, test=sides["test"])


def in_the_widest_gap(values: list[float]) -> float:
    """Return a threshold that no rounding can reach: between the two neighbours that lie furthest apart."""
    ordered = np.sort(values)
    at = int(np.diff(ordered).argmax())
    return float(ordered[at : at + 2].mean())


def test_the_example_needs_onnxruntime_and_numpy_alone_and_judges_as_the_model_does(
    single_file: Path, misfiled: Path, tmp_path: Path
):
    read = read_bundle(single_file)
    images = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(misfiled.rglob("*3.png"))]
    seen = list(on_device(read, "cpu", "fp32").judge(images))
    far = in_the_widest_gap([v.distance for v in seen])
    unsure = in_the_widest_gap(
        [float(v.probs.max()) for v in seen if v.distance <= far and v.probs is not None]
    )
    trust = read.card.calibration.model_copy(update={"unknown_above": far, "review_below": unsure})
    bundle = replace(read, card=read.card.model_copy(update={"calibration": trust}))
    out = tmp_path / "m.onnx"
    export(bundle, out)
    for i, image in enumerate(images):
        np.save(tmp_path / f"{i}.npy", image)
    example = Path(__file__).parents[2] / "docs" / "examples" / "onnx_minimal.py"
    script = (
        "import sys, runpy\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'hemoscope', 'PIL', 'cv2', 'torchvision'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"for i in range({len(images)}):\n"
        f"    sys.argv = ['x', {str(out)!r}, {str(tmp_path)!r} + f'/{{i}}.npy']\n"
        f"    runpy.run_path({str(example)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    verdicts = list(on_device(bundle, "cpu", "fp32").judge(images))
    assert [(line[0], line[2]) for line in told] == [(v.pred, v.status) for v in verdicts]
    assert len({v.status for v in verdicts}) > 1
