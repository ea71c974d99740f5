"""Detection sets become cells: the pixels that were pasted, on the side and in the group of their picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hemoscope.data.boxes.crop import crop_set
from hemoscope.data.boxes.crop_box import square_around
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split
from hemoscope.errors import DataError
from tests.data.boxed import (
    BOX,
    CLASSES,
    HEIGHT,
    PLACES,
    WIDTH,
    Field,
    check,
    coco_of_roboflow,
    coco_of_sides,
    fields,
    image,
    rows,
    voc,
    voc_text,
    write,
    yolo,
)

SPLIT = ("train", "val")
LAYOUTS = {
    "YOLO, images and labels above the sides": (yolo, "images/{}/{}.png"),
    "YOLO, sides above images and labels": (yolo, "{}/images/{}.png"),
    "YOLO, text beside the picture": (yolo, "{}/{}.png"),
    "VOC, parallel folders": (voc, "JPEGImages/{}/{}.png"),
    "VOC, beside the picture": (voc, "{}/{}.png"),
    "COCO, a file a side": (coco_of_sides, "images/{}/{}.png"),
    "COCO, of Roboflow": (coco_of_roboflow, "{}/{}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_crop_is_the_cell_that_was_pasted_on_the_side_of_its_picture(tmp_path, layout):
    write_set, template = LAYOUTS[layout]
    listed = fields(template.format(side, name) for side in SPLIT for name in ("1", "field 2.b"))
    write_set(tmp_path / "set", listed)
    with pytest.raises(DataError, match="hemoscope data crop .*set --out .*set-cells"):
        scan(tmp_path / "set")
    crops = crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", listed, {f.path: next(s for s in SPLIT if s in f.path) for f in listed})
    assert crops.counts == {"eosinophil": 3, "lymphocyte": 3, "platelet": 2}
    assert (crops.pictures, crops.without_boxes, crops.bad.count) == (4, 0, 0)
    manifest = scan(tmp_path / "out" / "labels.csv")
    assert manifest.problems == ()
    assert manifest.counts == crops.counts


def test_of_an_outline_the_box_around_it_is_taken(tmp_path):
    (field,) = fields(["images/0.png"], each=1)
    yolo(tmp_path / "set", [field])
    ((_, x, y, w, h),) = field.boxes
    points = [(x, y + 7), (x + 9, y), (x + w, y + 5), (x + 8, y + h)]
    outline = " ".join(f"{a / WIDTH} {b / HEIGHT}" for a, b in points)
    write(tmp_path / "set" / "labels" / "0.txt", f"0 {outline}\n")
    crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", [field])


boxes_inside = st.tuples(st.integers(8, 60), st.integers(8, 60)).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.integers(0, size[0] - 8),
        st.integers(0, size[1] - 8),
        st.integers(8, 60),
        st.integers(8, 60),
    )
)


@given(box=boxes_inside, context=st.floats(1, 4))
def test_a_square_is_the_nearest_one_to_the_middle_of_the_box_that_lies_inside(box, context):
    (width, height), x, y, w, h = box
    right, bottom = min(x + w, width), min(y + h, height)
    left, top, side = square_around((x, y, right, bottom), (width, height), context)
    assert abs(side - min(context * max(right - x, bottom - y), width, height)) <= 0.5
    for start, middle, length in ((left, (x + right) / 2, width), (top, (y + bottom) / 2, height)):
        away = [abs(begin + side / 2 - middle) for begin in range(length - side + 1)]
        assert abs(start + side / 2 - middle) == min(away)


@pytest.mark.parametrize("context", [1, 2.0, 4])
def test_context_says_how_much_wider_than_its_box_a_crop_is_and_no_pixel_is_invented(tmp_path, context):
    listed = [
        Field("images/0.png", tuple((name, *place) for name, place in zip(CLASSES, PLACES, strict=True)))
    ]
    yolo(tmp_path / "set", listed)
    crop_set(tmp_path / "set", tmp_path / "out", context=context)
    side = min(round(context * BOX), HEIGHT)
    pixels = listed[0].pixels
    for row in rows(tmp_path / "out"):
        _, x, y, w, h = next(box for box in listed[0].boxes if box[0] == row["class"])
        left = min(max(x + w // 2 - side // 2, 0), WIDTH - side)
        top = min(max(y + h // 2 - side // 2, 0), HEIGHT - side)
        np.testing.assert_array_equal(
            image(tmp_path / "out" / row["path"]), pixels[top : top + side, left : left + side]
        )


def test_boxes_belong_to_the_upright_picture_and_a_turned_size_is_told(tmp_path):
    (field,) = fields(["0.png"], each=2)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    (tmp_path / "set").mkdir()
    Image.fromarray(np.rot90(field.pixels)).save(tmp_path / "set" / "0.png", exif=exif)
    write(tmp_path / "set" / "0.xml", voc_text(field))
    crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", [field])
    write(tmp_path / "set" / "0.xml", voc_text(field, size=(HEIGHT, WIDTH)))
    with pytest.raises(DataError, match=r"is 210 x 150 px.* are for 150 x 210; it is stored turned \(EXIF\)"):
        crop_set(tmp_path / "set", tmp_path / "again")
    write(tmp_path / "set" / "0.xml", voc_text(field, size=(0, 0)))  # as some tools leave it
    crop_set(tmp_path / "set", tmp_path / "again")


def test_cells_of_a_picture_stay_on_one_side_of_a_drawn_split(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(9)], each=3)
    yolo(tmp_path / "set", listed)
    crop_set(tmp_path / "set", tmp_path / "out")
    assert list(rows(tmp_path / "out")[0]) == ["path", "class", "group"]
    manifest = scan(tmp_path / "out" / "labels.csv")
    group = {cell.path: cell.group for cell in manifest.images}
    for seed in range(5):
        side = {row.path: row.side for row in make_split(manifest, policy="paper", seed=seed).rows}
        assert {g: len({side[p] for p in group if group[p] == g}) for g in group.values()} == {
            field.path: 1 for field in listed
        }


def test_augmented_copies_of_a_picture_are_one_group(tmp_path):
    yolo(tmp_path / "set", fields([f"images/a_jpg.rf.{c * 32}.png" for c in "01f"] + ["images/b_jpg.png"]))
    crop_set(tmp_path / "set", tmp_path / "out")
    assert {row["group"] for row in rows(tmp_path / "out")} == {"images/a_jpg.png", "images/b_jpg.png"}


def test_the_folder_of_crops_alone_says_that_its_list_is_not_used(tmp_path):
    yolo(tmp_path / "set", fields([f"images/{i}.png" for i in range(3)]))
    crop_set(tmp_path / "set", tmp_path / "out")
    (said,) = [p for p in scan(tmp_path / "out").problems if p.level == "warning"]
    assert (said.path, "to use its split and groups" in said.what) == ("labels.csv", True)


def test_lists_of_pictures_are_sides_by_name_or_by_a_path_of_another_computer(tmp_path):
    listed = fields([f"JPEGImages/00{i}.b.png" for i in range(4)])
    voc(tmp_path / "voc", listed)
    write(tmp_path / "voc/ImageSets/Main/train.txt", "000.b\n001.b\n")
    write(tmp_path / "voc/ImageSets/Main/val.txt", "002.b\r\n003.b\r\n")
    write(tmp_path / "voc/ImageSets/Main/trainval.txt", "000.b\n001.b\n002.b\n003.b\n")
    sides = dict(zip((f.path for f in listed), ("train", "train", "val", "val"), strict=True))
    crop_set(tmp_path / "voc", tmp_path / "out")
    check(tmp_path / "out", listed, sides)

    listed = fields([f"obj/{i}.png" for i in range(4)])
    yolo(tmp_path / "darknet", listed)
    write(tmp_path / "darknet/train.txt", "data/obj/0.png\n/home/x/data/obj/1.png\n")
    write(tmp_path / "darknet/test.txt", "data\\obj\\2.png\n./obj/3.png\n")
    sides = dict(zip((f.path for f in listed), ("train", "train", "test", "test"), strict=True))
    crop_set(tmp_path / "darknet", tmp_path / "listed")
    check(tmp_path / "listed", listed, sides)


def test_a_set_that_is_all_on_one_side_has_none(tmp_path):
    listed = fields([f"obj_train_data/{i}.png" for i in range(2)])
    yolo(tmp_path / "set", listed)
    crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", listed)


def test_labels_of_one_side_are_never_those_of_a_picture_on_another(tmp_path):
    listed = fields(["train/images/0.png", "valid/images/1.png"])
    yolo(tmp_path / "set", listed)
    (tmp_path / "set/valid/labels/1.txt").rename(tmp_path / "set/train/labels/1.txt")
    with pytest.raises(DataError, match=r"train/labels/1.txt: there is no picture of its name"):
        crop_set(tmp_path / "set", tmp_path / "out")


def test_a_picture_on_no_side_or_on_two_is_told_and_can_be_left_out(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(4)])
    yolo(tmp_path / "set", listed)
    write(tmp_path / "set/train.txt", "images/0.png\nimages/1.png\nimages/gone.png\n")
    write(tmp_path / "set/test.txt", "images/1.png\nimages/2.png\n")
    with pytest.raises(DataError) as caught:
        crop_set(tmp_path / "set", tmp_path / "out")
    for part in (
        "has 3 problem(s), and nothing was written",
        "train.txt line 3: means 0 pictures of the set; expected one",
        "images/3.png: is on no side of a split, and other pictures are",
        "in another list",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()
    crops = crop_set(tmp_path / "set", tmp_path / "out", skip_bad=True)
    check(tmp_path / "out", [listed[0], listed[2]], {"images/0.png": "train", "images/2.png": "test"})
    assert crops.bad.count == 3


def test_classes_can_be_left_out_and_their_pictures_are_not_opened(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(3)], each=1)
    yolo(tmp_path / "set", listed)
    (tmp_path / "set" / listed[0].path).write_bytes(b"torn")  # the eosinophil's
    crops = crop_set(tmp_path / "set", tmp_path / "out", leave_out=["eosinophil"])
    assert crops.counts == {"lymphocyte": 1, "platelet": 1}
    check(tmp_path / "out", listed[1:])
    with pytest.raises(
        DataError, match="no class basophil to leave out; found: eosinophil, lymphocyte, platelet"
    ):
        crop_set(tmp_path / "set", tmp_path / "again", leave_out=["basophil"])
    with pytest.raises(DataError, match="there is no box to cut out"):
        crop_set(tmp_path / "set", tmp_path / "again", leave_out=CLASSES)
    assert not (tmp_path / "again").exists()


def test_what_is_there_is_left_alone_and_the_set_too(tmp_path):
    yolo(tmp_path / "set", fields(["images/0.png"]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="out is there already"):
        crop_set(tmp_path / "set", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="expected a folder outside of"):
        crop_set(tmp_path / "set", tmp_path / "set" / "cells")
    (tmp_path / "out" / "mine.txt").unlink()
    crop_set(tmp_path / "set", tmp_path / "out")  # an empty one is filled
    assert {p.name for p in tmp_path.iterdir()} == {"set", "out"}


def test_pictures_without_boxes_and_texts_of_another_kind_are_no_problem(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(3)])
    yolo(tmp_path / "set", listed)
    write(tmp_path / "set/labels/2.txt", "\n")
    Field("images/3.png", (), 9).save(tmp_path / "set")
    write(tmp_path / "set/README.txt", "by somebody\n")
    write(tmp_path / "set/info.json", "{")
    crops = crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", listed[:2])
    assert (crops.pictures, crops.without_boxes) == (2, 2)


def test_from_boxes_to_a_trained_network_by_two_commands(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(9)], each=3)
    yolo(tmp_path / "set", listed)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hemoscope", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    out = tmp_path / "set-cells"
    words = ("data", "crop", tmp_path / "set", "--out", out, "--leave-out", "platelet")
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    counts = {"eosinophil": 9, "lymphocyte": 9}
    assert json.loads(done.stdout) == {"out": out.as_posix(), "counts": counts, "left_out": 0}
    assert run(*words).returncode == 1  # it is there
    quick = ("--weights", "none", "--epochs", 1, "--lr", "0.02", "--set", "image_px=32", "--json")
    train = run("train", "mobilenet_v2", "--data", out / "labels.csv", "--out", tmp_path / "runs", *quick)
    assert train.returncode == 0, train.stderr
    card = json.loads((Path(json.loads(train.stdout)["run"]) / "run.json").read_text("utf-8"))
    assert sum(sum(side.values()) for side in card["data"]["counts"].values()) == 18


def test_the_verb_says_what_it_wrote_what_it_left_out_and_what_is_next(tmp_path, monkeypatch, capsys):
    from hemoscope.cli import main

    yolo(tmp_path / "set", fields(["images/0.png", "images/1.png"]))
    write(tmp_path / "set/labels/1.txt", "0 0.5 0.5 2 2\n")
    words = ["data", "crop", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--skip-bad"]
    monkeypatch.setattr(sys, "argv", ["hemoscope", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    said = capsys.readouterr()
    assert said.out.split() == ["class", "cells", "----------", "-----", "eosinophil", "1", "lymphocyte", "1"]
    assert "left out 1 bad boxes, pictures or files:\n  labels/1.txt line 1: expected fractions" in said.err
    assert f"next: hemoscope data check {tmp_path / 'out' / 'labels.csv'}" in said.err
