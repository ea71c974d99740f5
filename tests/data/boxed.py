"""Pictures with cells pasted at known places, and their boxes as each format has them."""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hemoscope.data.synthetic import draw_cell

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
