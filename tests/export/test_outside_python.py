"""The examples in JavaScript and C++ give the Python model's answers, and refuse what they would decode otherwise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from hemoscope.bundle.file import Bundle
from hemoscope.export.onnx import TOLERANCE, export, finished
from hemoscope.predict.model import Model, Verdict, on_device

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytestmark = pytest.mark.slow  # packages come from a registry: the quick tier needs no network

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
UNREACHABLE = re.compile(
    r"code (ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT)"
)
PRINTED = 0.5e-4  # four digits


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The packages that the lock file names; kept below build/, so that the network is asked once."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm: apt-get install nodejs npm")
    lock = EXAMPLES / "onnx_node" / "package-lock.json"
    folder = ROOT / "build" / f"onnx_node-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for name in ("package.json", lock.name):
                shutil.copy(lock.with_name(name), part)
            install(part)
            part.rename(folder)
    return folder / "node_modules"


def install(folder: Path) -> None:
    # Without scripts: onnxruntime-node's fetches CUDA libraries from elsewhere.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retry-mintimeout=1000"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found := UNREACHABLE.search(done.stderr):
        pytest.skip(f"npm cannot reach its registry: {found[0]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def in_node(node_modules: Path, tmp_path: Path) -> list[str]:
    """The command that runs the example in JavaScript."""
    folder = tmp_path / "node"
    shutil.copytree(EXAMPLES / "onnx_node", folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(node_modules, target_is_directory=True)
    return ["node", str(folder / "onnx.mjs")]


@pytest.fixture
def in_cpp(tmp_path: Path) -> list[str]:
    """The command that runs the example in C++, compiled."""
    ort = os.environ.get("HEMOSCOPE_ONNXRUNTIME")  # a release, unpacked
    known = bool(ort) or (
        shutil.which("pkg-config")
        and not subprocess.run(["pkg-config", "--exists", "libonnxruntime"], check=False).returncode
    )
    if not (known and shutil.which("make") and shutil.which("g++")):
        pytest.skip(
            "needs g++, make and ONNX Runtime with headers: Debian 13's libonnxruntime-dev, or a release in the "
            "folder named by HEMOSCOPE_ONNXRUNTIME"
        )
    folder = tmp_path / "cpp"
    shutil.copytree(EXAMPLES / "onnx_cpp", folder, ignore=shutil.ignore_patterns("onnx"))
    command = ["make", "-C", str(folder), *([f"ORT={ort}"] if ort else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [str(folder / "onnx")]


def with_thresholds(bundle: Bundle, unknown_above: float, review_below: float) -> Bundle:
    changes = {"unknown_above": unknown_above, "review_below": review_below}
    trust = bundle.card.calibration.model_copy(update=changes)
    return replace(bundle, card=bundle.card.model_copy(update={"calibration": trust}))


def with_thresholds_between(bundle: Bundle, files: list[Path]) -> Bundle:
    """Return the bundle with thresholds that part these files' answers where rounding decides none."""
    verdicts = list(on_device(bundle, "cpu", "fp32").judge(files))
    furthest = sorted(v.distance for v in verdicts)[len(files) * 2 // 3 - 1 :]
    far = in_the_widest_gap(furthest)
    known = [float(v.probs.max()) for v in verdicts if v.distance <= far and v.probs is not None]
    return with_thresholds(bundle, far, in_the_widest_gap(known))


def in_the_widest_gap(values: list[float]) -> float:
    ordered = np.sort(values)
    at = int(np.diff(ordered).argmax())
    return float(ordered[at : at + 2].mean())


def told_by(command: list[str], model: Path, files: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, str(model), *map(str, files)], capture_output=True, text=True, check=False
    )


