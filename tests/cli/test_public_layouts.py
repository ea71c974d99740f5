"""From the folders that public sets of blood cells come in to a trained network, by the commands of the docs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.split_file import read_split
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.training.scanned import scan_cached

CLASSES = ("lymphocyte", "neutrophil", "platelet")
TINY = ["--recipe", "demo", "--epochs", "1", "--device", "cpu"]
EACH = 8
CELL_PX = 64


def cells() -> list[tuple[str, int, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(name, i, draw_cell(name, size_px=CELL_PX, rng=rng)) for name in CLASSES for i in range(EACH)]


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def patients(root: Path) -> tuple[list[list[str]], str]:
    """PATIENT/CLASS/IMAGE."""
    for name, i, pixels in cells():
        save(pixels, root / f"patient-{i % 4}" / name / f"{name}-{i}.png")
    return [["data", "list", "set", "--class-level", "2", "--group-level", "1", "--out", "set/labels.csv"]], (
        "set/labels.csv"
    )


def masks(root: Path) -> tuple[list[list[str]], str]:
    """CLASS/IMAGE.bmp and CLASS/IMAGE.png, its mask."""
    for name, i, pixels in cells():
        save(pixels, root / name / f"{i:03}.bmp")
        dark = pixels.mean(axis=2) < pixels.mean()
        save((dark * 255).astype(np.uint8), root / name / f"{i:03}.png")
    return [], "set"


def boxes(root: Path) -> tuple[list[list[str]], str]:
    """Pascal VOC: fields of view of four cells, a box around each."""
    all_cells = cells()
    for field in range(len(all_cells) // 4):
        view = np.full((200, 200, 3), 235, np.uint8)
        objects = ""
        for k, (name, _, pixels) in enumerate(all_cells[field::6]):
            x, y = 20 + 90 * (k % 2), 20 + 90 * (k // 2)
            view[y : y + CELL_PX, x : x + CELL_PX] = pixels
            edges = {"xmin": x + 1, "ymin": y + 1, "xmax": x + CELL_PX, "ymax": y + CELL_PX}
            box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges.items())
            objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
        save(view, root / "JPEGImages" / f"view-{field}.png")
        label = root / "Annotations" / f"view-{field}.xml"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"<annotation><filename>view-{field}.png</filename>{objects}</annotation>")
    return [["data", "crop", "set", "--out", "set-cells"]], "set-cells/labels.csv"


def listed(root: Path) -> tuple[list[list[str]], str]:
    """images/IMAGE and a CSV of labels with the sides that were published."""
    lines = ["image,label,split"]
    for name, i, pixels in cells():
        save(pixels, root / "images" / f"{name[:2]}{i}.png")
        lines.append(f"images/{name[:2]}{i}.png,{name},{('train', 'train', 'valid', 'test')[i % 4]}")
    (root / "labels.csv").write_text("\n".join(lines))
    return [], "set/labels.csv"


def hemoscope(*words: str, cwd: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "hemoscope", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [patients, masks, boxes, listed])
def test_a_public_layout_goes_from_folder_to_a_trained_network(
    layout: Callable[[Path], tuple[list[list[str]], str]], tmp_path: Path
):
    commands, data = layout(tmp_path / "set")
    for words in commands:
        hemoscope(*words, cwd=tmp_path)
    manifest = scan_cached(tmp_path / data)
    assert manifest.counts == dict.fromkeys(CLASSES, EACH)
    trained = hemoscope("train", "squeezenet1_1", "--data", data, *TINY, cwd=tmp_path)
    assert list(trained["classes"]) == list(CLASSES)
    split = read_split(next((tmp_path / "runs" / "splits").glob("*.csv")), manifest)
    assert sum(Counter(row.side for row in split.rows).values()) == len(CLASSES) * EACH
    sides = defaultdict(set)
    group_of = {image.path: image.group for image in manifest.images}
    for row in split.rows:
        sides[group_of[row.path]].add(row.side)
    if layout in (patients, boxes):
        assert len(sides) > 3
        assert all(len(found) == 1 for found in sides.values())  # of one patient, of one picture
    if layout is listed:
        assert Counter(row.side for row in split.rows) == {"train": 12, "val": 6, "test": 6}
