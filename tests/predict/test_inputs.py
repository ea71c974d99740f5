"""What a person names: every image once, nothing left out in silence."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from hemoscope.errors import ImageError
from hemoscope.predict.inputs import Passed, count_images, find_images, stdin_paths

PNG = io.BytesIO()
Image.new("RGB", (9, 9)).save(PNG, "PNG")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images under odd names, what looks like images to people, and what is none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("cell.png", "no-ending", "odd.scan"):
        (folder / name).write_bytes(PNG.getvalue())
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(40))
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(PNG.getvalue())
    (folder / "more.zip").write_bytes(b"")
    return folder


WANTED = {"IM0001", "cell.png", "more.zip", "no-ending", "odd.scan", "phone.heic"}
PASSED = Counter({".txt": 1, "hidden": 1, "without an ending": 1})


def test_a_folder_gives_what_begins_like_an_image_and_counts_the_rest(mixed: Path):
    passed = Passed()
    found = {Path(name).name: source for name, source in find_images([str(mixed)], passed=passed)}
    assert found.keys() == WANTED
    assert str(found["more.zip"]) == "an archive in a folder; name it itself and it is read"
    assert passed.counts == PASSED
    assert passed.in_words() == "passed over: 1 .txt, 1 hidden, 1 without an ending"


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_does_so_too(suffix: str, mixed: Path, tmp_path: Path):
    path = tmp_path / f"mixed.{suffix}"
    files = sorted(mixed.iterdir())
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.name)
    else:
        with tarfile.open(path, "w") as tar:
            for file in files:
                tar.add(file, file.name)
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "cell.png"
            tar.addfile(link)
    passed = Passed()
    found = {Path(name).name: source for name, source in find_images([str(path)], passed=passed)}
    assert found.keys() - {"link.png"} == WANTED
    assert found["cell.png"] == PNG.getvalue()
    assert str(found["more.zip"]) == "an archive in an archive; unpack the outer one first"
    if suffix == "tar":
        assert str(found["link.png"]) == "it is a link"
    assert passed.counts == PASSED


def test_a_file_is_given_once_however_often_it_is_named(mixed: Path):
    (mixed / "again.png").symlink_to(mixed / "cell.png")
    passed = Passed()
    named = [str(mixed), str(mixed / "cell.png"), f"{mixed}/*.png"]
    found = [name for name, _ in find_images(named, passed=passed)]
    assert [Path(name).name for name in found].count("again.png") == 1
    assert sum(Path(name).name == "cell.png" for name in found) == 0  # the link came first
    assert passed.counts["named twice"] == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_a_pipe_is_never_opened(tmp_path: Path):
    for name in ("pipe", "pipe.png"):
        os.mkfifo(tmp_path / name)
    passed = Passed()
    ((name, source),) = find_images([str(tmp_path)], passed=passed)
    assert name.endswith("pipe.png")  # reading it then says that it is no regular file
    assert isinstance(source, Path)
    assert passed.counts == Counter({"without an ending": 1})


def test_brackets_in_the_name_of_a_folder_are_found(tmp_path: Path):
    folder = tmp_path / "smear [2]"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG.getvalue())
    assert [Path(n).name for n, _ in find_images([f"{folder}/*.png"])] == ["a.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
def test_a_list_from_windows_is_read(encoding: str, monkeypatch: pytest.MonkeyPatch):
    listing = "zellen/ä.png\r\nzellen/b.png\r\n"
    content = (
        b"\xff\xfe" + listing.encode("utf-16-le") if encoding.endswith("bom") else listing.encode(encoding)
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    names = [name for name, _ in find_images(["-"], lines=stdin_paths())]
    assert names == ["zellen/ä.png", "zellen/b.png"]


def test_an_archive_that_is_none_is_told_with_its_name(tmp_path: Path):
    (tmp_path / "x.7z").write_bytes(b"7z\xbc\xaf")
    ((name, source),) = find_images([str(tmp_path / "x.7z")])
    assert name.endswith("x.7z")
    assert isinstance(source, ImageError)
    assert "unpack it first" in str(source)


@pytest.mark.parametrize("name", ["cell", "cell.001", "cell.png"])
def test_a_damaged_member_is_told_whatever_its_name(name: str, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("a.png", PNG.getvalue())
        archive.writestr(name, PNG.getvalue())
    data = bytearray((tmp_path / "cells.zip").read_bytes())
    data[data.rfind(PNG.getvalue()) + 40] ^= 255
    (tmp_path / "cells.zip").write_bytes(data)
    whole, damaged = find_images([str(tmp_path / "cells.zip")])
    assert whole[1] == PNG.getvalue()
    assert damaged[0].endswith(f"cells.zip/{name}")
    assert "damaged" in str(damaged[1])


def test_a_damaged_zip_is_counted_whatever_byte_it_is(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("a.png", PNG.getvalue())
    data = (tmp_path / "cells.zip").read_bytes()
    for at in range(data.rfind(b"PK\1\2"), len(data)):
        for value in (0, 1, 195, 255):
            (tmp_path / "cells.zip").write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            assert count_images([str(tmp_path / "cells.zip")]) in {0, 1}
            list(find_images([str(tmp_path / "cells.zip")]))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_archive_that_may_not_be_read_is_told_as_a_sentence(tmp_path: Path):
    (tmp_path / "cells.zip").write_bytes(b"")
    (tmp_path / "cells.zip").chmod(0)
    ((_, source),) = find_images([str(tmp_path / "cells.zip")])
    assert str(source) == "the archive cannot be read: Permission denied"
