"""From names on a command line to rows: archives, order, resume, and a row for every bad image."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hemoscope.errors import ConfigError, DataError, ImageError
from hemoscope.predict.inputs import Named, count_images, find_images
from hemoscope.predict.model import Model
from hemoscope.predict.rows import predict_rows, predict_to, write_csv
from tests.server.pictures import noise
from tests.server.small_model import make_small_model


@pytest.fixture
def archives(misfiled: Path, tmp_path: Path) -> Path:
    """A zip and two tars of the same five files, one of them hidden and one no image."""
    files = {
        "b/two.png": misfiled / "red/02.png",
        "a.png": misfiled / "blue/00.png",
        "c.PNG": misfiled / "green/01.png",
    }
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for name, path in files.items():
            archive.write(path, name)
        archive.writestr("__MACOSX/a.png", "no image")
        archive.writestr("notes.txt", "no image")
    for mode, suffix in (("w", "tar"), ("w:gz", "tar.gz")):
        with tarfile.open(tmp_path / f"cells.{suffix}", mode) as archive:
            for name, path in sorted(files.items()):
                archive.add(path, name)
            archive.add(files["a.png"], ".hidden.png")
    return tmp_path


def names(*inputs: object, lines: list[str] | None = None) -> list[str]:
    return [name for name, _ in find_images([str(i) for i in inputs], lines=lines)]


class StopError(Exception):
    """What ends a prediction in its middle."""


def stopping(images: Iterable[Named], n: int) -> Iterator[Named]:
    for i, item in enumerate(images):
        if i == n:
            raise StopError
        yield item


def test_folders_patterns_lists_and_files_are_found_in_order(misfiled: Path):
    folder = names(misfiled / "red")
    assert folder == sorted(folder)
    assert len(folder) == 24
    assert names(misfiled) == sorted(names(misfiled / "blue") + names(misfiled / "green") + folder)
    assert names(f"{misfiled}/*/0[01].png") == [
        n for n in names(misfiled) if n.endswith(("00.png", "01.png"))
    ]
    assert names("-", misfiled / "red/00.png", lines=["x.jpg\n", "\n", "y z.png\r\n"]) == [
        "x.jpg",
        "y z.png",
        folder[0],
    ]


def test_archives_give_their_images_without_being_unpacked(archives: Path, model: Model):
    for kind in ("zip", "tar", "tar.gz"):
        file = archives / f"cells.{kind}"
        rows = list(predict_rows(model, find_images([str(file)])))
        assert [r["path"] for r in rows] == [
            f"{file.as_posix()}/{n}" for n in ("a.png", "b/two.png", "c.PNG")
        ]
        assert [r["pred"] for r in rows] == ["blue", "red", "green"]
    assert sorted(p.name for p in archives.iterdir()) == ["cells.tar", "cells.tar.gz", "cells.zip"]


def test_a_damaged_archive_is_a_row_and_what_came_before_it_stays(archives: Path):
    for kind in ("zip", "tar", "tar.gz"):
        content = (archives / f"cells.{kind}").read_bytes()
        cut = archives / f"cut.{kind}"
        cut.write_bytes(content[: len(content) // 2])
        found = list(find_images([str(cut)]))
        name, source = found[-1]
        assert isinstance(source, ImageError), kind
        assert cut.as_posix() in name


def test_what_is_not_there_is_told_at_once_and_together(misfiled: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"there is no file, folder or match for: .*nope\.jpg, .*no\*\.png"):
        find_images([str(misfiled), str(tmp_path / "nope.jpg"), str(tmp_path / "no*.png")])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_each_format_holds_the_same_rows_and_bad_images_have_theirs(
    suffix: str, model: Model, misfiled: Path, tmp_path: Path
):
    (tmp_path / "bad.jpg").write_text("no image")
    (tmp_path / 'naïve, "quoted".png').write_bytes((misfiled / "red/00.png").read_bytes())
    long = np.zeros((20, 41), np.uint16)
    long[3] = 65535
    Image.fromarray(long).save(tmp_path / "zlong.png")
    inputs = [str(tmp_path), str(misfiled / "blue")]
    out = tmp_path / f"rows{suffix}"
    tally = predict_to(out, model, find_images(inputs), part_rows=5)
    want = list(predict_rows(model, find_images(inputs)))
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    assert tally.n == len(rows) == len(want) == 27
    assert {row["path"].rpartition("/")[2]: row["converted"] for row in rows if row["converted"]} == {
        "zlong.png": "grayscale|16-bit|cropped"
    }
    assert tally.error == 1
    assert list(rows[0])[:2] == ["path", "pred"]
    for row, expected in zip(rows, want, strict=True):
        assert (row["path"], row["pred"], row["status"], row["error"]) == (
            expected["path"], expected["pred"], expected["status"], expected["error"],
        )  # fmt: skip
        if expected["status"] != "error":
            assert float(row["prob_blue"]) == pytest.approx(expected["prob_blue"], abs=2e-6)
            assert float(row["share"]) in (0.5, 1.0)  # of two members
    assert not (tmp_path / f"rows{suffix}.parts").exists()
    with pytest.raises(DataError, match="is there already"):
        predict_to(out, model, find_images(inputs))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_model_that_knows_no_cells_leaves_the_distance_empty_in_every_format(suffix: str, tmp_path: Path):
    small = make_small_model()
    trust = small.card.calibration.model_copy(update={"unknown_above": None})
    card = small.card.model_copy(update={"calibration": trust})
    model = Model(card, [replace(network, known=None) for network in small.networks], small.digest)
    out = tmp_path / f"rows{suffix}"
    predict_to(out, model, [("cell.png", noise(0))])
    if suffix == ".parquet":
        (row,) = pq.read_table(out).to_pylist()
    elif suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
    else:
        row = json.loads(out.read_text("utf-8"), parse_constant=pytest.fail)  # NaN is no JSON
    assert row["status"] in ("accepted", "review")
    assert row["distance"] in (None, "")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_part_of_images_that_changed_or_that_is_damaged_is_told(
    suffix: str, model: Model, misfiled: Path, tmp_path: Path
):
    cells = shutil.copytree(misfiled, tmp_path / "cells")
    out = tmp_path / f"rows{suffix}"

    def begin() -> Path:
        with pytest.raises(StopError):  # after one batch of 64
            predict_to(out, model, stopping(find_images([str(cells)]), 67), part_rows=4)
        return tmp_path / f"rows{suffix}.parts"

    folder = begin()
    (cells / "blue/02.png").write_bytes((misfiled / "red/00.png").read_bytes())
    with pytest.raises(DataError, match=r"blue/02\.png has changed since .*part-00000.*Delete"):
        predict_to(out, model, find_images([str(cells)]), part_rows=4)
    shutil.rmtree(folder)
    part = begin() / f"part-00001{suffix}"
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(DataError, match=r"part-00001.*damaged.*Delete"):
        predict_to(out, model, find_images([str(cells)]), part_rows=4)
    (folder / "plan.json").write_text('{"model"')
    with pytest.raises(DataError, match=r"plan\.json is damaged.*delete"):
        predict_to(out, model, find_images([str(cells)]), part_rows=4)


def test_only_what_is_its_own_is_deleted(model: Model, misfiled: Path, tmp_path: Path):
    theirs = tmp_path / "rows.csv.parts" / "letter.txt"
    left_by_a_kill = tmp_path / "rows.csv.parts" / ".part-00000.csv.abc.part"
    for file in (theirs, left_by_a_kill):
        file.parent.mkdir(exist_ok=True)
        file.write_text("dear")
    predict_to(tmp_path / "rows.csv", model, find_images([str(misfiled / "red/00.png")]))
    assert [path.name for path in theirs.parent.iterdir()] == ["letter.txt"]


def test_no_images_make_no_file(model: Model, tmp_path: Path):
    assert predict_to(tmp_path / "rows.csv", model, []).n == 0
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_a_spreadsheet_would_compute_is_a_text_in_csv_and_itself_elsewhere(
    model: Model, misfiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    image = (misfiled / "red/00.png").read_bytes()
    images: list[Named] = [('=HYPERLINK("x").png', image), ("'quoted.png", image), ("a=b.png", image)]
    for suffix in (".csv", ".jsonl"):
        predict_to(tmp_path / f"rows{suffix}", model, images)
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [
            '\'=HYPERLINK("x").png',
            "''quoted.png",
            "a=b.png",
        ]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["path"] for row in rows] == [name for name, _ in images]
    with pytest.raises(StopError):
        predict_to(tmp_path / "on.csv", model, stopping(images, 2), part_rows=1)
    assert predict_to(tmp_path / "on.csv", model, images, part_rows=1).n == 3


def test_rows_that_are_printed_are_those_of_the_file(model: Model, misfiled: Path, tmp_path: Path):
    file = io.StringIO()
    write_csv(file, model, predict_rows(model, find_images([str(misfiled / "blue")])))
    predict_to(tmp_path / "rows.csv", model, find_images([str(misfiled / "blue")]), part_rows=7)
    assert file.getvalue() == (tmp_path / "rows.csv").read_text()


def test_what_was_begun_with_other_images_or_another_model_is_not_mixed(
    model: Model, single_file: Path, misfiled: Path, tmp_path: Path
):
    from hemoscope.predict.model import load

    out = tmp_path / "rows.csv"
    with pytest.raises(StopError):
        predict_to(out, model, stopping(find_images([str(misfiled)]), 64 + 3), part_rows=8)
    assert len(list((tmp_path / "rows.csv.parts").glob("part-*.csv"))) == 8
    assert not out.exists()
    with pytest.raises(DataError, match="was made of other images"):
        predict_to(out, model, find_images([str(misfiled / "red")]), part_rows=8)
    with pytest.raises(DataError, match="another model or other options"):
        predict_to(out, load(single_file, device="cpu"), find_images([str(misfiled)]), part_rows=8)
    with pytest.raises(ConfigError, match=r"ends in \.csv, \.jsonl, \.parquet; got 'rows\.xlsx'"):
        predict_to(tmp_path / "rows.xlsx", model, [])
    predict_to(out, model, find_images([str(misfiled)]), part_rows=8)
    whole = tmp_path / "whole.csv"
    predict_to(whole, model, find_images([str(misfiled)]), part_rows=8)
    assert out.read_bytes() == whole.read_bytes()


def test_what_was_answered_before_ctrl_c_is_kept_though_it_is_less_than_a_part(
    model: Model, misfiled: Path, tmp_path: Path
):
    def interrupted() -> Iterator[Named]:
        yield from islice(find_images([str(misfiled)]), 64 + 3)
        raise KeyboardInterrupt

    out = tmp_path / "rows.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to(out, model, interrupted())
    (part,) = (tmp_path / "rows.csv.parts").glob("part-*.csv")
    assert len(part.read_text("utf-8").splitlines()) == 64
    predict_to(out, model, find_images([str(misfiled)]))
    predict_to(tmp_path / "whole.csv", model, find_images([str(misfiled)]))
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_killed_and_started_again_it_ends_with_the_same_file(
    single_file: Path, misfiled: Path, tmp_path: Path
):
    for copy in range(150):  # a file is answered once, however often it is named
        for path in misfiled.rglob("*.png"):
            link = tmp_path / "many" / f"{copy:03d}-{path.parent.name}-{path.name}"
            link.parent.mkdir(exist_ok=True)
            link.hardlink_to(path)
    listing = "\n".join(str(p) for p in sorted((tmp_path / "many").iterdir()))

    def start(out: Path) -> subprocess.Popen[str]:
        words = ["predict", str(single_file), "-", "--out", str(out), "--device", "cpu"]
        return subprocess.Popen(
            [sys.executable, "-m", "hemoscope", *words],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    whole = start(tmp_path / "whole.csv")
    whole.communicate(listing)
    assert whole.returncode == 0
    out = tmp_path / "rows.csv"
    process = start(out)
    assert process.stdin
    process.stdin.write(listing)
    process.stdin.flush()  # and not closed, so that it cannot end before it is killed
    part = tmp_path / "rows.csv.parts" / "part-00000.csv"
    while not part.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not out.exists()
    again = start(out)
    again.communicate(listing)
    assert again.returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by setrlimit")
def test_a_disk_that_is_full_loses_nothing_and_the_same_command_goes_on(
    single_file: Path, misfiled: Path, tmp_path: Path
):
    import resource

    def predict(limit_bytes: int | None) -> subprocess.CompletedProcess[str]:
        def full() -> None:
            if limit_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        words = ["predict", single_file, misfiled, "--out", tmp_path / "rows.csv", "--device", "cpu"]
        return subprocess.run(
            [sys.executable, "-B", "-m", "hemoscope", *map(str, words)],  # no module is cut short, too
            capture_output=True, text=True, check=False, preexec_fn=full, timeout=300,
        )  # fmt: skip

    stopped = predict(4096)
    assert stopped.returncode == 1
    assert "File too large" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "rows.csv").exists()
    assert predict(None).returncode == 0
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 72
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_a_folder_that_changes_while_it_is_read_gives_rows_with_reasons(
    model: Model, misfiled: Path, tmp_path: Path
):
    folder = tmp_path / "cells"
    shutil.copytree(misfiled / "red", folder)
    images = find_images([str(folder)])
    rows = list(predict_rows(model, _one_by_one(images, folder)))
    status = {Path(row["path"]).name: row["status"] == "error" for row in rows}
    assert status["05.png"]  # it is gone
    assert status["06.png"]  # it became a folder
    assert status["07.png"]  # it became text
    assert sum(status.values()) == 3
    assert len(rows) == 24


def _one_by_one(images: Iterator[Named], folder: Path) -> Iterator[Named]:
    yield next(images)
    (folder / "05.png").unlink()
    (folder / "06.png").unlink()
    (folder / "06.png").mkdir()
    (folder / "07.png").write_text("no image")
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes())  # too late to be seen
    yield from images


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything: be nobody for the time of the test, where one may."""
    if not hasattr(os, "geteuid"):
        pytest.skip("there are no permissions of this kind here")
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_and_a_folder_that_may_not_be_read_are_rows(model: Model, misfiled: Path):
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for name in ("a.png", "closed/b.png", "open/c.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes((misfiled / "red/00.png").read_bytes())
        folder.chmod(0o755)
        (folder / "a.png").chmod(0)
        (folder / "closed").chmod(0)
        with ordinary_user():
            rows = list(predict_rows(model, find_images([work])))
        (folder / "closed").chmod(0o755)
    assert [Path(row["path"]).name for row in rows] == ["a.png", "closed", "c.png"]
    assert [row["status"] == "error" for row in rows] == [True, True, False]
    assert "denied" in rows[0]["error"].lower()
    assert "the folder cannot be read: Permission denied" in rows[1]["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="makes links")
def test_links_are_followed_and_never_in_a_circle(misfiled: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/all").symlink_to(misfiled / "red", target_is_directory=True)
    (tmp_path / "in/back").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in/self.png").symlink_to("self.png")
    found = dict(find_images([str(tmp_path / "in")]))
    assert sum(isinstance(source, Path) for source in found.values()) == 25
    circle = found[(tmp_path / "in/back").as_posix()]
    assert isinstance(circle, ImageError)
    assert "not followed" in str(circle)


def test_images_are_counted_before_they_are_read_where_that_can_be(misfiled: Path, archives: Path):
    zipped, streamed = str(archives / "cells.zip"), str(archives / "cells.tar")
    several = [str(misfiled), zipped, f"{misfiled}/red/0*.png", str(misfiled / "blue/00.png")]
    assert count_images(several) == 72 + 3 + 10 + 1
    assert len(names(*several)) == 72 + 3  # the others are named twice
    assert count_images([*several, streamed]) is None
    assert count_images(["-"]) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_a_list_on_standard_input_may_hold_any_bytes(single_file: Path, misfiled: Path, tmp_path: Path):
    odd = tmp_path / os.fsdecode(b"zelle-\xff.png")
    odd.write_bytes((misfiled / "red/00.png").read_bytes())
    listing = b"\n".join([os.fsencode(odd), b"nul\0byte.png", b"x" * 5000, b""])
    done = subprocess.run(
        [sys.executable, "-m", "hemoscope", "predict", str(single_file), "-", "--device", "cpu"],
        input=listing, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader(done.stdout.decode("utf-8").splitlines()))
    assert [row["status"] == "error" for row in rows] == [False, True, True]
    assert rows[0]["path"].endswith("zelle-\\udcff.png")
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_a_name_that_is_no_utf_8_has_its_row_in_every_format(model: Model, misfiled: Path, tmp_path: Path):
    folder = tmp_path / "cells"
    folder.mkdir()
    odd = folder / os.fsdecode(b"zelle-\xff.png")
    odd.write_bytes((misfiled / "red/00.png").read_bytes())
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert predict_to(tmp_path / f"rows{suffix}", model, find_images([str(folder)])).error == 0
    assert "zelle-\\udcff.png" in (tmp_path / "rows.csv").read_text("utf-8")
