"""The canvas: right pixels, built once, never trusted when it should not be."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

import hemoscope.data.canvas as canvas_module
from hemoscope.data.canvas import ABOUT, PIXELS, Canvas, open_canvas
from hemoscope.data.images.square import center_square
from hemoscope.data.scan.scan import scan
from hemoscope.errors import DataError, ShapeError
from hemoscope.records import Manifest


@pytest.fixture
def manifest(image_folder: Callable[..., Path]) -> Manifest:
    return scan(image_folder({"ig": 5, "platelet": 4}, size_px=40))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the canvases of a test lie."""
    return tmp_path / "store"


def test_every_image_lies_in_its_row_resized_as_torchvision_does(manifest: Manifest, store: Path):
    canvas = open_canvas(manifest, 32, folder=store)
    assert canvas.pixels.shape == (9, 32, 32, 3)
    for image in manifest.images:
        source = Image.open(manifest.root / image.path).convert("RGB")
        reference = np.asarray(tv.center_crop(tv.resize(source, [32], antialias=True), [32]))
        np.testing.assert_array_equal(canvas.pixels[canvas.index[image.path]], reference, err_msg=image.path)


@pytest.mark.parametrize("shape", [(363, 360), (300, 200), (7, 90), (1, 5000)])
def test_the_central_square_is_resize_then_crop_to_rounding(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    smooth = torch.from_numpy(rng.integers(0, 256, (1, 3, 5, 5)).astype(np.float32))
    pixels = (
        torch.nn.functional.interpolate(smooth, shape, mode="bilinear")[0]
        .permute(1, 2, 0)
        .to(torch.uint8)
        .numpy()
    )
    got = center_square(pixels, 64)
    assert got.shape == (64, 64, 3)
    if max(shape) < 1000:
        source = Image.fromarray(pixels)
        reference = np.asarray(tv.center_crop(tv.resize(source, [64], antialias=True), [64]))
        # Rounding the long side to whole pixels shifts the reference by up to half a pixel.
        assert np.abs(got.astype(int) - reference.astype(int)).mean() < 2.5


def test_a_second_opening_reads_and_does_not_build(manifest: Manifest, store: Path):
    calls: list[tuple[str, int, int]] = []
    open_canvas(manifest, 32, folder=store, progress=lambda *a: calls.append(a))
    assert calls[-1] == ("building the canvas", 9, 9)
    calls.clear()
    open_canvas(manifest, 32, folder=store, progress=lambda *a: calls.append(a))
    assert calls == []


def test_a_changed_image_means_another_canvas(manifest: Manifest, store: Path):
    before = open_canvas(manifest, 32, folder=store)
    victim = manifest.root / manifest.images[3].path
    Image.new("RGB", (40, 40), (1, 2, 3)).save(victim)
    with pytest.raises(DataError, match=r"(?s)1 images changed.*no longer those of the scan"):
        open_canvas(manifest, 16, folder=store)  # the manifest is older than the file
    after = open_canvas(scan(manifest.root), 32, folder=store)
    assert (after.pixels[3] == (1, 2, 3)).all()
    assert not (before.pixels[3] == (1, 2, 3)).all()


DAMAGE = {
    "another byte": lambda home: overwrite(home / PIXELS, 5000, b"\x00\x01\x02"),
    "zeros under the old time stamp": lambda home: overwrite(home / PIXELS, 200, bytes(5000), keep_time=True),
    "cut": lambda home: os.truncate(home / PIXELS, 6000),
    "a card that says nothing": lambda home: (home / ABOUT).write_text("{}"),
    "half a card": lambda home: (home / ABOUT).write_text('{"sha256": "'),
    "a card of another kind": lambda home: (home / ABOUT).write_text("[1]"),
}


def overwrite(path: Path, at: int, content: bytes, *, keep_time: bool = False) -> None:
    stat = path.stat()
    with path.open("rb+") as file:
        file.seek(at)
        file.write(content)
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("damage", DAMAGE)
def test_another_process_builds_a_damaged_canvas_again(damage: str, manifest: Manifest, store: Path):
    good = np.array(open_canvas(manifest, 32, folder=store).pixels)
    (home,) = store.iterdir()
    DAMAGE[damage](home)
    canvas_module._read_whole.clear()  # as in another process
    np.testing.assert_array_equal(open_canvas(manifest, 32, folder=store).pixels, good)


def test_a_canvas_is_read_whole_once_a_process(
    manifest: Manifest, store: Path, monkeypatch: pytest.MonkeyPatch
):
    open_canvas(manifest, 32, folder=store)
    (home,) = store.iterdir()
    os.utime(home / PIXELS, (1, 1))  # copied or touched
    read: list[object] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: read.append(a) or digest(*a))
    built: list[object] = []
    for _ in range(3):
        open_canvas(manifest, 32, folder=store, progress=lambda *a: built.append(a))
    assert (len(read), built) == (1, [])


