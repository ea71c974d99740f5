"""Every verb that asks a framed model about other images asks it at their camera, as `predict` does."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hemoscope.bundle.file import read_bundle
from hemoscope.errors import DataError, ShapeError
from hemoscope.predict.evaluate import scanned
from hemoscope.predict.model import Model, load
from hemoscope.predict.rows import predict_to
from hemoscope.predict.scorable import a_bundle
from hemoscope.predict.shards import plan_shards, some_of_shards
from hemoscope.predict.verdict import odd_size
from hemoscope.stress.ask import stress
from hemoscope.stress.damaged import damaged
from hemoscope.stress.result import CLEAN, NOT_ASKED, Stressed
from hemoscope.stress.sample import choose
from hemoscope.stress.sample import load as pixels_of
from hemoscope.stress.write import document_of
from tests.framed import FARTHER
from tests.in_process import hemoscope


@pytest.fixture(scope="module")
def model(framed_file: Path) -> Model:
    return load(framed_file, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def files(farther_cells: Path) -> list[Path]:
    return sorted(farther_cells.rglob("*.png"))


@pytest.fixture(scope="module")
def there(model: Model, files: list[Path]) -> Model:
    """The model at the camera that looks less closely."""
    found = model.at_camera(files)
    assert found.nucleus_px == pytest.approx(FARTHER * (model.nucleus_px or 0), rel=0.1)
    return found


def test_a_camera_is_told_by_whatever_can_be_asked_about(model: Model, files: list[Path], there: Model):
    opened = [Image.open(file) for file in files]
    for images in ([str(file) for file in files], opened, [np.asarray(one.convert("RGB")) for one in opened]):
        assert model.seen_px(images) == pytest.approx(there.nucleus_px)
    near = np.asarray(opened[0].convert("RGB")).repeat(2, axis=0).repeat(2, axis=1)
    few_near = model.seen_px(
        [near] * 300 + [files[0]] * 900
    )  # most of what is looked at, and not what comes first
    assert few_near == pytest.approx((model.seen_px([near] * 300) or 0) / 2, rel=0.1)
    with pytest.raises(ShapeError, match="image 0: expected a path"):
        model.at_camera([3])  # pyright: ignore[reportArgumentType]


def test_rows_and_their_summary_are_of_the_camera(
    framed_file: Path, farther_cells: Path, files: list[Path], there: Model, tmp_path: Path
):
    out = tmp_path / "cells.csv"
    done = hemoscope("predict", framed_file, farther_cells, "--out", out, "--device", "cpu", "--json")
    assert json.loads(done.stdout)["nucleus_px"] == pytest.approx(there.nucleus_px)
    assert f"nuclei measure {there.nucleus_px:.0f} px here" in done.stderr
    with out.open(encoding="utf-8") as table:
        margins = [float(row["margin"]) for row in csv.DictReader(table)]
    assert margins == pytest.approx([verdict.margin for verdict in there.judge(files)], abs=0.02)


def test_what_was_begun_at_one_camera_does_not_go_on_at_another(
    model: Model, there: Model, files: list[Path], tmp_path: Path
):
    out = tmp_path / "cells.csv"
    named = [(file.name, file) for file in files[:4]]
    predict_to(out, there, named, keep_parts=True)
    with pytest.raises(DataError, match="was begun with another model or other options"):
        predict_to(out, model, named, keep_parts=True)


def test_an_image_is_of_an_odd_size_by_its_own_camera(model: Model, there: Model):
    small, home = there.card.short_sides_px, model.card.short_sides_px
    assert small is not None
    assert home is not None
    assert small[0] == pytest.approx(FARTHER * home[0], rel=0.12)
    side = home[0] // 2 - 2
    assert odd_size(side, home)
    assert not odd_size(side, small)


def test_heatmaps_are_of_the_answers_of_predict(
    framed_file: Path, model: Model, files: list[Path], tmp_path: Path
):
    pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")
    some = [files[0], files[30], files[60]]
    done = hemoscope("explain", framed_file, *some, "--out", tmp_path / "maps", "--device", "cpu", "--json")
    rows = json.loads(done.stdout)["images"]
    probs = model.at_camera(some).predict_proba(some)
    assert [row["probability"] for row in rows] == pytest.approx(probs.max(axis=1).tolist(), abs=1e-4)
    assert np.abs(probs - model.predict_proba(some)).max() > 1e-3  # at home it would say something else


@pytest.fixture(scope="module")
def stressed(framed_file: Path, round_cells: Path) -> Stressed:
    return stress(a_bundle(load(framed_file, device="cpu"), ""), scanned(round_cells), limit=3, device="cpu")


@pytest.mark.parametrize("condition", [CLEAN, ("smaller", 5), ("larger", 4), ("darker", 3)])
def test_damaged_cells_are_asked_about_as_predict_would_in_a_folder_of_them(
    stressed: Stressed, framed_file: Path, round_cells: Path, condition: tuple[str, int]
):
    asked = a_bundle(load(framed_file, device="cpu"), "")
    sample = choose(asked, scanned(round_cells), limit=3)
    images = pixels_of(sample.manifest, sample.images)
    if condition != CLEAN:
        contents = [image.hash for image in sample.images]
        images = damaged(images, condition, contents, seed=0, device=torch.device("cpu"))
    alone = load(framed_file, device="cpu").at_camera(images)
    assert stressed.cameras[condition] == pytest.approx(alone.nucleus_px)
    said = [stressed.classes[c] for c in stressed.subjects[0].preds[condition]]
    assert said == alone.predict(images).tolist()


def test_a_cell_made_smaller_is_measured_as_smaller_and_backgrounds_are_of_the_clean_camera(
    stressed: Stressed,
):
    clean = stressed.cameras[CLEAN]
    assert clean is not None
    assert stressed.cameras["smaller", 5] == pytest.approx(0.65 * clean, rel=0.15)
    assert stressed.cameras["larger", 5] == pytest.approx(1.6 * clean, rel=0.15)
    assert {stressed.cameras[test, 0] for test in ("hidden", "grey-cell")} == {clean}
    document = document_of(stressed)
    assert document["nucleus_px"] == clean
    smaller = next(c for c in document["corruptions"] if c["name"] == "smaller")
    assert smaller["nucleus_px"][4] == stressed.cameras["smaller", 5]
    asked = {name for (name, _), pred in stressed.subjects[0].preds.items() if (pred != NOT_ASKED).any()}
    assert asked > {"clean", "stain", "hidden", "other-class-ground"}


def test_a_sample_of_shards_comes_from_all_of_them(tmp_path: Path, files: list[Path]):
    for name, some in (("a", files[:30]), ("b", files[30:60])):
        rows = [{"path": str(file)} for file in some]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    rows = [{"path": "torn", "image": b"no image"}, {"path": "c", "image": files[60].read_bytes()}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    shards = plan_shards([str(tmp_path)], 10)
    found = list(some_of_shards(shards, 21))
    assert len(found) == 3 * 6 + 2
    assert {source for source in found if isinstance(source, Path)} <= set(files)
    assert len(list(some_of_shards(shards, 10**6))) == 62


@pytest.mark.slow
def test_an_exported_graph_answers_for_the_camera_that_it_was_written_for(
    framed_file: Path, farther_cells: Path, files: list[Path], there: Model, tmp_path: Path
):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    from hemoscope.export.onnx import TOLERANCE, open_session

    out = tmp_path / "there.onnx"
    done = hemoscope("export", framed_file, "--out", out, "--camera", farther_cells, "--json")
    told = json.loads(done.stdout)
    assert told["nucleus_px"] == pytest.approx(there.nucleus_px)
    assert told["largest_difference"] <= TOLERANCE
    session = open_session(out)
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files[::5]])
    probs, _, distance = session.run(None, {"image": images})
    verdicts = list(there.judge(images))
    np.testing.assert_allclose(probs, [verdict.probs for verdict in verdicts], atol=TOLERANCE)
    np.testing.assert_allclose(distance, [verdict.distance for verdict in verdicts], atol=TOLERANCE)
    about = session.get_modelmeta().custom_metadata_map
    assert float(about["nucleus_px"]) == pytest.approx(there.nucleus_px)
    assert json.loads(about["short_sides_px"]) == list(there.card.short_sides_px or ())
    assert about["bundle"] == read_bundle(framed_file).digest


def test_a_camera_is_refused_where_nothing_is_framed_by_it(
    single_file: Path, framed_file: Path, farther_cells: Path, tmp_path: Path
):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    words = ("--out", tmp_path / "a.onnx", "--camera", farther_cells)
    refused = hemoscope("export", single_file, *words)
    assert refused.returncode == 2
    assert "frames no cells by their nuclei" in refused.stderr
    refused = hemoscope("export", framed_file, *words, "--int8", tmp_path / "b.onnx", "--data", farther_cells)
    assert refused.returncode == 2
    assert "leave --camera out" in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_served_model_is_told_of_a_camera_with_each_request(
    framed_file: Path, files: list[Path], model: Model, there: Model, tmp_path: Path
):
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    import pandas as pd

    from hemoscope.export.mlflow_model import save_mlflow_model

    save_mlflow_model(framed_file, tmp_path / "home")
    save_mlflow_model(framed_file, tmp_path / "there", nucleus_px=there.nucleus_px)
    import mlflow.pyfunc  # by now it has said what it warns of when it is imported

    table = pd.DataFrame({"image": [file.read_bytes() for file in files[::9]]})
    at_home, elsewhere = (mlflow.pyfunc.load_model(str(tmp_path / name)) for name in ("home", "there"))
    for loaded, params, asked in (
        (at_home, None, model),
        (at_home, {"nucleus_px": there.nucleus_px}, there),
        (elsewhere, None, there),
    ):
        margins = loaded.predict(table, params=params)["margin"].tolist()
        assert margins == pytest.approx([v.margin for v in asked.judge(files[::9])], abs=0.02)
