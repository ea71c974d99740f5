"""Label files of strangers: names are read as they are meant, everything else wrong is a sentence."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hemoscope.data.boxes.crop import crop_set
from hemoscope.data.boxes.safe_names import safe_names
from hemoscope.data.boxes.yolo_names import yaml_names
from hemoscope.data.scan.scan import scan
from hemoscope.errors import DataError
from tests.data.boxed import (
    CLASSES,
    HEIGHT,
    WIDTH,
    check,
    coco,
    fields,
    image,
    patch,
    rows,
    voc,
    voc_text,
    write,
    yolo,
    yolo_text,
)


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
        "again/2.txt: there is no picture of its name",
    ):
        assert part in told
    assert {p.name for p in tmp_path.iterdir()} == {"set"}
    crops = crop_set(tmp_path / "set", tmp_path / "out", skip_bad=True)
    check(tmp_path / "out", [listed[0], *listed[2:5]])
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


def test_labels_whose_picture_is_gone_take_no_picture_of_another_folder(tmp_path):
    listed = fields(["images/b/1.png", "images/b/2.png"])
    for field in listed:
        field.save(tmp_path / "set")
    write(tmp_path / "set/labels/a/1.txt", yolo_text(listed[0]))
    write(tmp_path / "set/labels/b/2.txt", yolo_text(listed[1]))
    with pytest.raises(DataError, match=r"labels/a/1\.txt: there is no picture of its name"):
        crop_set(tmp_path / "set", tmp_path / "out")