def assert_same(done: subprocess.CompletedProcess[str], model: Model, files: list[Path]) -> list[Verdict]:
    """Compare an example's lines with the model's verdicts on the same files, and return these."""
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rsplit(maxsplit=3) for line in done.stdout.splitlines()]
    verdicts = list(model.judge(files))
    assert [(line[0], line[1], line[3]) for line in lines] == [
        (str(file), v.pred, v.status) for file, v in zip(files, verdicts, strict=True)
    ]
    for line, file, verdict, probs in zip(lines, files, verdicts, model.predict_proba(files), strict=True):
        want = probs[model.card.classes.index(verdict.pred)]
        assert float(line[2]) == pytest.approx(want, abs=TOLERANCE + PRINTED), file.name
    return verdicts


def exported(bundle: Bundle, files: list[Path], folder: Path) -> tuple[Path, Model]:
    """Return the bundle as ONNX and as a model, with thresholds that these files lie on both sides of."""
    changed = with_thresholds_between(bundle, files)
    out = folder / "model.onnx"
    export(changed, out)
    return out, on_device(changed, "cpu", "fp32")


def trusting(exported: Path, bundle: Bundle) -> tuple[Path, Model]:
    """Return the same graph and model with thresholds that accept whatever nothing else speaks against."""
    changed = with_thresholds(bundle, unknown_above=2.0, review_below=0.0)
    out = exported.with_name("trusting.onnx")
    content = finished(exported.read_bytes(), changed, changed.card.calibration, about="")
    out.write_bytes(content)
    return out, on_device(changed, "cpu", "fp32")


@pytest.fixture
def cells(misfiled: Path) -> list[NDArray[np.uint8]]:
    """Twelve drawn cells that fill their image unevenly, so that it matters which side is up."""
    return [
        np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[:, 4:])
        for path in sorted(misfiled.rglob("*[38].png"))[:12]
    ]


