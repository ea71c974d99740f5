from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections import namedtuple

import pytest

from hemoscope.data import archive as archive_module
from hemoscope.data.archive import UnpackLimits, unpack
from hemoscope.errors import DataError

CELLS = {"set/basophil/BA_1.jpg": b"b" * 40, "set/ig/MMY_2.jpg": bytes(range(256)) * 9}


def zip_bytes(entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in dict(entries).items():
            z.writestr(name, data)
    return out.getvalue()


def info(name, *, mode=0, system=3):
    made = zipfile.ZipInfo(name)
    made.filename = name  # ZipInfo would cut it at a null byte
    made.create_system, made.external_attr = system, mode << 16
    return made


def write(tmp_path, data):
    path = tmp_path / "cells.zip"
    path.write_bytes(data)
    return path


def test_files_arrive_with_their_bytes_and_are_returned_sorted(tmp_path):
    files = unpack(write(tmp_path, zip_bytes(CELLS)), tmp_path / "out")
    assert [f.relative_to(tmp_path / "out").as_posix() for f in files] == sorted(CELLS)
    assert [f.read_bytes() for f in files] == [CELLS[n] for n in sorted(CELLS)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_unpacks_within_bounds_is_read(tmp_path, method):
    assert len(unpack(write(tmp_path, zip_bytes(CELLS, method)), tmp_path / "out")) == 2


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
def test_what_unpacks_without_bound_is_refused_by_name(tmp_path, method, name):
    with pytest.raises(DataError, match=rf"method {method:d} \({name}\); expected stored or deflate"):
        unpack(write(tmp_path, zip_bytes(CELLS, method)), tmp_path / "out")


def test_a_zip_in_a_zip_is_unpacked_where_it_lies(tmp_path):
    bundle = zip_bytes({"bundle/readme.txt": b"hello", "bundle/PBC.zip": zip_bytes(CELLS)})
    files = unpack(write(tmp_path, bundle), tmp_path / "out")
    names = {f.relative_to(tmp_path / "out").as_posix() for f in files}
    assert names == {"bundle/readme.txt", *(f"bundle/{n}" for n in CELLS)}


def test_three_archives_around_a_file_are_one_too_many(tmp_path):
    deep = zip_bytes({"b.zip": zip_bytes({"c.zip": zip_bytes(CELLS)})})
    with pytest.raises(
        DataError, match=r"cells\.zip > b\.zip > c\.zip lies 3 archives deep; expected at most 2"
    ):
        unpack(write(tmp_path, deep), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_macos_and_dot_entries_are_passed_over(tmp_path):
    noise = {"__MACOSX/set/._BA_1.jpg": b"x", "set/neutrophil/.DS_169665.jpg": b"x", ".git/config": b"x"}
    files = unpack(write(tmp_path, zip_bytes({**CELLS, **noise})), tmp_path / "out")
    assert len(files) == len(CELLS)
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == len(CELLS)


UNSAFE = [
    ("/etc/passwd", 0, "is an absolute path"),
    ("\\server\\share", 0, "is an absolute path"),
    ("C:/Windows/x.jpg", 0, "names a drive"),
    ("a/x.jpg:stream", 0, "names a drive or a stream"),
    ("../x.jpg", 0, "climbs out"),
    ("a/../../x.jpg", 0, "climbs out"),
    ("a\\..\\..\\x.jpg", 0, "climbs out"),
    ("__MACOSX/../../x.jpg", 0, "climbs out"),
    ("a/link.jpg", stat.S_IFLNK | 0o777, "is a symbolic link"),
    ("a/pipe", stat.S_IFIFO | 0o644, "is a device or a pipe"),
    ("a/disk", stat.S_IFBLK | 0o644, "is a device or a pipe"),
    ("a/NUL.jpg", 0, "device's name"),
    ("a/\x1b[2Jx.jpg", 0, "control character"),
    ("a/" + "x" * 256, 0, "more than 255 bytes"),
    ("./", 0, None),
]


@pytest.mark.parametrize(("name", "mode", "why"), UNSAFE, ids=[repr(u[0][:20]) for u in UNSAFE])
def test_an_unsafe_entry_stops_everything_before_a_byte_is_written(tmp_path, name, mode, why):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("a/good.jpg", b"good")
        z.writestr(info(name, mode=mode), b"bad" if why else b"")
    home = tmp_path / "home"
    home.mkdir()
    path = write(tmp_path, out.getvalue())
    if why is None:
        assert len(unpack(path, home / "out")) == 1
        return
    with pytest.raises(DataError, match=why):
        unpack(path, home / "out")
    assert list(home.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"home", "cells.zip"}


def test_all_unsafe_entries_are_named_at_once(tmp_path):
    bad = {"../one.jpg": b"", "/two.jpg": b"", "ok.jpg": b"", "a/../../three.jpg": b""}
    with pytest.raises(DataError) as caught:
        unpack(write(tmp_path, zip_bytes(bad)), tmp_path / "out")
    assert all(name in str(caught.value) for name in ("../one.jpg", "/two.jpg", "three.jpg"))
    assert "ok.jpg" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (["a/x.jpg", "A/X.JPG"], "a/x.jpg"),
        (["a/x.jpg", "a/x.jpg."], "a/x.jpg"),
        (["a/é.jpg", "a/e\u0301.jpg"], "a/é.jpg"),
        (["a", "a/x.jpg"], "a"),
        (["a/x.jpg", "a"], "a"),
    ],
)
def test_names_that_are_one_on_some_disk_are_refused(tmp_path, names, held):
    with pytest.raises(DataError, match="collides with") as caught:
        unpack(write(tmp_path, zip_bytes(dict.fromkeys(names, b"x"))), tmp_path / "out")
    assert f"collides with {held!r}" in str(caught.value)


def test_the_same_name_twice_is_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("a/x.jpg", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            z.writestr("a/x.jpg", b"2")
    with pytest.raises(DataError, match="collides"):
        unpack(write(tmp_path, out.getvalue()), tmp_path / "out")


def test_names_collide_across_inner_archives_too(tmp_path):
    bundle = zip_bytes({"1.zip": zip_bytes({"x.jpg": b"1"}), "2.zip": zip_bytes({"X.jpg": b"2"})})
    with pytest.raises(DataError, match=r"2\.zip.*collides with 'x\.jpg'"):
        unpack(write(tmp_path, bundle), tmp_path / "out")


def test_an_encrypted_entry_is_refused(tmp_path):
    data = bytearray(zip_bytes({"a.jpg": b"secret"}))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="is encrypted"):
        unpack(write(tmp_path, bytes(data)), tmp_path / "out")


def test_an_unknown_compression_is_refused_by_its_number(tmp_path):
    data = bytearray(zip_bytes({"a.jpg": b"x"}))
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, 9)
    with pytest.raises(DataError, match="method 9"):
        unpack(write(tmp_path, bytes(data)), tmp_path / "out")


