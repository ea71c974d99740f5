"""Layouts that people have: each becomes the right classes and sides, or stops with what to do."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.audit import audit
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split
from hemoscope.errors import DataError
from hemoscope.records import Manifest


def picture(path: Path, seed: int, *, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 200, (20, 20, 3), dtype=np.uint8)
    pixels[:8] = (255, 229, 203)
    Image.fromarray(pixels).convert(mode).save(path)


def mask(path: Path, values: tuple[int, ...] = (0, 255)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).choice(np.array(values, dtype=np.uint8), (20, 20))
    Image.fromarray(pixels).save(path)


def tree(root: Path, *folders: str, each: int = 4) -> Path:
    """Fill folders with different pictures."""
    for f, folder in enumerate(folders):
        for i in range(each):
            picture(root / folder / f"{i}.png", 100 * f + i)
    return root


def sides(manifest: Manifest) -> dict[tuple[str, str | None], int]:
    return Counter((image.class_name, image.given_side) for image in manifest.images)


def warnings(manifest: Manifest) -> list[str]:
    return [f"{p.path}: {p.what}" for p in manifest.problems if p.level == "warning"]


@pytest.mark.parametrize(
    ("train", "val", "test"), [("TRAIN", "valid", "TEST"), ("Training", "Validation", "testing")]
)
def test_folders_named_as_sides_are_the_sides_of_a_given_split(tmp_path, train, val, test):
    root = tree(tmp_path, *(f"{side}/{name}" for side in (train, val, test) for name in ("a", "b")))
    manifest = scan(root)
    assert manifest.classes == ("a", "b")
    assert sides(manifest) == {(name, s): 4 for name in ("a", "b") for s in ("train", "val", "test")}
    assert {image.path for image in manifest.images if image.given_side == "val"} == {
        f"{val}/{name}/{i}.png" for name in ("a", "b") for i in range(4)
    }
    (said,) = [p.what for p in manifest.problems]
    assert "are used as the sides of a given split" in said
    split = make_split(manifest, policy="paper", seed=5)
    assert (split.policy, split.seed) == ("given", None)
    assert audit(manifest).given_sides == {"test": 8, "train": 8, "val": 8}


def test_sides_inside_the_class_folders_are_given_too(tmp_path):
    manifest = scan(tree(tmp_path, "a/train", "a/val", "a/test", "b/train", "b/val", "b/test"))
    assert manifest.classes == ("a", "b")
    assert sides(manifest) == {(name, s): 4 for name in ("a", "b") for s in ("train", "val", "test")}


def test_folders_beside_the_sides_are_not_used_and_said(tmp_path):
    manifest = scan(
        tree(tmp_path, "TRAIN/a", "TRAIN/b", "TEST/a", "TEST/b", "TEST_SIMPLE/a", "TEST_SIMPLE/b")
    )
    assert manifest.counts == {"a": 8, "b": 8}
    assert warnings(manifest) == ["TEST_SIMPLE: lies beside the sides of a split; its 8 images are not used"]


def test_sides_that_hold_no_class_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"train, val in .* are names of sides of a split and no classes"):
        scan(tree(tmp_path, "train", "val"))


def test_an_empty_class_folder_inside_a_side_is_an_error(tmp_path):
    (tree(tmp_path, "train/a", "train/b", "test/a", "test/b") / "train" / "c").mkdir()
    assert [p.path for p in scan(tmp_path).errors] == ["c"]


def test_patients_as_top_folders_are_refused_with_the_command_that_says_what_they_are(tmp_path):
    root = tree(tmp_path, "P01/a", "P01/b", "P02/a", "P02/b", "P03/b", each=1)
    with pytest.raises(DataError, match=r"P01, P02, P03 .*same names \(a, b\).*hemoscope data list"):
        scan(root)


def test_other_folders_inside_class_folders_are_no_question(tmp_path):
    manifest = scan(tree(tmp_path, "a/s1", "a/s2", "b/s3", "b/s4", "b/s1"))
    assert manifest.counts == {"a": 8, "b": 12}
    assert scan(tree(tmp_path / "images", "a/images", "b/images")).classes == ("a", "b")


def test_a_folder_that_repeats_the_class_folders_is_not_used_and_said(tmp_path):
    root = tree(tmp_path / "set", "a", "b")
    for name in ("a", "b"):
        shutil.copytree(root / name, root / "cell_images" / name)
    manifest = scan(root)
    assert manifest.counts == {"a": 4, "b": 4}
    assert warnings(manifest) == [
        "cell_images: repeats the class folders; it looks like a copy of them; its 8 images are not used"
    ]


def test_class_names_that_look_alike_are_told(tmp_path):
    names = ("Basophil", "basophil", "e\u0301o", "\u00e9o", "ly", "ly ", "monocyte")
    manifest = scan(tree(tmp_path, *names, each=1))
    assert sorted(p.path for p in manifest.problems) == sorted(["Basophil", "e\u0301o", "ly"])
    assert all("look alike" in p.what for p in manifest.problems)
    assert "'e\\u0301o', '\\xe9o'" in next(p.what for p in manifest.problems if p.path == "e\u0301o")


LEFT = ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "lost+found"]


@pytest.mark.parametrize("name", LEFT)
def test_what_servers_and_systems_leave_is_counted_and_passed_over(tmp_path, name):
    root = tree(tmp_path, "a", "b")
    for folder in (root / name / "a", root / "a" / name / "0.png"):
        picture(folder / "preview.jpg", 7)
        picture(folder / "other.jpg", 8)
    manifest = scan(root)
    assert manifest.counts == {"a": 4, "b": 4}
    assert manifest.not_images == 4
    assert {(p.level, p.path) for p in manifest.problems} == {("note", name), ("note", f"a/{name}")}


@pytest.mark.parametrize(("ending", "values"), [("", (0, 255)), ("_mask", (0, 128, 255)), ("-seg", (0, 1))])
def test_masks_beside_images_are_not_used_and_said(tmp_path, ending, values):
    for name in ("a", "b"):
        for i in range(3):
            picture(tmp_path / name / f"{name}{i}.bmp", i + ord(name))
            mask(tmp_path / name / f"{name}{i}{ending}.png", values)
    manifest = scan(tmp_path)
    assert {image.path for image in manifest.images} == {f"{n}/{n}{i}.bmp" for n in "ab" for i in range(3)}
    (said,) = warnings(manifest)
    assert "6 images of at most four grey values have the name of another image" in said


def test_images_of_few_values_that_belong_to_no_other_image_are_cells(tmp_path):
    for name in ("a", "b"):
        for i in range(3):
            mask(tmp_path / name / f"{i}.png")
    picture(tmp_path / "a" / "grey.png", 1, mode="L")
    picture(tmp_path / "a" / "grey_copy.png", 2, mode="L")
    manifest = scan(tmp_path)
    assert manifest.counts == {"a": 5, "b": 3}
    assert warnings(manifest) == []


YOLO = "0 0.5 0.5 0.2 0.3\n"
VOC = "<annotation><object><name>WBC</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("images", "boxes", "text"),
    [
        ("images/train/{}.png", "labels/train/{}.txt", YOLO),
        ("train/images/{}.png", "train/labels/{}.txt", YOLO),
        ("{}.png", "{}.txt", YOLO),
        ("JPEGImages/{}.png", "Annotations/{}.xml", VOC),
        ("train/{}.png", "train/_annotations.coco.json", "{}"),
        ("train2017/{}.png", "annotations/instances_train2017.json", "{}"),
        ("images/{}.png", "annotations/cells.json", '{"info": {}, "images": []}'),
    ],
)
def test_a_detection_set_is_told_to_be_cropped(tmp_path, images, boxes, text):
    for i in range(4):
        picture(tmp_path / images.format(i), i)
        file = tmp_path / boxes.format(i)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command = f"hemoscope data crop {tmp_path} --out {tmp_path}-cells"
    with pytest.raises(DataError, match=f"is a detection set.*Crop its boxes first.*: {re.escape(command)}$"):
        scan(tmp_path)


def test_the_command_for_a_detection_set_that_one_is_in_names_a_folder_beside_it(tmp_path, monkeypatch):
    picture(tmp_path / "set" / "0.png", 0)
    (tmp_path / "set" / "0.txt").write_text(YOLO)
    monkeypatch.chdir(tmp_path / "set")
    with pytest.raises(DataError, match=re.escape(f"hemoscope data crop . --out {tmp_path / 'set-cells'}")):
        scan(Path())


def test_texts_beside_images_are_no_boxes(tmp_path):
    root = tree(tmp_path, "images", "labels")
    for file in list(root.rglob("*.png")):
        file.with_suffix(".txt").write_text("a comment\n")
    assert scan(root).classes == ("images", "labels")


def test_a_given_split_without_training_images_of_a_class_or_with_a_torn_group_is_told(tmp_path):
    lines = ["path,class,split,patient"]
    for i, (name, side) in enumerate(
        [("a", "train"), ("a", "test"), ("b", "test"), ("b", "val"), ("a", "val")]
    ):
        picture(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png,{name},{side},{'P1' if i < 2 else i}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    found = {p.path: p.what for p in audit(scan(tmp_path / "labels.csv")).problems if p.level == "warning"}
    assert found == {
        "b": "the given split has no training image of this class, only on test and val",
        ".": "the given split has images of one group on two sides: P1",
    }
