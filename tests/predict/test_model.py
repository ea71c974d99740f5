"""The Python API: what may be asked, what is refused, and what an answer says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hemoscope
from hemoscope.errors import ConfigError, ImageError, ShapeError
from hemoscope.predict.model import Model, Verdict
from hemoscope.predict.rows import predict_to


@pytest.fixture(scope="module")
def some(misfiled: Path) -> list[Path]:
    return [misfiled / "blue" / "00.png", misfiled / "green" / "01.png", misfiled / "red" / "02.png"]


def test_every_form_of_an_image_gives_the_same_answer(model: Model, some: list[Path]):
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in some]
    forms = {
        "Path": some,
        "str": [str(path) for path in some],
        "bytes": [path.read_bytes() for path in some],
        "PIL": [Image.fromarray(pixels) for pixels in arrays],
        "array": arrays,
        "batch": np.stack(arrays),
        "tensor": [torch.from_numpy(pixels.copy()).permute(2, 0, 1) for pixels in arrays],
        "generator": (path for path in some),
        "not contiguous": [np.asfortranarray(pixels) for pixels in arrays],
    }
    want = model.predict_proba(some)
    assert want.shape == (3, 3)
    np.testing.assert_allclose(want.sum(axis=1), 1, atol=1e-9)
    for name, images in forms.items():
        np.testing.assert_array_equal(model.predict_proba(images), want, err_msg=name)
    gray = arrays[0][:, :, 0]
    np.testing.assert_array_equal(
        model.predict_proba([gray]), model.predict_proba([np.stack([gray] * 3, -1)])
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), r"shape \(H, W, 3\) or \(H, W\).*got shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (np.zeros(7, np.uint8), r"got shape \(7,\)"),
        (np.full((4, 4, 3), np.nan), "values 0 to 255; got float64"),
        (np.zeros((4, 4, 3), np.int64), "got int64"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"tensor of shape \(3, H, W\)"),
        (torch.rand(3, 4, 4), "got torch.float32"),
        (17, "expected a path, bytes, PIL image, array or tensor; got int"),
        (None, "got NoneType"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_their_place(model: Model, image, message: str):
    with pytest.raises(ShapeError, match=f"image 1: .*{message}"):
        model.predict([np.zeros((4, 4, 3), np.uint8), image])


@pytest.mark.parametrize(
    "one", ["a.png", Path("a.png"), b"x", np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4)]
)
def test_one_image_in_place_of_several_is_refused(model: Model, one):
    with pytest.raises(ShapeError, match="put it into a list"):
        model.predict(one)


def test_bad_files_are_all_named_at_once_and_judge_gives_each_a_verdict(
    model: Model, some: list[Path], tmp_path: Path
):
    torn = tmp_path / "torn.png"
    torn.write_bytes(some[0].read_bytes()[:300])
    images = [some[0], tmp_path / "absent.png", torn, some[1]]
    with pytest.raises(ImageError, match=r"(?s)2 of 4 images cannot be read:.*image 1: .*\n.*image 2: "):
        model.predict(images)
    verdicts = list(model.judge(images))
    assert [v.status == "error" for v in verdicts] == [False, True, True, False]
    assert verdicts[1].probs is None
    assert verdicts[1].pred == ""
    assert np.isnan(verdicts[1].margin)


def test_a_verdict_holds_together(model: Model, misfiled: Path):
    trust = model.card.calibration
    assert trust.unknown_above is not None
    for verdict in model.judge(sorted(misfiled.rglob("*.png"))[:30]):
        assert verdict.probs is not None
        best = model.card.classes.index(verdict.pred)
        assert verdict.pred in verdict.candidates
        assert verdict.margin == pytest.approx(verdict.probs[best] - np.delete(verdict.probs, best).max())
        unsure = trust.review_below is None or verdict.probs[best] < trust.review_below
        unknown = verdict.distance > trust.unknown_above
        assert verdict.status == ("unknown" if unknown else "review" if unsure else "accepted")
        assert bool(verdict.reason) == (verdict.status != "accepted")


def test_an_ensemble_shares_its_votes_and_a_single_model_has_one(
    model: Model, single_file: Path, some: list[Path]
):
    single = hemoscope.load(single_file, device="cpu")
    for asked, steps in ((model, {0.0, 0.5, 1.0}), (single, {0.0, 1.0})):
        for verdict in asked.judge(some):
            assert verdict.shares is not None
            assert verdict.shares.sum() == pytest.approx(1)
            assert set(verdict.shares.tolist()) <= steps


def test_averaging_over_flips_and_turns_gives_every_turn_one_answer(model: Model):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    turned = [np.rot90(image, k).copy() for k in range(4)] + [
        np.rot90(image[:, ::-1], k).copy() for k in range(4)
    ]
    plain = model.predict_proba(turned)
    averaged = model.predict_proba(turned, tta=True)
    assert np.ptp(plain, axis=0).max() > 1e-3
    # Resizing 48 px to 36 and back to whole grey levels is not quite the same upside down.
    assert np.ptp(averaged, axis=0).max() < 0.1 * np.ptp(plain, axis=0).max() + 1e-3


def test_flips_and_turns_are_judged_by_thresholds_of_their_own_or_not_at_all(
    model: Model, single_file: Path, some: list[Path], tmp_path: Path
):
    assert model.card.tta is not None
    assert model.card.tta.temperature != model.card.calibration.temperature
    single = hemoscope.load(single_file, device="cpu")
    for ask in (single.predict, single.predict_proba, single.judge):
        with pytest.raises(ConfigError, match=r"calibrated without flips and turns.*--tta"):
            ask(some, tta=True)
    images = [(path.name, path) for path in some]
    with pytest.raises(ConfigError, match="calibrated without flips and turns"):
        predict_to(tmp_path / "cells.csv", single, images, tta=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_gives_empty_arrays_of_the_right_shape(model: Model):
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 3)
    assert list(model.judge([])) == []


def test_the_public_names_are_there_and_importing_them_needs_no_torch():
    assert set(hemoscope.__all__) == {"Model", "Verdict", "__version__", "load"}
    assert hemoscope.Model is Model
    assert hemoscope.Verdict is Verdict
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        hemoscope.lod  # noqa: B018


def awkward_images(folder: Path) -> dict[str, bool]:
    """Write the images users really bring; True where they must be read."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    good = {
        "one.png": Image.new("RGB", (1, 1)),
        "line.png": Image.new("RGB", (1, 5000)),
        "cmyk.jpg": rgb.convert("CMYK"),
        "gray.png": rgb.convert("L"),
        "alpha.png": rgb.convert("RGBA"),
        "sixteen.png": Image.fromarray(rng.integers(0, 65536, (30, 30)).astype(np.uint16)),
    }
    for name, image in good.items():
        image.save(folder / name)
    palette = rgb.convert("P")
    palette.info["transparency"] = 0
    palette.save(folder / "palette.png")
    rgb.save(folder / "frames.gif", save_all=True, append_images=[rgb.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "turned.jpg", exif=exif)
    file = io.BytesIO()
    rgb.save(file, "JPEG")
    whole = file.getvalue()
    (folder / "wrong-extension.png").write_bytes(whole)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    huge = bytearray(whole)
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = (30_000).to_bytes(2, "big") * 2
    (folder / "claims-30000.jpg").write_bytes(huge)
    for cut in range(0, len(whole) - 2, 10):
        (folder / f"cut-{cut:05d}.jpg").write_bytes(whole[:cut])
    bad = {"empty.jpg", "text.jpg", "claims-30000.jpg"}
    return {p.name: p.name not in bad and not p.name.startswith("cut-") for p in folder.iterdir()}


def test_a_verdict_says_what_was_converted_from_a_file_and_from_an_opened_image(model: Model, tmp_path: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("L", (30, 20), 90).save(tmp_path / "gray.jpg", exif=turned)
    array = np.zeros((20, 30, 3), np.uint8)
    images = [tmp_path / "gray.jpg", Image.open(tmp_path / "gray.jpg"), array, array[:9], ImageError("gone")]
    got = [verdict.converted for verdict in model.judge(images)]
    assert got == [("grayscale", "exif-rotated"), ("grayscale", "exif-rotated"), (), ("cropped",), ()]


def test_awkward_images_are_read_or_have_a_reason(model: Model, tmp_path: Path):
    wanted = awkward_images(tmp_path)
    names = sorted(wanted)
    for name, verdict in zip(names, model.judge([tmp_path / n for n in names]), strict=True):
        assert (verdict.status != "error") == wanted[name], f"{name}: {verdict.reason}"
        assert verdict.status != "error" or verdict.reason


def test_an_image_of_another_size_than_those_trained_on_is_for_review(model: Model, misfiled: Path):
    with Image.open(misfiled / "red/00.png") as image:
        cell = image.convert("RGB")
    smallest, largest = model.card.short_sides_px or (0, 0)
    assert smallest == largest == min(cell.size)
    sizes = (smallest // 2 - 1, smallest // 2, smallest, 2 * largest, 2 * largest + 1)
    verdicts = list(model.judge([cell.resize((side, 2 * side)) for side in sizes]))
    odd = ["it knows cells in images of" in verdict.reason for verdict in verdicts]
    assert odd[1:4] == [False] * 3
    for verdict, far in zip(verdicts, (True, False, False, False, True), strict=True):
        assert not far or verdict.status in ("review", "unknown")
        assert not far or verdict.status == "unknown" or f"to {largest} px" in verdict.reason
    silent = Model(model.card.model_copy(update={"data": {}}), model.networks, model.digest)
    assert silent.card.short_sides_px is None
    assert not any("knows cells" in verdict.reason for verdict in silent.judge([cell.resize((900, 900))]))


def test_twelve_bits_in_sixteen_are_for_review_unless_it_was_trained_on_such(model: Model, tmp_path: Path):
    rng = np.random.default_rng(0)
    narrow = tmp_path / "narrow.png"
    Image.fromarray(rng.integers(0, 4096, (40, 40)).astype(np.uint16)).save(narrow)
    (verdict,) = model.judge([narrow])
    assert "16-bit-narrow" in verdict.converted
    assert verdict.status == "unknown" or "perhaps they have fewer bits" in verdict.reason
    lenient = model.card.calibration.model_copy(update={"unknown_above": 3.0, "review_below": 0.0})
    for data, wanted in ((model.card.data, "review"), ({"converted": {"16-bit-narrow": 3}}, "accepted")):
        card = model.card.model_copy(update={"calibration": lenient, "data": data})
        (verdict,) = Model(card, model.networks, model.digest).judge([narrow])
        assert verdict.status == wanted


@pytest.mark.parametrize("odd", [None, [], [3], [0, 5], [9, 3], [1.5, 2], ["1", "2"], [True, 5], {"a": 1}])
def test_sizes_that_a_stranger_wrote_down_wrongly_are_not_known(odd: object, model: Model):
    card = model.card.model_copy(update={"data": {"short_sides_px": odd}})
    assert card.short_sides_px is None


def test_a_precision_that_is_none_is_refused(single_file: Path):
    with pytest.raises(ConfigError, match="expected a precision auto, fp32, bf16; got 'fp16'"):
        hemoscope.load(single_file, device="cpu", precision="fp16")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_after_loading_answers_the_same(single_file: Path, misfiled: Path):
    """As a web server does that loads once and forks its workers; it hung for ever."""
    script = (
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore')  # Python's own, on threads and forks\n"
        "import hemoscope\n"
        "model = hemoscope.load(sys.argv[1], device='cpu', precision='fp32')\n"
        "warm = sys.argv[3] == 'asked'\n"
        "if warm: model.predict_proba([sys.argv[2]])\n"
        "child = os.fork()\n"
        "print(model.predict_proba([sys.argv[2]]).round(4).tolist(), flush=True)\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "os._exit(0)\n"
    )
    for before in ("loaded", "asked"):
        done = subprocess.run(
            [sys.executable, "-c", script, single_file, misfiled / "red/00.png", before],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
        )
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == second
