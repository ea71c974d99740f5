"""On a cluster the answers are those of one machine, also where workers die; nothing is asked twice, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hemoscope.cli.app import app
from hemoscope.cluster import connect
from hemoscope.errors import ConfigError, DataError
from hemoscope.predict.inputs import find_images
from hemoscope.predict.model import Model, load
from hemoscope.predict.on_ray import predict_on_ray
from hemoscope.predict.rows import predict_rows
from hemoscope.predict.shards import Shard, images_of, plan_shards

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def _write_manifest(path: Path, rows: list[dict[str, Any]], *, group: int = 10) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


@pytest.fixture
def cells(discs: Path, tmp_path: Path) -> Path:
    """A folder with 30 images, one of them torn."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for i, file in enumerate(sorted(discs.rglob("*.png"))[:29]):
        shutil.copyfile(file, folder / f"{i:02d}.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return folder


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    connect("local")
    yield
    ray.shutdown()


def _rows(out: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(out.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_a_manifest_is_cut_by_its_footer_and_read_slice_by_slice(tmp_path: Path):
    rows = [{"path": f"{i}.png", "other": i} for i in range(25)]
    file = _write_manifest(tmp_path / "m.parquet", rows, group=4)
    shards = plan_shards([str(tmp_path)], 7)
    assert [(s.first, s.rows) for s in shards] == [(0, 7), (7, 7), (14, 7), (21, 4)]
    found = [name for shard in shards for name, _ in images_of(shard)[1]]
    assert found == [row["path"] for row in rows]
    assert len({images_of(shard)[0] for shard in shards}) == 4
    assert images_of(Shard(str(file), 3, 2))[0] == images_of(Shard(str(file), 3, 2))[0]


def test_a_shard_is_another_where_a_file_that_its_manifest_names_has_changed(tmp_path: Path):
    file = _write_manifest(tmp_path / "m.parquet", [{"path": "a.png"}])
    (tmp_path / "a.png").write_bytes(b"one")
    os.utime(tmp_path / "a.png", (1, 1))
    first = images_of(Shard(str(file), 0, 1))[0]
    assert images_of(Shard(str(file), 0, 1))[0] == first
    os.utime(tmp_path / "a.png", (1, 2))  # other content of the same length
    second = images_of(Shard(str(file), 0, 1))[0]
    (tmp_path / "a.png").unlink()
    assert len({first, second, images_of(Shard(str(file), 0, 1))[0]}) == 3


def test_what_is_no_shard_is_told_with_all_the_rest(tmp_path: Path):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 no more")
    _write_manifest(tmp_path / "odd.parquet", [{"name": "a"}])
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError) as error:
        plan_shards([str(tmp_path), str(tmp_path / "photos"), str(tmp_path / "nothing")], 10)
    for words in (
        "torn.parquet: expected",
        "odd.parquet: expected a column path or image; got name",
        "photos: expected",
    ):
        assert words in str(error.value)


@pytest.mark.slow
@pytest.mark.usefixtures("one_node")
def test_a_cluster_answers_as_one_machine_and_goes_on(single_file: Path, cells: Path, tmp_path: Path):
    model = load(single_file, device="cpu")
    alone = {Path(row["path"]).name: row for row in predict_rows(model, find_images([str(cells)]))}
    names = sorted(file.name for file in cells.iterdir())
    _write_manifest(cells / "a.parquet", [{"path": name} for name in names[:20]])
    _write_manifest(
        cells / "b.parquet",
        [{"path": name, "image": (cells / name).read_bytes()} for name in names[20:25]],
    )
    with tarfile.open(cells / "c.tar", "w") as archive:
        for name in names[25:]:
            archive.add(cells / name, name)
    out = tmp_path / "answers"
    heard: list[int] = []
    options = {
        "out": out,
        "device": "cpu",
        "shard_rows": 8,
        "on_shard": lambda _, done, total: heard.append(total),
    }
    tally = predict_on_ray(single_file, [str(cells)], **options)
    assert (tally.n, tally.error) == (30, 1)
    assert heard == [5] * 5
    rows = {Path(row["path"]).name: row for row in _rows(out)}
    assert len(rows) == 30
    for name, row in rows.items():
        assert {k: v for k, v in row.items() if isinstance(v, str) and k != "path"} == {
            k: v for k, v in alone[name].items() if isinstance(v, str) and k != "path"
        }
        if row["status"] != "error":
            assert row["margin"] == pytest.approx(alone[name]["margin"], abs=1e-5)
    assert json.loads((out / "DONE.json").read_text()) == {
        "n": 30,
        "accepted": tally.accepted,
        "review": tally.review,
        "unknown": tally.unknown,
        "error": 1,
        "parts": 5,
    }

    parts = sorted(out.glob("part-*.parquet"))
    kept = {part: part.stat().st_mtime_ns for part in parts[1:]}
    parts[0].unlink()  # as after a kill
    (out / "DONE.json").unlink()
    assert predict_on_ray(single_file, [str(cells)], **options) == tally
    assert sorted(out.glob("part-*.parquet")) == parts
    assert {part: part.stat().st_mtime_ns for part in parts[1:]} == kept

    with pytest.raises(DataError, match="begun with another model, other options or other shards"):
        predict_on_ray(single_file, [str(cells / "a.parquet")], **options)
    with pytest.raises(ConfigError, match="no node has that many"):
        predict_on_ray(single_file, [str(cells)], out=tmp_path / "other", cpus=1000)
    with pytest.raises(DataError, match="holds something else"):
        predict_on_ray(single_file, [str(cells)], out=cells)


@pytest.mark.long
def test_killed_again_and_again_every_image_has_one_row(single_file: Path, cells: Path, tmp_path: Path):
    """Workers and drivers are killed in turns, each after one more shard is there."""
    names = sorted(file.name for file in cells.iterdir()) * 8
    manifest = _write_manifest(tmp_path / "many.parquet", [{"path": f"cells/{name}"} for name in names])
    out = tmp_path / "answers"
    work = (
        "import sys; from pathlib import Path\n"
        "from hemoscope.cluster import connect; from hemoscope.predict.on_ray import predict_on_ray\n"
        "connect('local')\n"
        "print(predict_on_ray(Path(sys.argv[1]), [sys.argv[2]], out=Path(sys.argv[3]), device='cpu', shard_rows=20).n)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"OMP_NUM_THREADS": "1"}
    kills = 0
    while True:
        driver = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", work, str(single_file), str(manifest), str(out)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        before = len(list(out.glob("part-*")))
        while driver.poll() is None:
            if len(list(out.glob("part-*"))) >= before + 3:
                before = len(list(out.glob("part-*")))
                kills += 1
                if kills % 2:
                    for pid in _askers(driver.pid):
                        os.kill(pid, signal.SIGKILL)
                else:
                    driver.kill()
                    driver.wait()
            time.sleep(0.01)
        assert driver.stdout is not None
        said = driver.stdout.read()
        driver.stdout.close()
        if driver.returncode == 0:
            break
    assert str(len(names)) in said.splitlines()
    assert kills > 2
    assert sorted(row["path"] for row in _rows(out)) == sorted(f"cells/{name}" for name in names)


def _askers(driver: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [
        int(line.split()[0])
        for line in found.splitlines()
        if "ray::" in line and "MapBatches" in line and driver
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_node")
def test_the_verb_writes_a_folder_and_says_what_it_needs(single_file: Path, cells: Path, tmp_path: Path):
    pq.write_table(pa.table({"path": [f.name for f in cells.iterdir()]}), cells / "m.parquet")
    asked = ["predict", str(single_file), str(cells / "m.parquet"), "--executor", "ray", "--device", "cpu"]
    assert CliRunner().invoke(app, asked).exit_code == 2
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "answers"), "--json"])
    assert done.exit_code == 1  # one image is torn
    assert json.loads(done.stdout)["n"] == 30


@pytest.mark.slow
@pytest.mark.usefixtures("one_node")
def test_a_job_has_one_camera_that_it_keeps(framed_file: Path, farther_cells: Path, tmp_path: Path):
    files = sorted(farther_cells.rglob("*.png"))
    manifest = _write_manifest(tmp_path / "m.parquet", [{"path": str(file)} for file in files])
    options = {"out": tmp_path / "answers", "device": "cpu", "shard_rows": 20}
    predict_on_ray(framed_file, [str(manifest)], **options)
    model = load(framed_file, device="cpu")
    there = model.at_camera(files)
    camera = tmp_path / "answers" / "camera.json"
    assert json.loads(camera.read_text())["nucleus_px"] == pytest.approx(there.nucleus_px)

    def agrees(asked: Model) -> None:
        margins = [row["margin"] for row in _rows(tmp_path / "answers")]
        assert margins == pytest.approx([verdict.margin for verdict in asked.judge(files)], abs=1e-5)

    agrees(there)
    for part in (tmp_path / "answers").glob("part-*.parquet"):
        part.unlink()  # as after a kill
    camera.write_text('{"nucleus_px": 33.0}')
    predict_on_ray(framed_file, [str(manifest)], **options)
    agrees(model.at_nucleus(33.0))  # what was measured before holds, not what would be now
    camera.write_text('{"nucleus_px": 34.0}')
    with pytest.raises(Exception, match="was made of other images"):
        predict_on_ray(framed_file, [str(manifest)], **options)
    camera.write_text("{")
    with pytest.raises(DataError, match=r"camera.json is damaged: .*; delete .* to begin anew"):
        predict_on_ray(framed_file, [str(manifest)], **options)