def _build_a_part(manifest: Manifest, folder: Path, built: Event) -> None:
    def wait(_what: str, done: int, _n: int | None) -> None:
        if done == 3:
            built.set()
            threading.Event().wait()

    open_canvas(manifest, 32, folder=folder, progress=wait)


def test_a_killed_build_leaves_nothing_that_is_trusted(manifest: Manifest, store: Path):
    context = multiprocessing.get_context("forkserver")
    built = context.Event()
    process = context.Process(target=_build_a_part, args=(manifest, store, built))
    process.start()
    while not built.wait(1):
        assert process.is_alive(), "it ended before it could be killed"
    assert list(store.glob(f"*/{PIXELS}.part"))
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (home,) = store.iterdir()
    assert not (home / ABOUT).exists()
    canvas = open_canvas(manifest, 32, folder=store)
    assert sorted(p.name for p in home.iterdir() if not p.name.startswith(".")) == [ABOUT, PIXELS]
    assert all(canvas.pixels[row].any() for row in range(9))


def many(folder: Path, n: int) -> Manifest:
    """Two classes of different images of 8 px."""
    rng = np.random.default_rng(0)
    for name in ("ig", "platelet"):
        (folder / name).mkdir(parents=True)
        for i in range(n // 2):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:05d}.bmp")
    return scan(folder)


def _build_until(manifest: Manifest, folder: Path, squares: int, built: Event) -> None:
    def wait(_what: str, done: int, _n: int | None) -> None:
        if done == squares:
            built.set()
            threading.Event().wait()

    open_canvas(manifest, 8, folder=folder, progress=wait)


def killed_at(squares: int, manifest: Manifest, store: Path) -> Path:
    """Build a canvas in another process, kill that, and return the folder it leaves."""
    context = multiprocessing.get_context("forkserver")
    built = context.Event()
    process = context.Process(target=_build_until, args=(manifest, store, squares, built))
    process.start()
    while not built.wait(1):
        assert process.is_alive(), "it ended before it could be killed"
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (home,) = store.iterdir()
    assert not (home / ABOUT).exists()
    return home


def cut_the_part(home: Path) -> None:
    os.truncate(home / f"{PIXELS}.part", 5000)


def change_the_part(home: Path) -> None:
    overwrite(home / f"{PIXELS}.part", 5000, b"\x00\x01\x02")


def boast(home: Path) -> None:
    note = home / f"{PIXELS}.part.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"squares": 10**15}))


def lose_the_note(home: Path) -> None:
    (home / f"{PIXELS}.part.json").write_text("[1]")


def test_a_killed_build_goes_on_with_what_it_has_and_ends_with_the_same_bytes(tmp_path: Path):
    manifest = many(tmp_path / "cells", 2600)
    whole = open_canvas(manifest, 8, folder=tmp_path / "whole").pixels.tobytes()
    for squares, first in ((1500, 1025), (2300, 2049)):  # killed twice
        home = killed_at(squares, manifest, tmp_path / "store")
        note = json.loads((home / f"{PIXELS}.part.json").read_text())
        assert note["squares"] == first - 1
    calls: list[int] = []
    canvas = open_canvas(
        manifest, 8, folder=tmp_path / "store", progress=lambda _what, done, _n: calls.append(done)
    )
    assert calls == list(range(2049, 2601))
    assert canvas.pixels.tobytes() == whole
    one, other = (next(tmp_path.glob(f"{name}/*/{PIXELS}")) for name in ("whole", "store"))
    assert one.read_bytes() == other.read_bytes()
    assert [json.loads((file.with_name(ABOUT)).read_text())["sha256"] for file in (one, other)] == [
        hashlib.sha256(one.read_bytes()).hexdigest()
    ] * 2
    assert sorted(p.name for p in other.parent.iterdir() if not p.name.startswith(".")) == [ABOUT, PIXELS]


@pytest.mark.parametrize("damage", [cut_the_part, change_the_part, boast, lose_the_note])
def test_a_part_that_is_not_what_its_note_says_is_built_from_the_beginning(
    damage: Callable[[Path], None], tmp_path: Path
):
    manifest = many(tmp_path / "cells", 1200)
    whole = open_canvas(manifest, 8, folder=tmp_path / "whole").pixels.tobytes()
    damage(killed_at(1100, manifest, tmp_path / "store"))
    calls: list[int] = []
    canvas = open_canvas(
        manifest, 8, folder=tmp_path / "store", progress=lambda _what, done, _n: calls.append(done)
    )
    assert calls == list(range(1, 1201))
    assert canvas.pixels.tobytes() == whole


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    manifest: Manifest, store: Path, monkeypatch: pytest.MonkeyPatch
):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match=r"needs 0.0 GiB.*HEMOSCOPE_CACHE"):
        open_canvas(manifest, 32, folder=store)
    assert not list(store.glob(f"*/{PIXELS}*"))


