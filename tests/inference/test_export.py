"""The exported file gives the Python model's answers, whatever the size of the image, for all 27."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hemoscope.data.augment import view_affine, warp
from hemoscope.data.canvas import center_square
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.errors import BundleError
from hemoscope.inference.bundle import Bundle, read_bundle
from hemoscope.inference.card import MemberCard, Preprocessing
from hemoscope.inference.export import TOLERANCE, _center_square, _view, export, open_session, trace
from hemoscope.inference.model import Model
from hemoscope.inference.network import ask
from hemoscope.inference.quantise import quantise
from hemoscope.models.build import build, head_path
from hemoscope.models.registry import ARCHITECTURES, Architecture

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
    bundle: Bundle, model: Model, tmp_path: Path, discs: Path
):
    out = tmp_path / "both.onnx"
    images = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(discs.rglob("*.png"))[::6]]
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
    with pytest.raises(BundleError, match="is there already"):
        export(bundle, out)


def test_a_graph_that_answers_otherwise_is_not_written(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hemoscope.inference.export._to_bytes", lambda pixels: (pixels - 9).clamp(0, 255))
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


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_every_architecture_is_exported_with_the_same_answers(
    row: Architecture, bundle: Bundle, tmp_path: Path, real_images: list[NDArray[np.uint8]]
):
    network = build(row.name, 3, seed=1).eval()
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


def test_int8_is_smaller_and_its_accuracy_is_counted(single_file: Path, discs: Path, tmp_path: Path):
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    bundle = read_bundle(single_file)
    export(bundle, fp32)
    labelled = [
        (np.asarray(Image.open(p).convert("RGB")), bundle.card.classes.index(p.parent.name))
        for p in sorted(discs.rglob("*.png"))
    ]
    done = quantise(fp32, int8, [image for image, _ in labelled[::3]], labelled[1::3])
    assert done.n == 24
    assert done.mib_int8 < 0.4 * done.mib_fp32
    assert done.right_fp32 >= 20
    assert done.same_pred >= 20
    with pytest.raises(BundleError, match="is there already"):
        quantise(fp32, int8, [], [])


def test_the_example_needs_onnxruntime_and_numpy_alone(single_file: Path, model: Model, tmp_path: Path):
    bundle = read_bundle(single_file)
    out = tmp_path / "m.onnx"
    export(bundle, out)
    image = draw_cell("neutrophil", size_px=90, rng=np.random.default_rng(0))
    np.save(tmp_path / "cell.npy", image)
    example = Path(__file__).parents[2] / "docs" / "examples" / "onnx_minimal.py"
    script = (
        "import sys, runpy\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'hemoscope', 'PIL', 'cv2', 'torchvision'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.argv = ['x', {str(out)!r}, {str(tmp_path / 'cell.npy')!r}]\n"
        f"runpy.run_path({str(example)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    session = open_session(out)
    pred = bundle.card.classes[int(session.run(["pred"], {"image": image[None]})[0][0])]
    assert done.stdout.startswith(pred)
