"""A bundle as a model of MLflow answers as the bundle does, in this process and from a server."""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hemoscope
from hemoscope.bundle.file import read_bundle
from hemoscope.cli.app import app
from hemoscope.data.synthetic import write_dataset
from hemoscope.errors import BundleError, DataError, MissingPackageError
from hemoscope.export.mlflow_model import save_mlflow_model
from tests.tracking.servers import mlflow as mlflow_process

pytest.importorskip("mlflow", reason="the extra `track` is not installed")


@pytest.fixture(scope="module")
def folder(ensemble_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ensemble as MLflow keeps it."""
    out = tmp_path_factory.mktemp("mlflow") / "blood"
    compared, worst = save_mlflow_model(ensemble_file, out)
    assert compared == len(read_bundle(ensemble_file).cells)
    assert worst < 1e-6
    return out


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three drawn cells and a file that is none."""
    root = tmp_path_factory.mktemp("drawn") / "cells"
    write_dataset(root, per_class=1, size_px=64, seed=3)
    torn = root / "torn.png"
    torn.write_bytes(b"\x89PNG\r\n and no more")
    return [*sorted(root.glob("*/*.*"))[:3], torn]


def answers(model: Path, files: list[Path]) -> list[dict[str, Any]]:
    """Return what `hemoscope predict` says of files."""
    words = ["predict", str(model), *map(str, files), "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output  # one of them cannot be read
    return json.loads(done.stdout)


def same(got: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [list(row) for row in got] == [list(row) for row in wanted]
    for mine, his in zip(got, wanted, strict=True):
        numbers = {key for key, value in his.items() if isinstance(value, float)}
        assert {k: v for k, v in mine.items() if k not in numbers} == {
            k: v for k, v in his.items() if k not in numbers
        }
        assert [mine[key] for key in numbers] == pytest.approx([his[key] for key in numbers], abs=1e-5)


def test_mlflow_loads_it_without_a_pickle_and_it_answers_as_predict_does(
    folder: Path, ensemble_file: Path, cells: list[Path]
):
    import mlflow
    import pandas as pd

    assert not list(folder.rglob("*.pkl"))
    assert (folder / "data" / "model.hemo").read_bytes() == ensemble_file.read_bytes()
    requirements = (folder / "requirements.txt").read_text().split()
    assert requirements == [f"mlflow=={mlflow.__version__}", f"hemoscope[track]=={hemoscope.__version__}"]
    loaded = mlflow.pyfunc.load_model(str(folder))
    content = [file.read_bytes() for file in cells]
    wanted = answers(ensemble_file, cells)
    for images in (content, [base64.b64encode(c).decode() for c in content]):
        table = pd.DataFrame({"image": images, "path": [file.as_posix() for file in cells]})
        same(loaded.predict(table).to_dict("records"), wanted)
    assert [row["status"] for row in wanted][-1] == "error"
    outputs = [column.name for column in loaded.metadata.get_output_schema().inputs]
    assert set(outputs) == set(wanted[0])


def test_what_is_no_image_is_a_row_with_its_reason(folder: Path):
    import mlflow
    import pandas as pd

    loaded = mlflow.pyfunc.load_model(str(folder))
    bad = [
        "not base64!",
        "",
        None,
        "/etc/passwd",
        base64.b64encode(b"no image").decode(),
        "data:image/png;base64,AAAA",
    ]
    rows = loaded.predict(pd.DataFrame({"image": pd.Series(bad, dtype=object)})).to_dict("records")
    assert [row["status"] for row in rows] == ["error"] * len(bad)
    assert [row["path"] for row in rows] == [f"image {i}" for i in range(len(bad))]
    assert all(row["error"] for row in rows)
    assert all(row["margin"] is None for row in rows)
    assert loaded.predict(pd.DataFrame({"image": pd.Series([], dtype=object)})).to_dict("records") == []


def test_a_folder_that_is_there_and_a_file_that_is_no_bundle_are_refused(
    folder: Path, single_file: Path, tmp_path: Path
):
    with pytest.raises(DataError, match="is there already"):
        save_mlflow_model(single_file, folder)
    (tmp_path / "no.hemo").write_bytes(b"no")
    with pytest.raises(BundleError):
        save_mlflow_model(tmp_path / "no.hemo", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_extra(
    single_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hemoscope\[track\]'"):
        save_mlflow_model(single_file, tmp_path / "out")


def test_options_of_onnx_are_refused(single_file: Path, tmp_path: Path):
    words = ["export", str(single_file), "--format", "mlflow", "--out", str(tmp_path / "out")]
    for more in (["--int8", "x"], ["--data", "x"], ["--overwrite"]):
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == 2
        assert "goes with --format onnx only" in " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills groups of processes")
def test_a_served_model_answers_as_predict_does(
    folder: Path, ensemble_file: Path, cells: list[Path], tmp_path: Path
):
    words = ("models", "serve", "--model-uri", folder, "--env-manager", "local")
    with mlflow_process(*words, log=tmp_path / "serve.log") as server:

        def ask(document: object) -> list[dict[str, Any]]:
            request = urllib.request.Request(
                f"{server.url}/invocations",
                data=json.dumps(document).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:
                text = answer.read().decode()
            return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))[
                "predictions"
            ]

        rows = [
            {"image": base64.b64encode(file.read_bytes()).decode(), "path": file.as_posix()} for file in cells
        ]
        wanted = answers(ensemble_file, cells)
        same(ask({"dataframe_records": rows}), wanted)
        split = {"columns": ["image", "path"], "data": [[row["image"], row["path"]] for row in rows]}
        same(ask({"dataframe_split": split}), wanted)
        (first,) = ask({"dataframe_records": [{"image": rows[0]["image"]}]})
        same([first], [{**wanted[0], "path": "image 0"}])
        bad = ask(
            {"dataframe_records": [{"image": None}, {"image": str(cells[0])}, {"image": rows[0]["image"]}]}
        )
        assert [row["status"] == "error" for row in bad] == [True, True, False]
        example = json.loads((folder / "serving_input_example.json").read_text())
        assert len(ask(example)) == 1