@pytest.mark.parametrize("inside", [False, True])
def test_a_bomb_is_refused_by_what_it_declares(tmp_path, inside):
    bomb = zip_bytes({"zeros.jpg": bytes(5_000_000)})
    data = zip_bytes({"bomb.zip": bomb}, zipfile.ZIP_STORED) if inside else bomb
    with pytest.raises(DataError, match=r"times as many; expected at most 200 times"):
        unpack(write(tmp_path, data), tmp_path / "out")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (UnpackLimits(entries=1), "holds 2 entries; expected at most 1"),
        (UnpackLimits(total_bytes=2000), "unpacks to 2,344 bytes; expected at most 2,000"),
        (UnpackLimits(ratio=0.5), "expected at most 0.5 times"),
        (UnpackLimits(depth=0), "1 archives deep; expected at most 0"),
    ],
)
def test_each_limit_holds(tmp_path, limits, message):
    with pytest.raises(DataError, match=message):
        unpack(write(tmp_path, zip_bytes(CELLS)), tmp_path / "out", limits=limits)


@pytest.mark.parametrize("declared", [3, 3000])
def test_an_entry_that_lies_about_its_size_is_refused(tmp_path, declared):
    data = bytearray(zip_bytes({"a.jpg": b"0123456789" * 9}))
    struct.pack_into("<I", data, data.index(b"PK\x03\x04") + 22, declared)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, declared)
    with pytest.raises(DataError, match="damaged"):
        unpack(write(tmp_path, bytes(data)), tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"cells.zip"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_noticed_and_leaves_nothing(tmp_path, method):
    data = bytearray(zip_bytes({"a.jpg": bytes(range(256)) * 4}, method))
    data[60] ^= 0x10
    with pytest.raises(DataError, match="damaged"):
        unpack(write(tmp_path, bytes(data)), tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"cells.zip"}


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html><title>Sign in</title>", zip_bytes(CELLS)[:-30]])
def test_what_is_no_whole_zip_is_refused(tmp_path, data):
    with pytest.raises(DataError, match="is damaged, cut short or no archive"):
        unpack(write(tmp_path, data), tmp_path / "out")


def test_an_archive_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no file"):
        unpack(write(tmp_path, zip_bytes({"a/": b"", ".DS_Store": b"x"})), tmp_path / "out")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(write(tmp_path, zip_bytes(CELLS)), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert len(unpack(write(tmp_path, zip_bytes(CELLS)), tmp_path / "out")) == 2


def test_a_full_disk_is_the_disks_fault_and_noticed_first(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 100, 100))
    with pytest.raises(OSError, match="2,344 bytes, 100 are free"):
        unpack(write(tmp_path, zip_bytes(CELLS)), tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"cells.zip"}
