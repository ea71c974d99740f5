"""Archives from anywhere: what is in them comes out, and no claim takes memory, time or files of this machine."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hemoscope.archives import Limits, members, open_xz
from hemoscope.errors import DataError

FILES = {"a/1.png": b"one" * 500, "b.txt": b"", "c/2.jpg": bytes(range(256)) * 40}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tbz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".txz": lzma.compress,
}


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def read(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    return {member.name: member.read() for member in members(path, limits) if not member.problem}


@pytest.mark.parametrize("suffix", PACK)
def test_every_tar_gives_its_files(suffix: str, tmp_path: Path):
    assert read(written(tmp_path, f"cells{suffix}", PACK[suffix](tar_of(FILES)))) == FILES
    assert read(written(tmp_path, f"CELLS{suffix.upper()}", PACK[suffix](tar_of(FILES)))) == FILES


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_its_files_by_name(method: int, tmp_path: Path):
    path = written(tmp_path, "cells.zip", zip_of(dict(reversed(FILES.items())), method))
    assert list(read(path).items()) == sorted(FILES.items())


def test_an_xz_file_of_several_streams_and_padding_is_whole(tmp_path: Path):
    parts = [b"first" * 9999, b"", b"second" * 70_000]
    content = b"\0\0\0\0".join(lzma.compress(part) for part in parts) + b"\0" * 8
    with open_xz(written(tmp_path, "two.xz", content)) as file:
        assert file.read() == b"".join(parts)
    with open_xz(written(tmp_path, "cut.xz", lzma.compress(parts[2])[:-20])) as file, pytest.raises(EOFError):
        file.read()


def test_a_member_that_is_no_plain_file_has_its_reason(tmp_path: Path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (
            ("l.png", tarfile.SYMTYPE),
            ("h.png", tarfile.LNKTYPE),
            ("p.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("x/" * 40 + "deep.png"))
    found = {m.name: m.problem for m in members(written(tmp_path, "odd.tar", out.getvalue()))}
    assert [found["l.png"], found["h.png"], found["p.png"]] == [
        "is a link",
        "is a link",
        "is a device or a pipe",
    ]
    assert found["x/" * 40 + "deep.png"] == "lies more than 32 folders deep"
    for method, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")):
        (member,) = members(written(tmp_path, "odd.zip", zip_of({"a.png": b"x" * 99}, method)))
        assert f"({name}); expected stored or deflate" in member.problem


ZEROS = bytes(64 << 20)
BOMBS: dict[str, Callable[[], bytes]] = {
    "deflate.zip": lambda: zip_of({"a.png": ZEROS}),
    "zeros.tar.gz": lambda: gzip.compress(tar_of({"a.png": ZEROS})),
    "zeros.tar.bz2": lambda: bz2.compress(tar_of({"a.png": ZEROS})),
    "zeros.tar.xz": lambda: lzma.compress(tar_of({"a.png": ZEROS})),
    "gap.tar.xz": lambda: lzma.compress(
        tar_of({"a.txt": ZEROS, "b.png": b"x"})
    ),  # what is not asked for counts
    "dictionary.tar.xz": lambda: lzma.compress(
        tar_of(FILES), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    ),
    "long-name.tar": lambda: header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 5 << 30) + bytes(2048),
    "pax.tar": lambda: header("pax", tarfile.XHDTYPE, 5 << 30) + bytes(2048),
    "sparse.tar": lambda: header("a.png", tarfile.GNUTYPE_SPARSE, 5 << 30) + bytes(2048),
    "claims.tar": lambda: header("a.png", tarfile.REGTYPE, 5 << 30) + bytes(2048),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_a_bomb_is_refused_in_little_memory(bomb: str, tmp_path: Path):
    path = written(tmp_path, bomb, BOMBS[bomb]())
    assert path.stat().st_size < 1 << 20
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from hemoscope.archives import members\n"
        "from hemoscope.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (500 << 20,) * 2)\n"
        "try:\n"
        "    for member in members(Path(sys.argv[1])): member.problem or member.read()\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout


def test_limits_hold(tmp_path: Path):
    many = written(tmp_path, "many.tar", tar_of({f"{i}.png": b"x" for i in range(30)}))
    with pytest.raises(DataError, match="more than 20 entries"):
        read(many, Limits(entries=20))
    with pytest.raises(DataError, match="30 entries; expected at most 20"):
        read(written(tmp_path, "many.zip", zip_of({f"{i}.png": b"x" for i in range(30)})), Limits(entries=20))
    with pytest.raises(DataError, match=r"a\.png has more than 1,000 bytes"):
        read(written(tmp_path, "large.tar", tar_of({"a.png": bytes(2000)})), Limits(member_bytes=1000))


@pytest.mark.parametrize("attacks", [150, pytest.param(1200, marks=pytest.mark.slow)])
def test_a_damaged_archive_gives_what_was_packed_or_an_error(attacks: int, tmp_path: Path):
    """A tar has no digest of its contents: there a member may hold other bytes, but never of another length."""
    whole = {f"cells{s}": pack(tar_of(FILES)) for s, pack in PACK.items()} | {
        "cells.zip": zip_of(FILES),
        "stored.zip": zip_of(FILES, zipfile.ZIP_STORED),
        "gnu.tar": tar_of({"n" * 150 + ".png": b"long"} | FILES, tarfile.GNU_FORMAT),
    }
    refused = 0
    for seed in range(attacks):
        rng = random.Random(seed)
        name, content = rng.choice(list(whole.items()))
        changed = bytearray(content)
        if rng.random() < 0.3:
            del changed[rng.randrange(len(changed)) :]
        for _ in range(rng.choice([0, 1, 5, 40])):
            if changed:
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        path = written(tmp_path, name, bytes(changed))
        try:
            for member in members(path):
                with suppress(DataError):
                    came = member.read()
                    if name.endswith("zip") and member.name in FILES:
                        assert came == FILES[member.name], (seed, name)
        except DataError:
            refused += 1
    assert refused > attacks // 4