def test_a_disk_that_fills_while_the_canvas_is_written_is_an_error_and_leaves_nothing(
    manifest: Manifest, store: Path
):
    """A limit on the size of a file fails as a full disk does: in the middle of a write."""
    resource = pytest.importorskip("resource")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written.*HEMOSCOPE_CACHE"):
            open_canvas(manifest, 64, folder=store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(store.glob(f"*/{PIXELS}*"))
    assert open_canvas(manifest, 64, folder=store).pixels.any()


def test_a_cache_that_cannot_be_written_is_told(manifest: Manifest, tmp_path: Path):
    (tmp_path / "store").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written.*HEMOSCOPE_CACHE"):
        open_canvas(manifest, 32, folder=tmp_path / "store")


@pytest.mark.parametrize("name", ["tiny.npz", "TINY.NPZ"])
def test_an_npz_is_laid_out_by_path(name: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    arrays = {}
    for side, n in {"train": 12, "val": 4, "test": 4}.items():
        arrays[f"{side}_images"] = rng.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
        arrays[f"{side}_labels"] = (np.arange(n) % 2).reshape(n, 1).astype(np.uint8)
    with (tmp_path / name).open("wb") as file:
        np.savez(file, **arrays)
    manifest = scan(tmp_path / name)
    canvas = open_canvas(manifest, 28, folder=tmp_path / "store")
    for side in ("train", "val", "test"):
        for number, image in enumerate(arrays[f"{side}_images"]):
            np.testing.assert_array_equal(canvas.pixels[canvas.index[f"{side}/{number:05d}"]], image)


@pytest.mark.parametrize("canvas_px", [9, 64])
def test_rows_that_are_asked_for_ahead_are_the_same_rows(canvas_px: int, manifest: Manifest, store: Path):
    canvas = open_canvas(manifest, canvas_px, folder=store)
    whole = np.array(canvas.pixels)
    for rows in ([], [8], [0, 8, 3, 3]):
        canvas.soon(np.array(rows, dtype=np.int64))
        np.testing.assert_array_equal(canvas.pixels[rows], whole[rows])
    Canvas(whole, canvas.index).soon(np.arange(9))  # what lies in memory is there


def test_a_canvas_of_a_few_pixels_is_refused(manifest: Manifest, store: Path):
    with pytest.raises(ShapeError, match="at least 8 px, got 4"):
        open_canvas(manifest, 4, folder=store)


def test_the_card_says_what_the_pixels_are(manifest: Manifest, store: Path):
    open_canvas(manifest, 32, folder=store)
    card = json.loads(next(store.glob(f"*/{ABOUT}")).read_text())
    assert card["manifest"] == manifest.digest
    assert (card["canvas_px"], card["images"]) == (32, 9)


@pytest.mark.real
def test_real_cells_keep_their_nucleus_in_the_middle(real_cells: Path, store: Path):
    manifest = scan(real_cells)
    canvas = open_canvas(manifest, 64, folder=store)
    centre = canvas.pixels[:, 24:40, 24:40].mean()
    corners = canvas.pixels[:, :8, :8].mean()
    assert centre < corners - 10  # stained cell against pale background
