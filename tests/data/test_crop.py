"""Detection sets become cells: the pixels that were pasted, on the side and in the group of their picture."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hemoscope.data.crop import crop_set
from hemoscope.data.crop_box import square_around
from hemoscope.data.safe_names import safe_names
from hemoscope.data.scan import scan
from hemoscope.data.split import make_split
from hemoscope.data.synthetic import draw_cell
from hemoscope.data.yolo_names import yaml_names
from hemoscope.errors import DataError

CLASSES = ("eosinophil", "lymphocyte", "platelet")
PATCH, BOX = 60, 40  # a crop is 1.5 times its box
WIDTH, HEIGHT = 210, 150
PLACES = ((5, 7), (140, 80), (70, 12))  # left and top of patches that do not overlap


@functools.cache
def patch(class_name: str, seed: int) -> np.ndarray:
    return draw_cell(class_name, size_px=PATCH, rng=np.random.default_rng(seed))


@dataclass(frozen=True)
class Field:
    """A picture with cells at known places: (class, left, top) of their patches."""

    path: str
    cells: tuple[tuple[str, int, int], ...]
    seed: int = 0

    @property
    def pixels(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        pixels = rng.integers(200, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for k, (name, left, top) in enumerate(self.cells):
            pixels[top : top + PATCH, left : left + PATCH] = patch(name, 10 * self.seed + k)
        return pixels

    @property
    def boxes(self) -> list[tuple[str, int, int, int, int]]:
        """Class, left, top, width and height of boxes in the middle of the patches."""
        edge = (PATCH - BOX) // 2
        return [(name, x + edge, y + edge + 5, BOX, BOX - 10) for name, x, y in self.cells]

    def save(self, root: Path) -> None:
        file = root / self.path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels).save(file)


def fields(paths: Iterable[str], each: int = 2) -> list[Field]:
    """Pictures of as many cells of different classes."""
    return [
        Field(path, tuple((CLASSES[(i + k) % 3], *PLACES[(i + k) % 3]) for k in range(each)), seed=i)
        for i, path in enumerate(paths)
    ]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def yolo_text(field: Field) -> str:
    return "".join(
        f"{CLASSES.index(name)} {(x + w / 2) / WIDTH:.6f} {(y + h / 2) / HEIGHT:.6f} {w / WIDTH:.6f} {h / HEIGHT:.6f}\n"
        for name, x, y, w, h in field.boxes
    )


def voc_text(field: Field, *, size: tuple[int, int] = (WIDTH, HEIGHT), name: str | None = None) -> str:
    cells = "".join(
        f"<object><name>{cell}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
        f"<ymax>{y + h}</ymax></bndbox></object>"
        for cell, x, y, w, h in field.boxes
    )
    name = field.path.rpartition("/")[2] if name is None else name
    return (
        f"<?xml version='1.0'?><annotation><filename>{name}</filename><path>C:\\Users\\x\\{name}</path>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{cells}</annotation>"
    )


def coco(listed: Iterable[Field], *, below: str = "") -> dict:
    """A document for pictures by their paths without `below`."""
    document: dict = {
        "info": {"year": 2026},
        "images": [],
        "annotations": [],
        "categories": [
            {"id": 7 + k, "name": name, "supercategory": "cell"} for k, name in enumerate(CLASSES)
        ],
    }
    for i, field in enumerate(listed):
        document["images"].append(
            {"id": i, "file_name": field.path.removeprefix(below), "width": WIDTH, "height": HEIGHT}
        )
        for name, *box in field.boxes:
            entry = {"id": len(document["annotations"]), "image_id": i, "bbox": box, "iscrowd": 0}
            document["annotations"].append(entry | {"category_id": 7 + CLASSES.index(name)})
    return document


def yolo(
    root: Path, listed: Iterable[Field], *, names: str | None = f"names: [{', '.join(CLASSES)}]\n"
) -> None:
    for field in listed:
        field.save(root)
        write((root / field.path.replace("images", "labels")).with_suffix(".txt"), yolo_text(field))
    if names is not None:
        write(root / "data.yaml", names)


def voc(root: Path, listed: Iterable[Field]) -> None:
    for field in listed:
        field.save(root)
        write((root / field.path.replace("JPEGImages", "Annotations")).with_suffix(".xml"), voc_text(field))


def coco_of_sides(root: Path, listed: Iterable[Field]) -> None:
    for side, of_side in itertools.groupby(listed, key=lambda field: field.path.split("/")[-2]):
        of_side = list(of_side)
        for field in of_side:
            field.save(root)
        document = coco(of_side, below=f"images/{side}/")
        write(root / "annotations" / f"instances_{side}.json", json.dumps(document))


def coco_of_roboflow(root: Path, listed: Iterable[Field]) -> None:
    for side, of_side in itertools.groupby(listed, key=lambda field: field.path.split("/")[0]):
        of_side = list(of_side)
        for field in of_side:
            field.save(root)
        write(root / side / "_annotations.coco.json", json.dumps(coco(of_side, below=f"{side}/")))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def image(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        assert opened.mode == "RGB"
        return np.asarray(opened)


def check(out: Path, listed: Iterable[Field], sides: Mapping[str, str] | None = None) -> None:
    """Every cell is there once with its class, picture, side and pixels, and nothing else is."""
    want = {
        (field.path, name, (sides or {}).get(field.path)): patch(name, 10 * field.seed + k)
        for field in listed
        for k, (name, _, _) in enumerate(field.cells)
    }
    got = {(row["group"], row["class"], row.get("split")): row["path"] for row in rows(out)}
    assert set(got) == set(want)
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.*")} == {*got.values(), "labels.csv"}
    for key, path in got.items():
        np.testing.assert_array_equal(image(out / path), want[key], err_msg=str(key))


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


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("data.yaml", "nc: 3\nnames:\n- a b\n- 'c'\n- d\n", ("a b", "c", "d")),
        ("data.yaml", "path: x # here\nnames:\n  0: a\n  1: b # two\n  2: c\nnc: 3", ("a", "b", "c")),
        ("sub/set.yml", "names: {0: a, 1: 'b', 2: \"c\"}", ("a", "b", "c")),
        ("data.yaml", "names: ['a',\n  'b, b', \"\\u00e9\"]\n", ("a", "b, b", "\u00e9")),
        ("labels/classes.txt", "a\r\nb\r\nc\r\n", ("a", "b", "c")),
        ("obj.names", "a\nb\nc", ("a", "b", "c")),
        ("notes.txt", "no names", ("class_0", "class_1", "class_2")),
    ],
)
def test_classes_of_yolo_have_the_names_of_the_set(tmp_path, file, text, names):
    listed = fields([f"images/{i}.png" for i in range(3)])
    yolo(tmp_path / "set", listed, names=None)
    write(tmp_path / "set" / file, text)
    crop_set(tmp_path / "set", tmp_path / "out")
    for row in rows(tmp_path / "out"):
        field = next(f for f in listed if f.path == row["group"])
        k = next(
            k
            for k, (name, _, _) in enumerate(field.cells)
            if CLASSES.index(name) == names.index(row["class"])
        )
        want = patch(field.cells[k][0], 10 * field.seed + k)
        np.testing.assert_array_equal(image(tmp_path / "out" / row["path"]), want)


NAMES = st.lists(
    st.text(st.sampled_from("ab C\u00e9#:'\"-,[]{}&*!?|>%@`0"), min_size=1, max_size=8)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=4,
)


@given(
    names=NAMES,
    in_one_line=st.booleans(),
    as_mapping=st.booleans(),
    before=st.sampled_from(["", "it's", "x # y"]),
)
@settings(max_examples=300)
def test_names_in_yaml_are_read_as_pyyaml_does_or_refused(names, in_one_line, as_mapping, before):
    document = {"path": before, "names": dict(enumerate(names)) if as_mapping else names, "nc": len(names)}
    text = yaml.safe_dump(
        document,
        default_flow_style=None if in_one_line else False,
        allow_unicode=True,
        width=10**6,
        sort_keys=False,
    )
    try:
        got = yaml_names(text)
    except ValueError:
        return
    assert got == dict(enumerate(names))


@pytest.mark.parametrize(
    "text", ["names: RBC", "names: [[a]]", "names: {0: a, 0: b}", "names:\n  0: a: b", "names: *x"]
)
def test_names_that_are_not_understood_are_refused(tmp_path, text):
    yolo(tmp_path / "set", fields(["images/0.png"]), names=text)
    with pytest.raises(
        DataError, match=r"class names in .*data.yaml cannot be read: expected names: \[RBC, WBC\]"
    ):
        crop_set(tmp_path / "set", tmp_path / "out")


def test_names_that_contradict_each_other_are_refused(tmp_path):
    yolo(tmp_path / "set", fields(["images/0.png"]))
    write(tmp_path / "set" / "b.yaml", "names: [a]")
    with pytest.raises(DataError, match="name the classes differently"):
        crop_set(tmp_path / "set", tmp_path / "out")


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

    listed = fields([f"obj_train_data/{i}.png" for i in range(4)])
    yolo(tmp_path / "darknet", listed)
    write(tmp_path / "darknet/train.txt", "data/obj_train_data/0.png\n/home/x/data/obj_train_data/1.png\n")
    write(tmp_path / "darknet/test.txt", "data\\obj_train_data\\2.png\ndata/obj_train_data/3.png\n")
    crop_set(tmp_path / "darknet", tmp_path / "one side")  # by its folder, which every picture is in
    assert "split" not in rows(tmp_path / "one side")[0]


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


def test_everything_wrong_is_told_at_once_and_left_out_with_skip_bad(tmp_path):
    listed = fields([f"images/{i}.png" for i in range(5)])
    yolo(tmp_path / "set", listed)
    bad = {
        "0 0.5 0.5 0.3": "4 values; expected the class and 4",
        "0 0.5 0.5 nan 0.3": "expected a number, got 'nan'",
        "0 0.5 0.5 1e400 0.3": "expected a number, got '1e400'",
        "0 -0.5 0.5 0.3 0.3": "expected fractions of width and height, from 0 to 1, got -0.5",
        "0 105 75 40 40": "expected fractions of width and height, from 0 to 1, got 105",
        "-1 0.5 0.5 0.3 0.3": "expected the number of a class, got -1",
        "0.5 0.5 0.5 0.3 0.3": "expected the number of a class, got 0.5",
        "3 0.5 0.5 0.3 0.3": "class 3 has no name; the set names 3 classes",
        "wbc 0.5 0.5 0.3 0.3": "expected a number, got 'wbc'",
        "0 0.5 0.5 0.02 0.3": "the box is 4.2 x 45 px; expected at least 8 x 8",
        "0 0.95 0.5 0.2 0.3": "reaches out of the picture of 210 x 150 px",
        "0 0.5 0.5 0.1 0.1 0.1 0.1 0.1": "8 values; expected the class and 4, or an outline",
    }
    write(tmp_path / "set/labels/0.txt", yolo_text(listed[0]) + "\n".join(bad))
    (tmp_path / "set/images/1.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    write(tmp_path / "set/labels/lost.txt", yolo_text(listed[0]))
    write(tmp_path / "set/again/2.txt", yolo_text(listed[2]))
    with pytest.raises(DataError) as caught:
        crop_set(tmp_path / "set", tmp_path / "out")
    told = str(caught.value)
    assert "has 15 problem(s), and nothing was written" in told
    assert told.endswith("Leave out what is bad: --skip-bad")
    for number, what in enumerate(bad.values(), 3):
        assert any(f"labels/0.txt line {number}: " in line and what in line for line in told.splitlines()), (
            what
        )
    for part in (
        "images/1.png: ",
        "labels/lost.txt: there is no picture of its name",
        "labels/2.txt: has boxes for",
    ):
        assert part in told
    assert {p.name for p in tmp_path.iterdir()} == {"set"}
    crops = crop_set(tmp_path / "set", tmp_path / "out", skip_bad=True)
    check(tmp_path / "out", [listed[0], listed[3], listed[4]])
    assert crops.bad.count == 15


def test_of_many_problems_twenty_are_shown_and_all_counted(tmp_path):
    yolo(tmp_path / "set", fields(["images/0.png"]))
    write(tmp_path / "set/labels/0.txt", "0 0.5 0.5 2 2\n" * 3000)
    with pytest.raises(DataError, match=r"has 3000 problem\(s\)") as caught:
        crop_set(tmp_path / "set", tmp_path / "out")
    assert "and 2980 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 23
    with pytest.raises(DataError, match="No box is left"):
        crop_set(tmp_path / "set", tmp_path / "out", skip_bad=True)
    write(tmp_path / "set/labels/0.txt", "0 0.5 0.5 0.5 0.5\n" * 5001)
    with pytest.raises(DataError, match="5,001 boxes in 'images/0.png'; expected at most 5,000"):
        crop_set(tmp_path / "set", tmp_path / "out")


VOC_BAD = {
    "<annotation": "is damaged",
    "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>": "declares a document type or entities",
    "<svg><annotation/></svg>": "expected an annotation of Pascal VOC, got 'svg'",
    "<?xml version='1.0' encoding='klingon'?><annotation/>": "is damaged",
    "<annotation>" + "<a>" * 100_000: "is damaged",
    "<annotation><filename>../../etc/x.png</filename></annotation>": "is no path below the folder of the set",
    "<annotation><filename>/etc/x.png</filename></annotation>": "is no path below the folder of the set",
    "<annotation><filename>1.png</filename></annotation>": "says that it is of 'JPEGImages/1.png', and 'JPEGImages/0.png'",
    "<annotation><size><width>-3</width><height>4</height></size></annotation>": "expected a width and height",
    "<annotation><size><width>a</width><height>4</height></size></annotation>": "expected a number, got 'a'",
    "<annotation><object/></annotation>": "object 1: expected a class",
    "<annotation><object><name>a\nb</name></object></annotation>": "expected a class, a line of at most 100",
    "<annotation><object><name>a</name></object></annotation>": "expected a number, got None",
    "<annotation><object><name>a</name><bndbox><xmin>50</xmin><ymin>10</ymin><xmax>20</xmax><ymax>60</ymax></bndbox></object></annotation>": "the box is -30 x 50 px",
}


@pytest.mark.parametrize("text", VOC_BAD)
def test_hostile_annotations_of_voc_are_a_sentence(tmp_path, text):
    listed = fields(["JPEGImages/0.png", "JPEGImages/1.png"])
    voc(tmp_path / "set", listed)
    write(tmp_path / "set/Annotations/0.xml", text)
    with pytest.raises(DataError) as caught:
        crop_set(tmp_path / "set", tmp_path / "out")
    assert "has 1 problem(s)" in str(caught.value)
    assert VOC_BAD[text] in str(caught.value)
    crop_set(tmp_path / "set", tmp_path / "out", skip_bad=True)
    check(tmp_path / "out", [listed[1]])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_entities_are_seen_in_every_encoding(tmp_path, encoding):
    voc(tmp_path / "set", fields(["JPEGImages/0.png"]))
    laughs = "".join(f"<!ENTITY l{i + 1} '{f'&l{i};' * 10}'>" for i in range(12))
    text = f"<!DOCTYPE annotation [<!ENTITY l0 'lol'>{laughs}]><annotation><filename>&l12;</filename></annotation>"
    (tmp_path / "set/Annotations/0.xml").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="declares a document type or entities"):
        crop_set(tmp_path / "set", tmp_path / "out")


def changed(change: Callable[[dict], object]) -> str:
    document = coco(fields(["images/0.png", "images/1.png"]), below="images/")
    change(document)
    return json.dumps(document)


def first(key: str, **values: object) -> str:
    return changed(lambda document: document[key][0].update(values))


COCO_BAD = {
    '{"images": [], "annotations": ': "Expecting value",
    '{"images": {}, "annotations": []}': "expected lists of images, annotations, categories; images, categories is none",
    '["images", "annotations"]': "expected lists of",
    '{"images": 1, "annotations": NaN}': "NaN is no JSON",
    '{"images": ' + "[" * 100_000 + ', "annotations"': "recursion",
    '{"images": ' + "9" * 10_000 + ', "annotations": 1}': "Exceeds the limit",
    first(
        "annotations", bbox=[1, 2, 3]
    ): "annotation 0: expected a bbox of left, top, width and height, got [1, 2, 3]",
    first("annotations", bbox=[1, 2, "x", 4]): "annotation 0: expected a number, got 'x'",
    first("annotations", bbox=[1, 2, True, 4]): "annotation 0: expected a number, got True",
    first("annotations", bbox=[1, 2, 10**400, 4]): "annotation 0: expected a number, got 1000000000",
    first("annotations", bbox=[1, 2, 1e300, 40]): "reaches out of the picture",
    first("annotations", bbox=[31, 2, -30, 40]): "the box is -30 x 40 px; expected at least 8 x 8",
    first("annotations", iscrowd=1): "is a crowd, and no cell",
    first("annotations", image_id=[0]): "its image_id is [0]; expected an id of the file's list",
    first("annotations", category_id=True): "its category_id is True",
    first("annotations", category_id=99): "its category_id is 99",
    changed(lambda d: d["annotations"].append(3)): "annotation 4: its image_id is None",
    changed(lambda d: d["categories"].append({"id": 7})): "categories 3: id 7 is there before",
    changed(lambda d: d["categories"].append([])): "categories 3: expected an object, got []",
    changed(lambda d: d["images"].append({"id": 1.5})): "images 2: expected an id, got 1.5",
    changed(lambda d: d["images"].append({"id": 5, "file_name": 3})): "image 5: expected a file_name, got 3",
    changed(
        lambda d: d["images"].append({"id": 5, "file_name": "x.png"})
    ): "image 5: there is no picture 'x.png'",
    changed(
        lambda d: d["images"].append({"id": 5, "file_name": "../../x.png"})
    ): "is no path below the folder",
    first("images", width="wide"): "image 0: expected a number, got 'wide'",
    first("images", width=WIDTH + 1): "are for 211 x 150",
}


@pytest.mark.parametrize("text", COCO_BAD)
def test_hostile_documents_of_coco_are_a_sentence(tmp_path, text):
    listed = fields(["images/0.png", "images/1.png"])
    for field in listed:
        field.save(tmp_path / "set")
    write(tmp_path / "set/all.json", text)
    with pytest.raises(DataError) as caught:
        crop_set(tmp_path / "set", tmp_path / "out")
    assert COCO_BAD[text] in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"set"}


def test_a_name_that_means_two_pictures_is_told(tmp_path):
    listed = fields(["a/0.png", "b/0.png"])
    for field in listed:
        field.save(tmp_path / "set")
    write(tmp_path / "set/all.json", json.dumps(coco(listed[:1], below="a/")))
    with pytest.raises(DataError, match="picture '0.png' may be 'a/0.png' or 'b/0.png'"):
        crop_set(tmp_path / "set", tmp_path / "out")
    write(tmp_path / "set/all.json", json.dumps(coco(listed)))
    crop_set(tmp_path / "set", tmp_path / "out")
    check(tmp_path / "out", listed)


def test_boxes_in_two_formats_and_no_boxes_are_refused(tmp_path):
    listed = fields(["images/0.png"])
    yolo(tmp_path / "set", listed)
    write(tmp_path / "set/0.xml", voc_text(listed[0]))
    with pytest.raises(DataError, match=r"has boxes of Pascal VOC \(0.xml\) and YOLO \(labels/0.txt\)"):
        crop_set(tmp_path / "set", tmp_path / "out")
    listed[0].save(tmp_path / "bare")
    with pytest.raises(
        DataError, match="expected pictures with boxes of YOLO .* found 1 pictures and no file"
    ):
        crop_set(tmp_path / "bare", tmp_path / "out")
    with pytest.raises(DataError, match="expected a folder of pictures and boxes"):
        crop_set(tmp_path / "none", tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize(("write_set", "name"), [(yolo, "labels/0.txt"), (voc, "images/0.xml")])
def test_a_pipe_in_place_of_a_label_file_is_told_and_not_waited_for(tmp_path, write_set, name):
    write_set(tmp_path / "set", fields(["images/0.png", "images/1.png"]))
    (tmp_path / "set" / name).unlink()
    os.mkfifo(tmp_path / "set" / name)
    with pytest.raises(DataError, match=f"{name}: is a pipe or a device"):
        crop_set(tmp_path / "set", tmp_path / "out")


def test_names_of_classes_and_pictures_lead_nowhere_but_into_the_folder(tmp_path):
    names = ["../../up", "con", "a/b"]
    listed = fields(["images/-.rf.png", "images/sub/-.rf.png", "images/~x.png"], each=1)
    yolo(tmp_path / "set", listed, names=f"names: {json.dumps(names)}")
    crop_set(tmp_path / "set", tmp_path / "out")
    assert {(row["class"], row["path"]) for row in rows(tmp_path / "out")} == {
        ("../../up", "_.._up/rf-1.png"),
        ("con", "con_/rf_2-1.png"),
        ("a/b", "a_b/_x-1.png"),
    }
    assert scan(tmp_path / "out" / "labels.csv").counts == {"../../up": 1, "a/b": 1, "con": 1}
    assert {p.name for p in tmp_path.iterdir()} == {"set", "out"}


@given(wanted=st.lists(st.text(max_size=300), max_size=12, unique=True))
def test_safe_names_differ_on_every_disk_and_have_no_folder(wanted):
    names = safe_names(((text, text) for text in wanted), taken=["labels.csv"])
    assert list(names) == wanted
    assert len({name.casefold() for name in names.values()} | {"labels.csv"}) == len(wanted) + 1
    for name in names.values():
        assert name == Path(name).name
        assert not name.startswith((".", "-"))
        assert 1 <= len(name.encode()) <= 220
        assert name.isprintable()


NASTY = [
    b"nan",
    b"-1",
    b"1e400",
    b"9" * 5000,
    b"",
    b"\0",
    b"../../x.png",
    b"/",
    b"[]",
    b"{}",
    b"null",
    b"true",
    b"<",
    b"\xff\xfe",
]
WHOLE = {
    "labels/0.txt": yolo_text,
    "images/0.xml": voc_text,
    "all.json": lambda field: json.dumps(coco([field])),
    "data.yaml": lambda field: f"names: [{', '.join(CLASSES)}]\n",
}
changes = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(st.sampled_from(NASTY), st.binary(max_size=4))),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", WHOLE)
@given(changes=changes, skip_bad=st.booleans())
@settings(max_examples=60)
def test_a_mangled_label_file_gives_cells_of_the_picture_or_a_sentence(name, changes, skip_bad):
    (field,) = fields(["images/0.png"], each=1)
    content = WHOLE[name](field).encode()
    for where, cut, insert in changes:
        at = int(where * len(content))
        content = content[:at] + insert + content[at + cut :]
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder, "set"), Path(folder, "out")
        field.save(root)
        if name == "data.yaml":
            write(root / "labels/0.txt", yolo_text(field))
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        before = {p: p.read_bytes() for p in root.rglob("*.*")}
        try:
            crops = crop_set(root, out, skip_bad=skip_bad)
        except DataError:
            assert not out.exists()
        else:
            (row,) = rows(out)
            assert crops.counts == {row["class"]: 1}
            assert_part_of(image(out / row["path"]), field.pixels)
        assert {p: p.read_bytes() for p in root.rglob("*.*")} == before
        assert {p.name for p in Path(folder).iterdir()} <= {"set", "out"}


def assert_part_of(cell: np.ndarray, pixels: np.ndarray) -> None:
    side = len(cell)
    assert cell.shape == (side, side, 3)
    places = itertools.product(range(HEIGHT - side + 1), range(WIDTH - side + 1))
    assert any(
        np.array_equal(pixels[y, x], cell[0, 0]) and np.array_equal(pixels[y : y + side, x : x + side], cell)
        for y, x in places
    )


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
