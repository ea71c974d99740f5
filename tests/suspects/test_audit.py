"""An audit of labels: which images it asks about, what it doubts, what it lists, what it leaves out of a split."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split, read_split, write_split
from hemoscope.errors import DataError, RunError, SplitError, UnknownNameError
from hemoscope.records import Manifest, Split, SplitRow
from hemoscope.suspects.audit import audit_labels
from hemoscope.suspects.corrected import without
from hemoscope.suspects.gather import gather
from hemoscope.suspects.sheet import Tile, contact_sheet
from hemoscope.suspects.write import write_audit
from tests.data.test_split import cell, manifest_of, plain
from tests.suspects.conftest import write_folds, write_run

COUNTS = {"a": 30, "b": 24, "c": 18}
PLANTED = {"a/00003.jpg": "b", "a/00017.jpg": "c", "b/00009.jpg": "a"}


@pytest.fixture
def manifest() -> Manifest:
    return plain(COUNTS)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_are_found_over_folds_with_what_they_should_be(manifest: Manifest, tmp_path: Path):
    write_folds(tmp_path, manifest, PLANTED)
    found = audit_labels(tmp_path)
    assert {s.path: s.suggested for s in found.suspects} == PLANTED
    assert found.answers.of_folds
    assert found.answers.unanswered == 0
    assert found.answers.asked.tolist() == [1] * 72
    assert [s.margin for s in found.suspects] == sorted(s.margin for s in found.suspects)
    assert {(p.given, p.suggested, p.suspects, p.labelled) for p in found.pairs} == {
        ("a", "b", 1, 30),
        ("a", "c", 1, 30),
        ("b", "a", 1, 24),
    }


def test_answers_of_several_seeds_are_averaged(manifest: Manifest, tmp_path: Path):
    for seed in (0, 1):
        write_folds(tmp_path, manifest, PLANTED, seed=seed)
    got = gather(tmp_path)
    assert got.asked.tolist() == [2] * 72
    alone = []
    for seed in (0, 1):
        write_folds(tmp_path / f"s{seed}", manifest, PLANTED, seed=seed)
        alone.append(gather(tmp_path / f"s{seed}").probs)
    np.testing.assert_allclose(got.probs, np.mean(alone, axis=0))


def test_images_of_folds_that_are_not_done_are_counted_and_the_rest_is_judged(
    manifest: Manifest, tmp_path: Path
):
    runs = write_folds(tmp_path, manifest, PLANTED)
    (runs[1] / "DONE").unlink()
    found = audit_labels(tmp_path)
    digest = json.loads((runs[1] / "run.json").read_text("utf-8"))["split"]["digest"]
    split = read_split(tmp_path / "splits" / f"{digest[:16]}.csv", manifest)
    missing = {row.path for row in split.side("test")}
    assert found.answers.unanswered == len(missing)
    assert {s.path for s in found.suspects} == set(PLANTED) - missing


def test_other_runs_are_judged_by_their_validation_side_unless_asked(manifest: Manifest, tmp_path: Path):
    split = make_split(manifest, policy="paper", seed=0)
    write_run(tmp_path, manifest, split, PLANTED)
    sides = {side: tuple(row.path for row in split.side(side)) for side in ("val", "test")}
    assert gather(tmp_path).paths == sides["val"]
    assert gather(tmp_path, side="test").paths == sides["test"]
    both = gather(tmp_path, side="both")
    assert both.paths == tuple(sorted(sides["val"] + sides["test"]))
    assert not both.of_folds
    assert both.unanswered == len(split.side("train"))
    with pytest.raises(UnknownNameError, match="train"):
        gather(tmp_path, side="train")  # type: ignore[arg-type]


def test_runs_of_folds_are_not_mixed_with_others_and_other_data_are_left_out(
    manifest: Manifest, tmp_path: Path
):
    write_folds(tmp_path, manifest, PLANTED)
    write_run(tmp_path, manifest, make_split(manifest, policy="paper", seed=0), {}, name="ordinary")
    other = plain({"a": 9, "b": 9})
    write_run(tmp_path, other, make_split(other, policy="paper", seed=0), {}, name="elsewhere")
    found = audit_labels(tmp_path)
    assert {s.path for s in found.suspects} == set(PLANTED)
    reasons = {item.name: item.reason for item in found.answers.left_out}
    assert reasons["ordinary"] == "no run of a fold"
    assert reasons["elsewhere"].startswith("of other images or classes than ")


def test_runs_that_contradict_each_other_in_a_label_are_refused(manifest: Manifest, tmp_path: Path):
    split = make_split(manifest, policy="paper", seed=0)
    write_run(tmp_path, manifest, split, {}, name="one")
    rows = tuple(row._replace(class_name="b") if row.side == "val" else row for row in split.rows)
    write_run(tmp_path, manifest, Split(rows, "paper", 0), {}, name="two")
    with pytest.raises(RunError, match=r"two has another label for 'a/\d+\.jpg'"):
        gather(tmp_path)


def test_contradictory_duplicates_are_listed_whatever_networks_say_and_are_left_out(tmp_path: Path):
    pair = [cell("a/twice.jpg", "same"), cell("b/twice.jpg", "same")]
    manifest = manifest_of(
        [*plain(COUNTS).images, *pair, cell("a/again.jpg", "fine"), cell("a/first.jpg", "fine")]
    )
    write_folds(tmp_path, manifest, {"a/twice.jpg": "c", "b/twice.jpg": "c"} | PLANTED)
    found = audit_labels(tmp_path, also_test=True)
    assert found.contradictions == ((("a/twice.jpg", "a"), ("b/twice.jpg", "b")),)
    assert found.duplicates_by == "bytes"
    assert found.corrected
    left = {row.path for row in found.corrected.split.rows}
    assert {image.path for image in manifest.images} - left == {"a/twice.jpg", "b/twice.jpg", *PLANTED}


def test_a_suspect_says_how_many_of_its_duplicates_are_labelled_as_is_suggested(tmp_path: Path):
    copies = [cell("a/x.jpg", "same"), cell("b/x.jpg", "same"), cell("b/y.jpg", "same")]
    manifest = manifest_of([*plain(COUNTS).images, *copies])
    write_folds(tmp_path, manifest, {"a/x.jpg": "b"})
    (suspect,) = audit_labels(tmp_path).suspects
    assert (suspect.path, suspect.suggested, suspect.confirmed) == ("a/x.jpg", "b", 2)
    assert suspect.duplicates == (("b/x.jpg", "b"), ("b/y.jpg", "b"))


def test_what_is_doubted_leaves_training_and_validation_and_stays_on_test_by_default(
    manifest: Manifest, tmp_path: Path
):
    write_folds(tmp_path, manifest, PLANTED)
    for also_test in (False, True):
        found = audit_labels(tmp_path, also_test=also_test)
        base, corrected = found.answers.split, found.corrected
        assert base
        assert corrected
        assert base.policy == "given"
        gone = {row for row in base.rows if row.path in PLANTED and (also_test or row.side != "test")}
        assert set(base.rows) - set(corrected.split.rows) == gone
        assert set(corrected.split.rows) <= set(base.rows)
        assert corrected.left_out == len(gone)
        assert corrected.kept_on_test == len(PLANTED) - len(gone)
        write_split(corrected.split, tmp_path / "corrected.csv")
        assert read_split(tmp_path / "corrected.csv", manifest).digest == corrected.split.digest


def test_the_split_to_correct_is_that_of_the_first_fold(manifest: Manifest, tmp_path: Path):
    runs = write_folds(tmp_path, manifest, PLANTED)
    first = json.loads((runs[0] / "run.json").read_text("utf-8"))["split"]
    assert first["policy"] == "fold 1 of 3"
    split = gather(tmp_path).split
    assert split
    assert split.digest == first["digest"]


def test_a_class_without_training_images_makes_no_corrected_split():
    rows = tuple(
        SplitRow(f"{name}/{i}", name, "", "", side)
        for name in ("a", "b")
        for i, side in enumerate(("train", "val", "test"))
    )
    with pytest.raises(SplitError, match="class 'a' without a training image"):
        without(Split(rows, "paper", 0), {"a/0"}, also_test=False)
    with pytest.raises(SplitError, match="no val image"):
        without(Split(rows, "paper", 0), {"a/1", "b/1"}, also_test=False)


def test_everything_is_written_and_an_occupied_folder_is_refused(
    image_folder: Callable[..., Path], tmp_path: Path
):
    cells = image_folder({"a": 12, "b": 12})
    shutil.copy(cells / "a" / "a_0001.png", cells / "b" / "b_copy.png")
    manifest = scan(cells)
    write_folds(tmp_path / "runs", manifest, {"a/a_0005.png": "b"})
    found = audit_labels(tmp_path / "runs")
    assert found.duplicates_by == "pixels"
    write_audit(found, tmp_path / "out")
    (suspect,) = table(tmp_path / "out" / "suspects.csv")
    assert (suspect["number"], suspect["path"]) == ("1", "a/a_0005.png")
    assert (suspect["given"], suspect["suggested"]) == ("a", "b")
    assert float(suspect["prob_b"]) == float(suspect["prob_suggested"]) > 0.9
    assert [row["path"] for row in table(tmp_path / "out" / "contradictions.csv")] == [
        "a/a_0001.png",
        "b/b_copy.png",
    ]
    read_split(tmp_path / "out" / "corrected.csv", manifest)
    for name in ("suspects.png", "contradictions.png"):
        with Image.open(tmp_path / "out" / name) as sheet:
            assert np.asarray(sheet).std() > 0
    assert json.loads((tmp_path / "out" / "audit.json").read_text("utf-8")) == json.loads(
        json.dumps(found.to_json(), default=list)
    )
    with pytest.raises(DataError, match="is there already"):
        write_audit(found, tmp_path / "out")


def test_images_that_moved_are_named_and_others_are_refused(
    image_folder: Callable[..., Path], tmp_path: Path
):
    cells = image_folder({"a": 12, "b": 12})
    write_folds(tmp_path / "runs", scan(cells), {"a/a_0005.png": "b"})
    moved = cells.rename(tmp_path / "moved")
    found = audit_labels(tmp_path / "runs")
    assert found.root is None
    assert found.duplicates_by == "bytes"
    write_audit(found, tmp_path / "out")
    assert not (tmp_path / "out" / "suspects.png").exists()
    assert audit_labels(tmp_path / "runs", data=moved).root == moved
    (moved / "a" / "a_0000.png").unlink()
    with pytest.raises(DataError, match="does not hold the images of these runs"):
        audit_labels(tmp_path / "runs", data=moved)
    with pytest.raises(DataError, match="is checked against the images"):
        audit_labels(tmp_path / "runs", split_file=tmp_path / "split.csv")


def test_any_other_split_of_the_images_can_be_corrected(image_folder: Callable[..., Path], tmp_path: Path):
    cells = image_folder({"a": 12, "b": 12})
    manifest = scan(cells)
    write_folds(tmp_path / "runs", manifest, {"a/a_0005.png": "b"})
    split = make_split(manifest, policy="paper", seed=7)
    write_split(split, tmp_path / "split.csv")
    found = audit_labels(tmp_path / "runs", split_file=tmp_path / "split.csv", also_test=True)
    assert found.corrected
    assert found.corrected.base == split.digest
    assert set(split.rows) - set(found.corrected.split.rows) == {
        r for r in split.rows if r.path == "a/a_0005.png"
    }


def test_a_sheet_shows_each_picture_in_its_place_and_fits_long_names():
    pixels = {f"{i}": np.full((40, 40, 3), 20 * i, np.uint8) for i in range(10)}
    tiles = [Tile(f"{i}", ("a" * 200, "b\x1b[2J")) for i in range(10)]
    sheet = np.asarray(Image.open(BytesIO(contact_sheet(tiles, pixels))))
    rows, columns = sheet.shape[0] // 2, sheet.shape[1] // 8
    for i in range(10):
        tile = sheet[i // 8 * rows : (i // 8 + 1) * rows, i % 8 * columns : (i % 8 + 1) * columns]
        assert (tile == 20 * i).all(axis=2).sum() >= 40 * 40
