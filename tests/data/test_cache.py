"""What is kept to save time is listed and cleared, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hemoscope.data.cache import clear, kept
from hemoscope.data.canvas import ABOUT, open_canvas
from hemoscope.files import lock_folder
from hemoscope.training.scanned import scan_cached


@pytest.fixture
def cells(image_folder: Callable[..., Path]) -> Path:
    return image_folder({"ig": 5, "platelet": 4}, size_px=40)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "store"))
    weights = tmp_path / "store" / "weights" / "resnet18.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("brought along, cannot be made again")
    return tmp_path / "store"


def test_canvases_and_scans_are_listed_with_what_they_are_of(cells: Path, store: Path):
    manifest = scan_cached(cells)
    open_canvas(manifest, 32)
    canvas, scan = kept()
    assert (canvas.what, scan.what) == ("canvas", "scan")
    assert canvas.root == scan.root == str(cells.resolve())
    assert canvas.bytes > 9 * 32 * 32 * 3
    assert canvas.unused_days < 1


def test_what_is_used_again_is_not_old(cells: Path, store: Path):
    manifest = scan_cached(cells)
    open_canvas(manifest, 32)
    canvas = kept()[0]
    last_week = time.time() - 7 * 86_400
    os.utime(canvas.path / ABOUT, (last_week, last_week))
    assert kept()[0].unused_days == pytest.approx(7, abs=0.1)
    open_canvas(manifest, 32)
    assert kept()[0].unused_days < 1


def test_cleared_is_gone_and_is_made_again(cells: Path, store: Path):
    manifest = scan_cached(cells)
    before = open_canvas(manifest, 32).pixels.tobytes()
    assert len(clear(kept())) == 2
    assert kept() == []
    assert [path.name for path in store.rglob("*") if path.is_file()] == ["resnet18.safetensors"]
    assert scan_cached(cells) == manifest
    assert open_canvas(manifest, 32).pixels.tobytes() == before


def test_what_another_process_writes_stays(cells: Path, store: Path):
    open_canvas(scan_cached(cells), 32)
    canvas, scan = kept()
    with lock_folder(canvas.path):
        assert clear([canvas, scan]) == [scan]
    assert [item.path for item in kept()] == [canvas.path]


def test_an_empty_or_damaged_cache_is_listed_too(store: Path):
    assert kept() == []
    (store / "canvas" / "begun").mkdir(parents=True)
    (store / "scan").mkdir()
    (store / "scan" / "odd").write_bytes(b"\xff\x00")
    assert sorted((item.what, item.root) for item in kept()) == [("canvas", ""), ("scan", "")]
