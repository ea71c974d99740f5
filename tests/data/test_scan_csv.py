"""Labels from a CSV: read as people write them, everything wrong told at once, the rest like a folder."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from hemoscope.data.canvas import open_canvas
from hemoscope.data.scan.csv_rows import csv_text
from hemoscope.data.scan.list_folder import Levels, write_list
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split, read_split, write_split
from hemoscope.errors import DataError
from hemoscope.training.run import prepare

UMLAUT = "B\u00f6hm.png"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve different pictures in `cells`, with a CSV to be written beside them."""
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        (tmp_path / "cells").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "cells" / f"{i:02d}.png")
    return tmp_path


def lines(head: str, line: str, n: int = 12) -> str:
    return "\n".join([head, *(line.format(i=i, c="ab"[i % 2], g=i // 4) for i in range(n))]) + "\n"


PLAIN = lines("path,class", "cells/{i:02d}.png,{c}")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.encode("utf-32-le"),
        PLAIN.encode("utf-32-be"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace("cells/", "cells\\").encode(),
        PLAIN.replace("cells/", ".\\cells\\").encode(),
        lines(
            "Label,Filename,width_px", " {c} , {i:02d}.png ,9"
        ).encode(),  # all in one folder beside the CSV
    ],
)
def test_a_list_is_the_folder_it_describes(pictures, data):
    (pictures / "labels.csv").write_bytes(data)
    manifest = scan(pictures / "labels.csv")
    assert manifest.root == pictures
    assert manifest.problems == ()
    assert {image.path: image.class_name for image in manifest.images} == {
        f"cells/{i:02d}.png": "ab"[i % 2] for i in range(12)
    }
    assert manifest.digest == scan(pictures / "labels.csv").digest


def test_absolute_paths_inside_the_folder_and_names_of_other_unicode_forms_are_found(pictures):
    (pictures / "cells" / "00.png").rename(pictures / "cells" / "Bo\u0308hm.png")
    text = PLAIN.replace("00.png", UMLAUT).replace("cells/01", str(pictures / "cells" / "01"))
    (pictures / "labels.csv").write_text(text, encoding="utf-8")
    paths = [image.path for image in scan(pictures / "labels.csv").images]
    assert paths[0] == "cells/01.png"
    assert paths[-1] == "cells/Bo\u0308hm.png"


def test_names_that_two_folders_hold_are_refused_for_one_may_be_of_masks(pictures):
    (pictures / "a-masks").mkdir()
    for i in range(1, 12):  # one is missing
        Image.new("L", (9, 9)).save(pictures / "a-masks" / f"{i:02d}.png")
    (pictures / "labels.csv").write_text(lines("filename,label", "{i:02d}.png,{c}"))
    with pytest.raises(DataError, match="are in a-masks and in cells; write the folder that is meant before"):
        scan(pictures / "labels.csv")


def test_the_folder_that_holds_the_names_is_used_whatever_lies_in_others(pictures):
    for folder in ("aa", ".previews"):
        (pictures / folder).mkdir()
        (pictures / folder / "01.png").write_bytes((pictures / "cells" / "02.png").read_bytes())
    (pictures / "labels.csv").write_text(lines("filename,label", "{i:02d}.png,{c}"))
    assert {image.path.split("/")[0] for image in scan(pictures / "labels.csv").images} == {"cells"}
    (pictures / "labels.csv").write_text(lines("filename,label", "{i:02d}.png,{c}", 14))
    with pytest.raises(
        DataError, match=r"2 problem\(s\):\n  line 14: '12.png' is not in cells\n  line 15: '13.png'"
    ):
        scan(pictures / "labels.csv")


def test_a_file_listed_under_two_unicode_forms_of_its_name_is_listed_twice(pictures):
    (pictures / "cells" / "00.png").rename(pictures / "cells" / UMLAUT)
    text = PLAIN.replace("00.png", UMLAUT) + "cells/Bo\u0308hm.png,b\n"
    (pictures / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="line 14: 'cells/Bo\u0308hm.png' is listed before, on line 2"):
        scan(pictures / "labels.csv")


def test_a_patient_is_one_in_whatever_unicode_form(pictures):
    text = lines("path,class,patient", "cells/{i:02d}.png,{c},M\u00fcller").replace(
        "cells/01.png,b,M\u00fcller", "cells/01.png,b,Mu\u0308ller"
    )
    (pictures / "labels.csv").write_text(text, encoding="utf-8")
    assert {image.group for image in scan(pictures / "labels.csv").images} == {"M\u00fcller"}


@pytest.mark.skipif(sys.platform == "darwin", reason="its disks have one form of a name")
def test_folders_of_two_unicode_forms_are_listed_as_one_patient_and_one_class(tmp_path):
    for n, name in enumerate(("M\u00fcller", "Mu\u0308ller")):
        (tmp_path / "set" / name / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (n, 0, 0)).save(tmp_path / "set" / name / name / "1.png")
    levels = Levels(class_name=2, group=1)
    assert write_list(tmp_path / "set", tmp_path / "labels.csv", levels) == {"M\u00fcller": 2}
    listing = (tmp_path / "labels.csv").read_text("utf-8")
    assert listing.count(",M\u00fcller,M\u00fcller\n") == 2


def test_a_list_in_excels_own_encoding_is_told_so(pictures):
    (pictures / "labels.csv").write_bytes(PLAIN.replace(",b", ",m\u00fcller").encode("cp1252"))
    with pytest.raises(
        DataError, match=r"1 problem\(s\):\n  it is not UTF-8 \(line 3: .*; save it as CSV UTF-8"
    ):
        scan(pictures / "labels.csv")
    (pictures / "cells" / "00.png").rename(pictures / "cells" / UMLAUT)
    (pictures / "labels.csv").write_bytes(PLAIN.replace("00.png", UMLAUT).encode("cp1252"))
    with pytest.raises(DataError, match=r"it is not UTF-8 \(line 2: .*\n  line 2: .* is not there"):
        scan(pictures / "labels.csv")


def test_canvas_split_and_split_file_work_as_for_a_folder(pictures, tmp_path):
    (pictures / "labels.csv").write_text(PLAIN)
    prepared = prepare(pictures / "labels.csv")
    canvas = open_canvas(prepared.manifest, 9, folder=tmp_path / "canvas")
    with Image.open(pictures / "cells" / "03.png") as image:
        np.testing.assert_array_equal(canvas.pixels[canvas.index["cells/03.png"]], np.asarray(image))
    write_split(prepared.split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", prepared.manifest).digest == prepared.split.digest


def test_given_sides_are_used(pictures):
    text = lines("path,class,split", "cells/{i:02d}.png,{c},{g}")
    for old, new in (("0", "Train"), ("1", "valid"), ("2", "TEST")):
        text = text.replace(f",{old}\n", f",{new}\n")
    (pictures / "labels.csv").write_text(text)
    split = prepare(pictures / "labels.csv").split
    assert (split.policy, split.seed) == ("given", None)
    assert split.counts == {side: {"a": 2, "b": 2} for side in ("train", "val", "test")}


def test_a_group_is_on_one_side(pictures):
    (pictures / "labels.csv").write_text(lines("path,class,patient", "cells/{i:02d}.png,{c},P{g}"))
    manifest = scan(pictures / "labels.csv")
    for seed in range(5):
        side = {row.path: row.side for row in make_split(manifest, policy="paper", seed=seed).rows}
        of = [{side[f"cells/{i:02d}.png"] for i in range(g, g + 4)} for g in (0, 4, 8)]
        assert sorted(map(sorted, of)) == [["test"], ["train"], ["val"]]


def test_everything_wrong_is_told_at_once(pictures):
    rows = ["cells/00.png,a,train", "cells/00.png,a,train", "../x.png,a,train", "cells/01.png,,train"]
    rows += ["cells/02.png,a,held out", "cells/03.png,a", "/etc/passwd,a,train", "C:\\x.png,a,train"]
    rows += ["cells/gone.png,a,val"]
    (pictures / "labels.csv").write_text("\n".join(["path,class,split", *rows]))
    with pytest.raises(DataError) as caught:
        scan(pictures / "labels.csv")
    for part in (
        "labels.csv has 8 problem(s)",
        "line 3: 'cells/00.png' is listed before, on line 2",
        "line 4: '../x.png' is no path below the folder of the CSV",
        "line 5: 'cells/01.png' has no class",
        "line 6: 'cells/02.png' is on side 'held out'; expected train, val or test",
        "line 7: 2 values; expected 3",
        "line 8: '/etc/passwd' is no path below",
        "line 9: 'C:/x.png' is no path below",
        "line 10: 'cells/gone.png' is not there",
    ):
        assert part in str(caught.value)


def test_all_missing_files_are_told_at_once(pictures):
    (pictures / "labels.csv").write_text(PLAIN + f"cells/gone.png,a\nlost.png,b\n{'x' * 300}.png,b\n")
    with pytest.raises(DataError, match=r"3 problem\(s\)") as caught:
        scan(pictures / "labels.csv")
    assert "line 14: 'cells/gone.png' is not there" in str(caught.value)
    assert "'lost.png' is not there" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column path is missing; found: none"),
        ("path,size\n", "column class is missing; found: path, size"),
        ("path,file,class\n", "more than one column for path: path, file"),
        ('path,class\n"a', "no CSV file"),
    ],
)
def test_what_is_no_list_is_refused(pictures, text, message):
    (pictures / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        scan(pictures / "labels.csv")


def test_images_with_a_list_beside_them_are_refused_with_the_way_to_use_it(pictures):
    (pictures / "labels.csv").write_text(PLAIN)
    with pytest.raises(DataError, match=r"found images and labels\.csv.*give it in place of the folder"):
        scan(pictures)


def patients(root: Path) -> Path:
    for n, folder in enumerate(["P1/a", "P1/b", "P2/a", "P2/b", "P3/a", "P3/b"]):
        (root / folder).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(10 * n + i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f" {i},é.png")
    return root


@pytest.mark.parametrize("out", ["set/labels.csv", "labels.csv"])
def test_patients_go_from_folder_to_split_by_way_of_a_list(tmp_path, out):
    root = patients(tmp_path / "set")
    counts = write_list(root, tmp_path / out, Levels(class_name=2, group=1))
    assert counts == {"a": 6, "b": 6}
    manifest = scan(tmp_path / out)
    assert {(image.class_name, image.group) for image in manifest.images} == {
        (c, g) for c in "ab" for g in ("P1", "P2", "P3")
    }
    split = make_split(manifest, policy="paper", seed=0)
    assert split.counts == {side: {"a": 2, "b": 2} for side in ("train", "val", "test")}


def test_a_list_can_leave_classes_out_and_name_sides(tmp_path):
    for side in ("TRAIN", "val", "test"):
        patients(tmp_path / "set" / side)
    counts = write_list(
        tmp_path / "set", tmp_path / "labels.csv", Levels(class_name=3, side=1), leave_out=["b"]
    )
    assert counts == {"a": 18}
    manifest = scan(tmp_path / "labels.csv")
    assert {image.given_side for image in manifest.images} == {"train", "val", "test"}


def test_what_cannot_be_listed_is_refused(tmp_path):
    root = patients(tmp_path / "set")
    with pytest.raises(DataError, match="in 2 folder.*expected at least 3"):
        write_list(root, root / "l.csv", Levels(class_name=3))
    with pytest.raises(DataError, match="is on side 'P1'"):
        write_list(root, root / "l.csv", Levels(class_name=2, side=1))
    with pytest.raises(DataError, match="no class c to leave out"):
        write_list(root, root / "l.csv", Levels(class_name=2), leave_out=["c"])
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match="in the folder .* or above it"):
        write_list(root, tmp_path / "elsewhere" / "l.csv", Levels(class_name=2))
    assert list(root.glob("*.csv")) == []
    (root / "l.csv").touch()
    with pytest.raises(DataError, match="there already"):
        write_list(root, root / "l.csv", Levels(class_name=2))


def line_by_definition(row):
    """Quoted is a value with a comma, a quote or a line end in it, or a blank at its end."""
    odd = [any(c in value for c in ',"\r\n') or value != value.strip() for value in row]
    return ",".join(
        '"' + value.replace('"', '""') + '"' if quote else value
        for value, quote in zip(row, odd, strict=True)
    )


VALUES = st.text(st.sampled_from(list('ab ,"\r\n\t\x1c\u2028\ufeffö')), max_size=3)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=4))
@example([("a,b", "c"), ("a", "b")])
@example([("", ""), ("a", "b c")])
def test_a_line_is_quoted_where_it_must_be_whatever_lines_are_beside_it(rows):
    text = csv_text(rows).decode("utf-8")
    assert text == "".join(line_by_definition(row) + "\n" for row in rows)
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)] == rows


@pytest.mark.parametrize("row", [("",), ("a b",), (" ",)])
def test_a_line_of_one_value_stays_a_line(row):
    assert csv_text([("a",), row, ("b",)]).decode() == "".join(
        line_by_definition(r) + "\n" for r in (("a",), row, ("b",))
    )
