"""Scanning: every kind of problem is found, all at once, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy.fft import dctn

from hemoscope.data.catalog import data_source
from hemoscope.data.images.decode import decode
from hemoscope.data.images.fingerprint import Fingerprint, perceptual_hash
from hemoscope.data.near import orientations
from hemoscope.data.scan.cache import FileStamp, ScanCache
from hemoscope.data.scan.npz import npz_images
from hemoscope.data.scan.scan import scan, subtype_of, usable
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.errors import DataError
from hemoscope.paper import CLASSES
from hemoscope.places import available_cores
from hemoscope.records import Manifest

posix = pytest.mark.skipif(sys.platform == "win32", reason="file names and links of POSIX systems")
TWO = {"a": 2, "b": 2}


def found(manifest: Manifest) -> list[tuple[str, str]]:
    return [(p.level, p.path) for p in manifest.problems]


def png(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_clean_folder_is_read_completely(image_folder):
    root = image_folder({"b": 2, "a": 3}, size_px=24)
    manifest = scan(root)
    assert manifest.classes == ("a", "b")
    assert manifest.counts == {"a": 3, "b": 2}
    assert manifest.problems == ()
    assert manifest.not_images == 0
    for image in manifest.images:
        file = root / image.path
        pixels = np.asarray(Image.open(file))
        assert image.hash == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (image.width_px, image.height_px) == (24, 24)
        assert image.background == (255, 229, 203)
        assert image.class_name == image.path.split("/")[0]
        assert 0 <= image.phash < 2**64
        assert (decode(file).pixels == pixels).all()
    assert len({image.pixel_hash for image in manifest.images}) == 5
    assert usable(manifest, skip_bad=False) == manifest


def test_the_pixel_hash_is_of_the_pixels_and_not_of_the_file(image_folder):
    root = image_folder(TWO)
    Image.open(root / "a" / "a_0000.png").save(root / "b" / "again.bmp")
    by_path = {image.path: image for image in scan(root).images}
    one, other = by_path["a/a_0000.png"], by_path["b/again.bmp"]
    assert one.pixel_hash == other.pixel_hash
    assert one.hash != other.hash


@posix
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"caf\xe9", "is no UTF-8"),
        (b"a\nb", "holds a control character"),
        (b"x" * 201, "is longer than 200 characters"),
    ],
)
def test_a_class_whose_name_fits_no_table_is_refused_before_anything_is_trained(image_folder, name, message):
    root = image_folder({"a": 4, "b": 4, "c": 4})
    (root / "c").rename(root / os.fsdecode(name))
    manifest = scan(root)
    assert [(p.path, message in p.what) for p in manifest.errors] == [(os.fsdecode(name), True)]
    with pytest.raises(DataError, match=f"the name of the class {message}"):
        usable(manifest, skip_bad=False)
    left = usable(manifest, skip_bad=True)
    assert left.classes == ("a", "b")
    assert {image.class_name for image in left.images} == {"a", "b"}


def test_the_perceptual_hash_hardly_moves_when_an_image_is_compressed_and_scaled(image_folder):
    root = image_folder(TWO, size_px=128)
    with Image.open(root / "a" / "a_0000.png") as image:
        image.resize((96, 96)).save(root / "a" / "small.jpg", quality=80)
    by_path = {image.path: image.phash for image in scan(root).images}
    near = (by_path["a/a_0000.png"] ^ by_path["a/small.jpg"]).bit_count()
    far = (by_path["a/a_0000.png"] ^ by_path["a/a_0001.png"]).bit_count()
    assert near <= 6 < far


def test_the_perceptual_hash_is_the_signs_of_the_lowest_cosines_but_that_of_the_mean():
    gray = np.random.default_rng(1).integers(0, 256, (32, 32), dtype=np.uint8)
    low = dctn(gray.astype(float), norm="ortho")[:8, :8].ravel()
    want = "".join("1" if value > 0 else "0" for value in low)
    assert f"{perceptual_hash(np.dstack([gray] * 3)):064b}" == "0" + want[1:]
    assert 20 < want.count("1") < 44


def test_the_hashes_of_flipped_and_turned_cells_follow_from_one():
    rng = np.random.default_rng(2)
    for name in ("neutrophil", "platelet"):
        cell = draw_cell(name, size_px=96, rng=rng)
        eight = orientations(np.array([perceptual_hash(cell)], dtype=np.uint64))[:, 0]
        assert eight[0] == perceptual_hash(cell)
        turned = [np.rot90(each, k) for each in (cell, cell[:, ::-1]) for k in range(4)]
        found = [perceptual_hash(np.ascontiguousarray(each)) for each in turned]
        assert len(set(found)) == 8
        assert set(found) == set(eight.tolist())


def test_every_bad_file_is_told_at_once_errors_first(image_folder):
    root = image_folder(TWO)
    whole = (root / "a" / "a_0000.png").read_bytes()
    (root / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "empty.jpg").touch()
    (root / "b" / "text.JPG").write_bytes(b"hello")
    (root / "b" / "notes.txt").write_bytes(b"hello")
    (root / "b" / ".DS_Store").write_bytes(b"x")
    (root / "stray.png").write_bytes(whole)
    (root / "split.csv").write_bytes(b"path")
    (root / "c").mkdir()
    manifest = scan(root)
    assert found(manifest) == [
        ("error", "a/cut.png"),
        ("error", "a/empty.jpg"),
        ("error", "b/text.JPG"),
        ("error", "c"),
        ("warning", "b/notes.txt"),
        ("warning", "stray.png"),
        ("note", "b/.DS_Store"),
        ("note", "split.csv"),
    ]
    what = {p.path: p.what for p in manifest.problems}
    assert "truncated" in what["a/cut.png"]
    assert "empty" in what["a/empty.jpg"]
    assert "not an image" in what["b/text.JPG"]
    assert "no readable image" in what["c"]
    assert "outside every class folder" in what["stray.png"]
    assert manifest.not_images == 3
    assert manifest.counts == {"a": 2, "b": 2, "c": 0}


def test_macos_leftovers_and_hidden_folders_are_counted_and_passed_over(image_folder):
    root = image_folder(TWO)
    for name in ("__MACOSX/a/._a_0000.png", "__MACOSX/b/._b.png", "a/__MACOSX/._x.png", ".git/config"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"Mac OS X")
    manifest = scan(root)
    assert [p.level for p in manifest.problems] == ["note"] * 4
    assert {p.path for p in manifest.problems} == {
        "__MACOSX/a/._a_0000.png",
        "__MACOSX/b/._b.png",
        "a/__MACOSX/._x.png",
        ".git",
    }
    assert manifest.not_images == 4
    assert manifest.classes == ("a", "b")


def test_folders_inside_a_class_folder_belong_to_the_class(image_folder):
    root = image_folder(TWO)
    (root / "a" / "slide 1" / "left").mkdir(parents=True)
    (root / "a" / "slide 1" / "left" / "x.png").write_bytes(png())
    manifest = scan(root)
    assert manifest.counts == {"a": 3, "b": 2}
    assert "a/slide 1/left/x.png" in {image.path for image in manifest.images}


def test_a_folder_above_the_data_is_recognised_and_the_right_one_named(image_folder):
    root = image_folder(TWO, name="pbc/PBC_dataset")
    manifest = scan(root.parent)
    (problem,) = manifest.errors
    assert problem.what == f"expected at least 2 class folders, found 1; did you mean {root}?"


def test_one_class_alone_and_none_are_errors(image_folder, tmp_path):
    one = scan(image_folder({"a": 2}, name="one"))
    assert [p.what for p in one.errors] == [
        "expected at least 2 class folders, found 1; expected ROOT/CLASS/IMAGE"
    ]
    with pytest.raises(DataError, match="at least 2 classes"):
        usable(one, skip_bad=True)
    (tmp_path / "none").mkdir()
    none = scan(tmp_path / "none")
    assert "found 0" in none.errors[0].what


@posix
def test_what_is_no_data_folder_is_refused(tmp_path):
    (tmp_path / "data.txt").write_text("path")
    with pytest.raises(DataError, match="found a file"):
        scan(tmp_path / "data.txt")
    with pytest.raises(DataError, match=r"found nothing.*hemoscope data fetch"):
        scan(tmp_path / "absent")
    with pytest.raises(DataError, match="found what cannot be read: Not a directory"):
        scan(tmp_path / "data.txt" / "cells")


def test_conversions_are_counted_over_all_images(image_folder):
    root = image_folder(TWO)
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(gray).save(root / "a" / "gray.png")
    Image.fromarray(gray.astype(np.uint16) * 1028).save(root / "a" / "deep.png")
    Image.fromarray(np.dstack([gray] * 4)).save(root / "b" / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.dstack([gray[:4]] * 3)).save(root / "b" / "turned.jpg", exif=exif)
    manifest = scan(root)
    assert manifest.converted == {"16-bit": 1, "alpha": 1, "exif-rotated": 1, "grayscale": 2}
    assert manifest.problems == ()
    turned = next(image for image in manifest.images if image.path == "b/turned.jpg")
    assert (turned.width_px, turned.height_px) == (4, 8)


ODD_NAMES = ["ein Bild ü.png", "a\nb.png", 'quo"te,.png', " lead.png", "日本.png", "c\\d.png", "e\r.png"]


@posix
@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        *((name, f"{name}.d" if name.isprintable() else "c") for name in ODD_NAMES),
        (os.fsdecode(b"not-utf8-\xff\xfe.png"), "c"),
    ],
)
def test_file_and_class_names_of_any_characters_are_read(image_folder, name, class_name):
    root = image_folder(TWO)
    (root / class_name).mkdir()
    (root / class_name / name).write_bytes(png())
    manifest = scan(root)
    assert manifest.problems == ()
    assert class_name in manifest.classes
    assert len(manifest.digest) == 64
    image = next(image for image in manifest.images if image.path == f"{class_name}/{name}")
    assert image.hash == hashlib.sha256(png()).hexdigest()


@posix
def test_odd_names_are_shown_on_one_line_of_printable_text(image_folder):
    root = image_folder(TWO)
    (root / "a" / os.fsdecode(b"x\n\xff.png")).touch()
    with pytest.raises(DataError) as caught:
        usable(scan(root), skip_bad=False)
    assert r"'a/x\n\udcff.png': the file is empty" in str(caught.value)
    str(caught.value).encode("utf-8")


@posix
def test_linked_files_and_folders_are_read_and_circles_are_not_followed(image_folder, tmp_path):
    root = image_folder(TWO)
    (tmp_path / "elsewhere.png").write_bytes(png())
    (root / "a" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (root / "a" / "circle").symlink_to(root)
    (root / "b" / "up").symlink_to(root / "b")
    (root / "c").symlink_to(image_folder({"x": 2}, name="other", seed=5) / "x")
    manifest = scan(root)
    assert manifest.counts == {"a": 3, "b": 2, "c": 2}
    assert found(manifest) == [("warning", "a/circle"), ("warning", "b/up")]


@posix
def test_links_that_lead_nowhere_or_to_themselves_are_errors(image_folder):
    root = image_folder(TWO)
    (root / "a" / "gone.png").symlink_to(root / "not here.png")
    (root / "b" / "self.png").symlink_to("self.png")
    manifest = scan(root)
    assert found(manifest) == [("error", "a/gone.png"), ("error", "b/self.png")]
    assert all("cannot be read" in p.what for p in manifest.problems)


@posix
def test_a_named_pipe_does_not_stop_the_scan(image_folder):
    root = image_folder(TWO)
    os.mkfifo(root / "a" / "pipe.png")
    assert [p.what for p in scan(root).errors] == ["not a regular file; expected an image"]


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_errors(image_folder):
    root = image_folder({"a": 2, "b": 2, "c": 1})
    (root / "a" / "a_0000.png").chmod(0)
    (root / "c").chmod(0)
    try:
        manifest = scan(root)
    finally:
        (root / "c").chmod(0o755)
    what = {p.path: p.what for p in manifest.errors}
    assert "Permission denied" in what["a/a_0000.png"]
    assert "c" in what


def test_usable_lists_twenty_errors_and_counts_the_rest(image_folder):
    root = image_folder(TWO)
    for index in range(23):
        (root / "a" / f"empty_{index:02d}.png").touch()
    with pytest.raises(DataError) as caught:
        usable(scan(root), skip_bad=False)
    text = str(caught.value)
    assert "23 problem(s)" in text
    assert "a/empty_19.png" in text
    assert "a/empty_20.png" not in text
    assert "and 3 more" in text
    assert f"hemoscope data check {root}" in text
    assert "--skip-bad" in text


def test_usable_leaves_out_bad_files_and_classes_without_images(image_folder):
    root = image_folder(TWO)
    (root / "a" / "empty.png").touch()
    (root / "a" / "notes.txt").touch()
    (root / "c").mkdir()
    manifest = scan(root)
    kept = usable(manifest, skip_bad=True)
    assert kept.classes == ("a", "b")
    assert kept.images == manifest.images
    assert [p.level for p in kept.problems] == ["warning"]
    assert [p.path for p in manifest.errors] == ["a/empty.png", "c"]


def test_progress_goes_from_one_to_all(image_folder):
    calls = []
    scan(image_folder(TWO), progress=lambda what, done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_file_system_order_does_not_matter(image_folder, tmp_path):
    root = image_folder({"b": 3, "a": 3})
    copy = tmp_path / "copy"
    for file in sorted(root.rglob("*.png"), reverse=True):
        target = copy / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    assert scan(copy).images == scan(root).images
    assert scan(copy).digest == scan(root).digest


def test_subtypes_come_from_the_prefixes_of_the_data_set_only():
    names = ["SNE_1.jpg", "PLATELET_2.jpg", "MMY_3.jpg", "sne_1.jpg", "cell_1.jpg", "BA1.jpg", "XBA_1.jpg"]
    assert [subtype_of(name) for name in names] == ["SNE", "PLATELET", "MMY", "", "", "", ""]


def test_at_least_one_cpu_is_available():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


class TestCache:
    def test_a_second_scan_gives_the_same_without_opening_a_file(self, image_folder, tmp_path, monkeypatch):
        root = image_folder(TWO)
        (root / "a" / "empty.png").touch()
        first = scan(root, cache=tmp_path / "scan.json")
        opened: list[str] = []
        read_bytes = Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda p: opened.append(p.name) or read_bytes(p))
        assert scan(root, cache=tmp_path / "scan.json") == first
        assert opened == ["empty.png"]

    def test_a_changed_a_new_and_a_removed_file_are_noticed(self, image_folder, tmp_path):
        root, cache = image_folder({"a": 3, "b": 2}), tmp_path / "scan.json"
        before = {image.path: image for image in scan(root, cache=cache).images}
        changed = root / "a" / "a_0000.png"
        times = changed.stat()
        data = bytearray(changed.read_bytes())
        Image.fromarray(255 - decode(bytes(data)).pixels).save(changed)
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
        (root / "a" / "a_0001.png").unlink()
        (root / "b" / "new.png").write_bytes(png())
        after = {image.path: image for image in scan(root, cache=cache).images}
        assert after.keys() == before.keys() - {"a/a_0001.png"} | {"b/new.png"}
        assert after["a/a_0000.png"].pixel_hash != before["a/a_0000.png"].pixel_hash
        assert tuple(after.values()) == scan(root).images
        scan(root, cache=tmp_path / "fresh")
        assert cache.read_bytes() == (tmp_path / "fresh").read_bytes()

    def test_a_cache_of_which_no_file_is_left_as_it_was_is_no_cache(self, image_folder, tmp_path):
        root, cache = image_folder(TWO), tmp_path / "scan"
        first = scan(root, cache=cache)
        for path in root.rglob("*.png"):
            os.utime(path, ns=(0, 0))
        assert scan(root, cache=cache) == first
        shutil.rmtree(root / "a")
        shutil.rmtree(root / "b")
        for name in TWO:
            (root / name).mkdir()
        assert scan(root, cache=cache) == scan(root)
        assert scan(root, cache=cache).images == ()

    @pytest.mark.parametrize(
        "damage",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"version": 1}',
            b'{"version": 1, "root": "x", "files": 3}',
        ],
    )
    def test_a_damaged_cache_is_ignored_and_replaced(self, image_folder, tmp_path, damage):
        root, cache = image_folder(TWO), tmp_path / "scan.json"
        first = scan(root, cache=cache)
        good = cache.read_bytes()
        cache.write_bytes(damage)
        assert scan(root, cache=cache) == first
        assert cache.read_bytes() == good

    def test_a_cache_of_which_a_byte_changed_is_made_again(self, image_folder, tmp_path):
        root, cache = image_folder(TWO), tmp_path / "scan"
        first = scan(root, cache=cache)
        good = cache.read_bytes()
        for at in range(0, len(good), 97):
            cache.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert scan(root, cache=cache) == first
            assert cache.read_bytes() == good

    @pytest.mark.parametrize("names", [("path", "size"), ("one", "other")])
    def test_a_cache_of_other_columns_under_a_right_digest_is_made_again(self, image_folder, tmp_path, names):
        root, cache = image_folder(TWO), tmp_path / "scan"
        first = scan(root, cache=cache)
        good = cache.read_bytes()
        sink = pa.BufferOutputStream()
        table = pa.table({name: [1, 2] for name in names})
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        files = sink.getvalue().to_pybytes()
        heading = json.loads(good.partition(b"\n")[0]) | {"sha256": hashlib.sha256(files).hexdigest()}
        cache.write_bytes(json.dumps(heading).encode() + b"\n" + files)
        assert scan(root, cache=cache) == first
        assert cache.read_bytes() == good

    def test_what_was_remembered_comes_back_whole(self, image_folder, tmp_path):
        root, cache = image_folder({"a": 40, "b": 3}), tmp_path / "scan"
        gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
        Image.fromarray(gray.astype(np.uint16) * 1028).save(root / "a" / "deep.png")
        Image.fromarray(np.dstack([gray] * 4)).save(root / "b" / "clear.png")
        first = scan(root, cache=cache)
        loaded = ScanCache.load(cache, root)
        by_path = {image.path: image for image in first.images}
        paths = [image.path for image in first.images]
        assert loaded.unchanged(root, paths) == [True] * 45
        for image, result in zip(first.images, zip(*loaded.remembered(), strict=True), strict=True):
            assert Fingerprint(*result).image(image.path, image.class_name, "") == image
            assert [type(value) for value in result] == [int, int, str, str, int, tuple]
        assert loaded.conversions() == {"grayscale": 1, "16-bit": 1, "alpha": 1}
        assert loaded.unchanged(root, ["b/clear.png", "b/none.png", "a/deep.png"]) == [True, False, True]
        asked = zip(*loaded.remembered(), strict=True)
        assert list(asked) == [tuple(by_path[path][3:9]) for path in ("b/clear.png", "a/deep.png")]
        assert loaded.unchanged(root, ["a/deep.png"]) == [True]
        assert loaded.conversions() == {"grayscale": 1, "16-bit": 1}

    def test_a_file_of_the_far_future_is_read_each_time(self, image_folder, tmp_path):
        root, cache = image_folder(TWO), tmp_path / "scan"
        try:
            os.utime(root / "a" / "a_0000.png", ns=(2**63, 2**63))
        except OSError:
            pytest.skip("this file system has no such time")
        if FileStamp.of(root / "a" / "a_0000.png").mtime_ns < 2**63:
            pytest.skip("this file system has no such time")
        assert scan(root, cache=cache) == scan(root, cache=cache)
        assert ScanCache.load(cache, root).known.num_rows == 3

    def test_a_cache_that_cannot_be_written_is_a_note_and_no_end(self, image_folder, tmp_path):
        root = image_folder(TWO)
        (tmp_path / "file").touch()
        manifest = scan(root, cache=tmp_path / "file" / "scan.json")
        assert manifest.images == scan(root).images
        (said,) = manifest.problems
        assert said.level == "note"
        assert "cannot be remembered" in said.what

    def test_the_cache_of_another_folder_is_not_used(self, image_folder, tmp_path):
        cache = tmp_path / "scan.json"
        scan(image_folder(TWO, name="one"), cache=cache)
        other = image_folder(TWO, name="two", seed=9)
        assert scan(other, cache=cache) == scan(other)

    @posix
    def test_names_of_any_characters_are_remembered(self, image_folder, tmp_path):
        root = image_folder(TWO)
        (root / "a" / os.fsdecode(b"\xff\n.png")).write_bytes(png())
        first = scan(root, cache=tmp_path / "scan.json")
        assert scan(root, cache=tmp_path / "scan.json") == first


def arrays(n: int = 8, size: int = 6, *, color: bool = True, labels: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shape = (n, size, size, 3) if color else (n, size, size)
    made: dict[str, np.ndarray] = {}
    for side in ("train", "val", "test"):
        made[f"{side}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        made[f"{side}_labels"] = (np.arange(n) % labels).astype(np.uint8)[:, None]
    return made


class TestNpz:
    def save(self, tmp_path: Path, made: dict[str, np.ndarray]) -> Path:
        np.savez_compressed(tmp_path / "bloodmnist.npz", **made)
        return tmp_path / "bloodmnist.npz"

    def test_bloodmnist_gives_its_classes_sides_and_pixels(self, tmp_path):
        made = arrays()
        manifest = scan(self.save(tmp_path, made))
        assert manifest.classes == CLASSES == tuple(sorted(CLASSES))
        assert Counter(image.given_side for image in manifest.images) == {"train": 8, "val": 8, "test": 8}
        by_path = {image.path: image for image in manifest.images}
        assert by_path["val/00003"].class_name == "ig"
        assert [image.path for image in manifest.images] == sorted(by_path)
        pixels = dict(npz_images(tmp_path / "bloodmnist.npz"))
        np.testing.assert_array_equal(pixels["test/00005"], made["test_images"][5])
        assert pixels.keys() == by_path.keys()
        assert by_path["test/00005"].hash == by_path["test/00005"].pixel_hash
        assert len({image.hash for image in manifest.images}) == 24

    def test_an_image_has_the_same_pixel_hash_in_a_folder(self, tmp_path, image_folder):
        made = arrays()
        root = image_folder(TWO)
        Image.fromarray(made["val_images"][2]).save(root / "a" / "same.png")
        in_folder = {image.path: image.pixel_hash for image in scan(root).images}
        in_npz = {image.path: image.pixel_hash for image in scan(self.save(tmp_path, made)).images}
        assert in_folder["a/same.png"] == in_npz["val/00002"]

    def test_gray_images_are_converted_and_eight_gray_labels_are_not_blood(self, tmp_path):
        made = arrays(color=False)
        manifest = scan(self.save(tmp_path, made))
        assert manifest.classes == tuple(f"class_{i}" for i in range(8))
        assert manifest.converted == {"grayscale": 24}
        pixels = dict(npz_images(tmp_path / "bloodmnist.npz"))["train/00001"]
        np.testing.assert_array_equal(pixels, np.repeat(made["train_images"][1][:, :, None], 3, axis=2))

    def test_eight_colours_under_another_name_are_blood_only_by_the_published_digest(
        self, tmp_path, monkeypatch
    ):
        file = self.save(tmp_path, arrays()).rename(tmp_path / "skin.npz")
        assert scan(file).classes == tuple(f"class_{i}" for i in range(8))
        digest = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
        card = replace(data_source("bloodmnist"), digest=digest)
        monkeypatch.setattr("hemoscope.data.scan.npz.SOURCES", (card,))
        assert scan(file).classes == CLASSES

    def test_alphabetical_order_is_label_order_with_many_labels(self, tmp_path):
        manifest = scan(self.save(tmp_path, arrays(n=12, labels=12)))
        assert manifest.classes[2] == "class_02"
        assert manifest.classes == tuple(sorted(manifest.classes))

    def test_everything_wrong_is_told_at_once(self, tmp_path):
        made = arrays()
        del made["train_images"]
        made["val_images"] = made["val_images"].astype(np.float32)
        made["val_labels"] = np.zeros((8, 14), dtype=np.uint8)
        made["test_labels"] = made["test_labels"][:5]
        with pytest.raises(DataError) as caught:
            scan(self.save(tmp_path, made))
        text = str(caught.value)
        assert "train_images is missing" in text
        assert "val_images is float32" in text
        assert "val_labels is uint8 (8, 14)" in text
        assert "test: 8 images but 5 labels" in text
        assert "hemoscope data fetch bloodmnist" in text

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("val_images", np.array([{"a": 1}], dtype=object), "Python objects"),
            ("val_images", np.zeros((8, 6, 5, 3), np.uint8), "expected uint8"),
            ("val_images", np.zeros((0, 6, 6, 3), np.uint8), "at least one image"),
            ("val_images", np.zeros((8, 5, 5, 3), np.uint8), "different shapes"),
            ("val_images", np.asfortranarray(np.zeros((8, 6, 6, 3), np.uint8)), "column order"),
            ("val_labels", np.array([{"a": 1}], dtype=object), "Python objects"),
            ("val_labels", np.full((8, 1), -1, np.int64), "goes from -1 to -1"),
            ("val_labels", np.full((8, 1), 10**9, np.int64), "expected 0 to 999"),
            ("val_labels", np.zeros((8, 1), np.float64), "expected integers"),
        ],
    )
    def test_a_malformed_array_is_named(self, tmp_path, key, value, message):
        with pytest.raises(DataError, match=message):
            scan(self.save(tmp_path, arrays() | {key: value}))

    def test_one_label_everywhere_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="at least 2 different labels"):
            scan(self.save(tmp_path, arrays(labels=1)))

    def test_no_archive_and_a_cut_one_are_refused(self, tmp_path):
        path = self.save(tmp_path, arrays())
        data = path.read_bytes()
        for damage in (b"", b"hello", data[: len(data) // 2]):
            path.write_bytes(damage)
            with pytest.raises(DataError, match="no readable zip archive"):
                scan(path)

    def test_an_encrypted_one_is_refused_with_every_array(self, tmp_path):
        path = self.save(tmp_path, arrays())
        data = bytearray(path.read_bytes())
        for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = -1
            while (at := data.find(mark, at + 1)) >= 0:
                data[at + flags] |= 1
        path.write_bytes(data)
        with pytest.raises(DataError, match="cannot be read.*encrypted") as caught:
            scan(path)
        assert str(caught.value).count("is encrypted") == 6

    @pytest.mark.parametrize("mark", [b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x93NUMPY"])
    def test_a_damaged_byte_of_a_header_is_refused_or_does_no_harm(self, tmp_path, mark):
        path = tmp_path / "bloodmnist.npz"
        np.savez(path, **arrays())
        data = path.read_bytes()
        first = data.find(mark)
        for at in range(first, min(first + 128, len(data))):
            for value in (0, ord("("), 195):
                path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
                with suppress(DataError):
                    scan(path)

    def test_a_flipped_byte_anywhere_in_the_images_is_refused(self, tmp_path):
        np.savez(tmp_path / "bloodmnist.npz", **arrays())
        path = tmp_path / "bloodmnist.npz"
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("test_images.npy")
        data[info.header_offset + info.file_size - 20] ^= 0xFF
        path.write_bytes(bytes(data))
        with pytest.raises(DataError, match=r"test_images cannot be read: Bad CRC"):
            scan(path)

    @pytest.mark.parametrize(("change", "message"), [(-50, "truncated"), (1, "longer than its header")])
    def test_an_array_of_another_length_than_its_header_says_is_refused(self, tmp_path, change, message):
        path = self.save(tmp_path, arrays())
        out = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
            for name in old.namelist():
                body = old.read(name)
                other = (body + b"\0")[: len(body) + change]
                new.writestr(name, other if name == "val_images.npy" else body)
        path.write_bytes(out.getvalue())
        with pytest.raises(DataError, match=f"val_images cannot be read: {message}"):
            scan(path)


@pytest.mark.real
def test_the_real_mini_set_is_324_cells_and_one_stray_file(real_cells):
    manifest = scan(real_cells)
    assert len(manifest.images) == sum(1 for p in real_cells.rglob("[!.]*.jpg"))
    assert len(manifest.images) == 324
    assert manifest.not_images == 1
    assert found(manifest) == [("note", "neutrophil/.DS_169665.jpg")]
    assert manifest.converted == {}
    assert manifest.classes == CLASSES
    assert {image.subtype for image in manifest.images if image.class_name == "neutrophil"} <= {
        "SNE",
        "BNE",
        "NEUTROPHIL",
    }
    assert all(image.subtype for image in manifest.images)
