"""Images in a zip or in Parquet are those of the folder they came from."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hemoscope.data.cache import clear, kept
from hemoscope.data.canvas import open_canvas
from hemoscope.data.scan.scan import usable
from hemoscope.data.split import make_split
from hemoscope.errors import DataError
from hemoscope.training.run import prepare
from hemoscope.training.scanned import scan_cached


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def cells(image_folder: Callable[..., Path]) -> Path:
    return image_folder({"ig": 7, "platelet": 6}, size_px=40)


def zipped(folder: Path, path: Path, above: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"{above}{file.relative_to(folder).as_posix()}")
    return path


def rows_of(folder: Path) -> list[tuple[bytes, str]]:
    return [(file.read_bytes(), file.parent.name) for file in sorted(folder.rglob("*.png"))]


def parquet(path: Path, rows: list[tuple[bytes, str]], *, names: list[str] | None = None) -> Path:
    """As Hugging Face writes it: encoded bytes, and numbers whose names are in the metadata."""
    classes = names or sorted({name for _, name in rows})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": classes}}
    table = pa.table(
        {
            "image": [{"bytes": content, "path": None} for content, _ in rows],
            "label": [classes.index(name) for _, name in rows],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("above", ["", "set/", "a/b c/"])
def test_a_zip_of_class_folders_is_the_folder(cells: Path, tmp_path: Path, above: str):
    source = zipped(cells, tmp_path / "cells.zip", above)
    before = source.read_bytes()
    read, folder = scan_cached(source), scan_cached(cells)
    assert read.digest == folder.digest
    assert [image.path for image in read.images] == [image.path for image in folder.images]
    assert not read.problems
    split = make_split(read, policy="paper", seed=0)
    assert split.digest == make_split(folder, policy="paper", seed=0).digest
    assert (open_canvas(read, 32).pixels == open_canvas(folder, 32).pixels).all()
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["cells.zip"]


def test_a_zip_with_a_list_is_read_by_its_list(cells: Path, tmp_path: Path):
    lines = [
        f"{'abcdefghijklm'[i]}.png,{name},{('train', 'val', 'test')[i % 3]}"
        for i, (_, name) in enumerate(rows_of(cells))
    ]
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for i, (content, _) in enumerate(rows_of(cells)):
            archive.writestr(f"set/images/{'abcdefghijklm'[i]}.png", content)
        archive.writestr("set/labels.csv", "\n".join(["path,class,split", *lines]))
    prepared = prepare(tmp_path / "cells.zip")
    assert prepared.split.policy == "given"
    assert prepared.manifest.counts == {"ig": 7, "platelet": 6}


def test_a_zip_is_unpacked_once_listed_cleared_and_unpacked_again(cells: Path, tmp_path: Path, store: Path):
    source = zipped(cells, tmp_path / "cells.zip")
    first = scan_cached(source)
    (item,) = (item for item in kept() if item.what == "unpacked")
    assert item.root == str(source)
    assert item.bytes > sum(file.stat().st_size for file in cells.rglob("*.png"))
    marked = first.root / "ig" / "mark"
    marked.write_text("still the same folder")
    source.touch()
    assert scan_cached(source).root == first.root
    assert marked.exists()
    assert item.path in {each.path for each in clear(kept())}
    assert not first.root.exists()
    assert scan_cached(source).digest == first.digest
    assert not marked.exists()
    (cells / "ig" / "ig_0000.png").unlink()
    assert scan_cached(zipped(cells, source)).digest != first.digest


def test_a_damaged_or_unsafe_zip_is_a_sentence_and_leaves_nothing(cells: Path, tmp_path: Path, store: Path):
    source = zipped(cells, tmp_path / "cells.zip")
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        scan_cached(source)
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("../a/b.png", b"")
    with pytest.raises(DataError, match="not safe to unpack"):
        scan_cached(source)
    assert not [path for path in store.rglob("*") if path.is_file() and path.name != ".lock"]
    assert not (tmp_path / "a").exists()


def test_a_cache_that_cannot_be_written_is_a_sentence(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="HEMOSCOPE_CACHE"):
        scan_cached(zipped(cells, tmp_path / "cells.zip"))


def test_parquet_holds_the_images_their_classes_and_their_sides(cells: Path, tmp_path: Path):
    rows = rows_of(cells)
    for side, part in (("train", rows[::2]), ("validation", rows[1::4]), ("test", rows[3::4])):
        parquet(tmp_path / f"hub/data/{side}-00000-of-00001-abc.parquet", part, names=["ig", "platelet"])
    (tmp_path / "hub" / "README.md").write_text("---\ndataset_info: {}\n---\n")
    prepared = prepare(tmp_path / "hub")
    assert prepared.manifest.counts == {"ig": 7, "platelet": 6}
    assert prepared.split.policy == "given"
    sides = {row.hash: row.side for row in prepared.split.rows}
    folder = {image.hash for image in scan_cached(cells).images}
    assert set(sides) == folder
    assert [sum(side == name for side in sides.values()) for name in ("train", "val", "test")] == [7, 3, 3]


def test_one_parquet_file_of_bytes_and_texts_is_enough(cells: Path, tmp_path: Path):
    rows = rows_of(cells)
    pq.write_table(
        pa.table({"id": range(13), "img": [c for c, _ in rows], "class": [n for _, n in rows]}),
        tmp_path / "cells.parquet",
    )
    read = scan_cached(tmp_path / "cells.parquet")
    assert {image.hash for image in read.images} == {image.hash for image in scan_cached(cells).images}
    assert read.classes == ("ig", "platelet")


def image_bytes() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": [[1, 2]], "label": ["a"]}, "has the columns pixels, label; expected encoded images"),
        ({"image": [b"x"], "kind": ["a"]}, "has the columns image, kind; expected encoded images"),
        ({"image": [None, image_bytes()], "label": ["a", "b"]}, "does not hold it"),
        ({"image": [image_bytes()], "label": [None]}, "has the label None"),
        ({"image": [image_bytes()], "label": [-1]}, "has the label -1"),
        ({"image": [image_bytes()], "label": [0.5]}, "has the label 0.5"),
        ({"image": [image_bytes()], "label": [" "]}, "has the label ' '"),
        ({"image": [b"no image", image_bytes()], "label": ["a", "b"]}, "stop training"),
    ],
)
def test_parquet_that_holds_something_else_is_a_sentence(columns: dict, message: str, tmp_path: Path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=message):
        prepare(path)


def test_damaged_parquet_is_a_sentence(cells: Path, tmp_path: Path, store: Path):
    path = parquet(tmp_path / "x.parquet", rows_of(cells))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 3, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"x\.parquet"):
            scan_cached(path)
    for _ in range(60):
        changed = bytearray(content)
        for at in rng.integers(0, len(content), 8):
            changed[at] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            scan_cached(path)
        except DataError as error:
            assert len(str(error)) < 2000  # noqa: PT017
    assert not list(store.rglob(".data.*"))


def test_files_that_are_renamed_to_other_sides_are_on_other_sides(cells: Path, tmp_path: Path):
    rows = rows_of(cells)
    first = parquet(tmp_path / "hub" / "train-0.parquet", rows[::2], names=["ig", "platelet"])
    second = parquet(tmp_path / "hub" / "test-0.parquet", rows[1::2], names=["ig", "platelet"])
    sides = {image.hash: image.given_side for image in scan_cached(tmp_path / "hub").images}
    first.rename(tmp_path / "hub" / "other.parquet")
    second.rename(first)
    (tmp_path / "hub" / "other.parquet").rename(second)
    swapped = {image.hash: image.given_side for image in scan_cached(tmp_path / "hub").images}
    assert {side: swapped[key] for key, side in sides.items()} == {"train": "test", "test": "train"}
    parquet(tmp_path / "hub" / "extra.parquet", rows[:2], names=["ig", "platelet"])
    with pytest.raises(DataError, match=r"extra\.parquet: expected a name that begins with the side"):
        scan_cached(tmp_path / "hub")


def test_large_binary_columns_hold_images_too(cells: Path, tmp_path: Path):
    rows = rows_of(cells)
    columns = {
        "image": pa.array([content for content, _ in rows], pa.large_binary()),
        "label": pa.array([name for _, name in rows], pa.large_string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "cells.parquet")
    assert scan_cached(tmp_path / "cells.parquet").counts == {"ig": 7, "platelet": 6}


def test_a_zip_of_class_folders_with_a_list_of_labels_is_read_by_the_list(cells: Path, tmp_path: Path):
    """As `data crop` writes it: without the list its sides and groups would be lost."""
    files = sorted(path.relative_to(cells).as_posix() for path in cells.rglob("*.png"))
    lines = [f"{path},{path.split('/')[0]},P{i % 5}" for i, path in enumerate(files)]
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for path in files:
            archive.write(cells / path, f"crops/{path}")
        archive.writestr("crops/labels.csv", "\n".join(["path,class,group", *lines]))
        archive.writestr("README.txt", "crops of a set")
    groups = {image.group for image in scan_cached(tmp_path / "crops.zip").images}
    assert groups == {f"P{i}" for i in range(5)}


def test_a_zip_of_one_class_folder_can_be_scored_and_messages_name_the_zip(
    cells: Path, tmp_path: Path, store: Path
):
    for above in ("", "set/"):
        with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
            for path in (cells / "ig").iterdir():
                archive.write(path, f"{above}ig/{path.name}")
        manifest = scan_cached(tmp_path / "one.zip")
        assert usable(manifest, skip_bad=None, at_least=1).counts == {"ig": 7}
        with pytest.raises(DataError) as error:
            usable(manifest, skip_bad=False)
        assert f"hemoscope data check {tmp_path / 'one.zip'}" in str(error.value)
        assert str(store) not in str(error.value)


def test_a_table_in_a_zip_that_is_no_list_is_named(cells: Path, tmp_path: Path, store: Path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(cells.rglob("*.png")):
            archive.write(path, f"set/{path.relative_to(cells).as_posix()}")
        archive.writestr("notes.csv", "who,when\n")
    with pytest.raises(DataError) as error:
        scan_cached(tmp_path / "set.zip")
    assert f"{tmp_path / 'set' / 'notes.csv'} has 2 problem(s)" in str(error.value)
    assert str(store) not in str(error.value)


def test_advice_on_a_zip_does_not_lead_into_the_cache(cells: Path, tmp_path: Path, store: Path):
    with zipfile.ZipFile(tmp_path / "smears.zip", "w") as archive:
        for i, (content, name) in enumerate(rows_of(cells)):
            archive.writestr(f"patient-{i % 3}/{name}/{i}.png", content)
    with pytest.raises(DataError) as error:
        scan_cached(tmp_path / "smears.zip")
    assert f"hemoscope data list {tmp_path / 'smears'} --out" in str(error.value)
    assert f"First unpack {tmp_path / 'smears.zip'} there" in str(error.value)
    assert str(store) not in str(error.value)