def write_every_kind(cells: list[NDArray[np.uint8]], folder: Path) -> list[Path]:
    """Write files that say something of their pixels, besides the pixels: every rule outside the graph."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = [Image.fromarray(cell) for cell in cells]
    turned, mirrored = Image.Exif(), Image.Exif()
    turned[0x0112], mirrored[0x0112] = 6, 5
    images[0].save(folder / "fine.jpg", quality=95, subsampling=0)
    images[1].resize((73, 51)).save(folder / "lying.jpg", quality=70, subsampling=2)
    images[2].resize((41, 79)).save(folder / "upright.jpg", quality=80, progressive=True)
    images[3].resize((230, 200)).save(folder / "far-too-large.jpg")
    images[4].save(folder / "turned.jpg", exif=turned)
    images[5].save(folder / "mirrored.png", exif=mirrored)
    images[6].convert("L").save(folder / "grey.jpg")
    images[7].convert("1").save(folder / "black-and-white.png")
    images[8].quantize(32).save(folder / "palette.png", transparency=bytes(range(0, 256, 8)))
    alpha = rng.integers(0, 256, (*cells[9].shape[:2], 1), dtype=np.uint8)
    Image.fromarray(np.dstack([cells[9], alpha])).save(folder / "alpha.png", exif=turned)
    Image.fromarray(np.dstack([cells[10], 0 * alpha])).save(folder / "transparent-everywhere.png")
    Image.fromarray(np.dstack([cells[9][:, :, 1:2], alpha])).save(folder / "grey-alpha.png")
    deep = cells[11].astype(np.uint16) * 257 - rng.integers(0, 200, cells[11].shape).astype(np.uint16)
    assert cv2.imwrite(str(folder / "deep.png"), deep)
    assert cv2.imwrite(str(folder / "deep-grey.png"), deep[:, :, 0])
    assert cv2.imwrite(str(folder / "twelve-bits.png"), deep // 16)
    return sorted(folder.iterdir())


def test_javascript_gives_the_models_answers_whatever_a_file_says_of_its_pixels(
    in_node: list[str], bundle: Bundle, cells: list[NDArray[np.uint8]], tmp_path: Path
):
    files = write_every_kind(cells, tmp_path / "files")
    out, model = exported(bundle, files, tmp_path)
    verdicts = assert_same(told_by(in_node, out, files), model, files)
    assert "unknown" in {v.status for v in verdicts} != {"unknown"}
    out, model = trusting(out, bundle)
    verdicts = assert_same(told_by(in_node, out, files), model, files)
    doubted = {file.stem for file, v in zip(files, verdicts, strict=True) if v.status != "accepted"}
    assert doubted == {"far-too-large", "twelve-bits"}
    seen = {name for v in verdicts for name in v.converted}
    want = {"grayscale", "palette", "alpha", "alpha-zero", "16-bit", "16-bit-narrow", "exif-rotated"}
    assert want <= seen


def test_javascript_gives_the_models_answers_on_real_cells(
    in_node: list[str], bundle: Bundle, real_cells: Path, tmp_path: Path
):
    files = sorted(real_cells.rglob("[A-Z]*.jpg"))[::20]
    out, model = exported(bundle, files, tmp_path)
    assert_same(told_by(in_node, out, files), model, files)


def test_javascript_refuses_with_a_sentence_what_it_would_decode_otherwise(
    in_node: list[str], bundle: Bundle, cells: list[NDArray[np.uint8]], tmp_path: Path
):
    cell = Image.fromarray(cells[0])
    fine, inks, text, deep, other, none, broken = (
        tmp_path / name
        for name in ("fine.png", "inks.jpg", "text.jpg", "deep.png", "other.tif", "none.jpg", "broken.png")
    )
    cell.save(fine)
    cell.convert("CMYK").save(inks)
    cell.save(text, xmp=b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>')
    assert cv2.imwrite(str(deep), np.dstack([cells[0], cells[0][:, :, 0]]).astype(np.uint16) * 257)
    cell.save(other)
    broken.write_bytes(fine.read_bytes()[:-100])
    out = tmp_path / "model.onnx"
    export(bundle, out)
    done = told_by(in_node, out, [inks, text, deep, other, none, broken, fine])
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == [str(fine)]
    said = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert "four inks" in said[str(inks)]
    assert "which side is up" in said[str(text)]
    assert "16 bits with transparency" in said[str(deep)]
    assert "a tiff; expected a JPEG or a PNG" in said[str(other)]
    assert set(said) == {str(file) for file in (inks, text, deep, other, none, broken)}


def test_cpp_gives_the_models_answers_on_decoded_pixels(
    in_cpp: list[str], bundle: Bundle, cells: list[NDArray[np.uint8]], tmp_path: Path
):
    files: list[Path] = []
    for i, cell in enumerate(cells):
        files.append(tmp_path / f"{i}.ppm")
        size = (cell.shape[1], cell.shape[0]) if i % 3 else (31 + 20 * i, 45)
        Image.fromarray(cell).resize(size).save(files[-1])
    Image.fromarray(cells[0]).resize((203, 230)).save(files[0])
    out, model = exported(bundle, files, tmp_path)
    verdicts = assert_same(told_by(in_cpp, out, files), model, files)
    assert "unknown" in {v.status for v in verdicts} != {"unknown"}
    out, model = trusting(out, bundle)
    verdicts = assert_same(told_by(in_cpp, out, files), model, files)
    assert [v.status for v in verdicts] == [
        "review",
        *["accepted"] * (len(files) - 1),
    ]  # the first is too large
    grey = tmp_path / "grey.pgm"
    Image.fromarray(cells[0]).convert("L").save(grey)
    short = tmp_path / "short.ppm"
    short.write_bytes(files[1].read_bytes()[:-1])
    done = told_by(in_cpp, out, [grey, short, files[1]])
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == [str(files[1])]
    assert done.stderr.splitlines() == [
        f"{grey}: expected a binary PPM of 8 bits (P6)",
        f"{short}: truncated",
    ]
