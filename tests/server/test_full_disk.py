"""A disk that is full: said clearly, nothing half done, and everything goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemoscope.server.settings import Capacity
from tests.server.client import Client
from tests.server.pictures import noise, smear


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("a small file system cannot be mounted here: there is no mount")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def filled(folder: Path) -> Path:
    """Leave no room at all."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 8, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def refused(answer) -> bool:
    return answer.status_code == 507 and answer.json()["error"]["code"] == "disk_full"


def test_nothing_is_half_done_on_a_full_disk_and_all_goes_on_when_there_is_room(started, small_disk: Path):
    with started(data=small_disk / "data", capacity=Capacity(free_bytes=0)) as client:
        slide = client.slide_of(smear(5))
        begun = client.post(f"/slides/{slide}/uploads", {"name": "late.png", "bytes": len(noise(99))}).json()
        filler = filled(small_disk)
        state = client.state(slide)
        assert refused(client.post("/slides", {"title": "another"}))
        assert refused(client.post(f"/slides/{slide}/uploads", {"name": "a.png", "bytes": 10}))
        assert refused(client.put(f"/uploads/{begun['upload']}", noise(99), offset=0))
        assert refused(client.place(slide, [0], "ig", base=0))
        assert client.state(slide) == state
        assert client.get(f"/uploads/{begun['upload']}").json() == begun
        assert client.http.get("/healthz").status_code == 200
        filler.unlink()
        assert client.place(slide, [0], "ig", base=0).json()["seq"] == 1
        assert client.put(f"/uploads/{begun['upload']}", noise(99), offset=0).json()["done"]
        assert client.settled(slide)["cells"] == 6


def test_a_slide_is_not_signed_where_its_file_cannot_be_written(started, small_disk: Path, tmp_path: Path):
    with started(
        f"sqlite:///{tmp_path / 'rows.sqlite'}", data=small_disk, capacity=Capacity(free_bytes=0)
    ) as client:
        slide = client.slide_of(smear(3))
        client.review_all(slide)
        filler = filled(small_disk)
        assert refused(client.sign(slide))
        assert client.get(f"/slides/{slide}").json()["status"] == "open"
        filler.unlink()
        assert client.sign(slide).status_code == 200


def test_images_of_an_archive_wait_for_room(started, small_disk: Path, tmp_path: Path):
    with started(
        f"sqlite:///{tmp_path / 'rows.sqlite'}", data=small_disk, capacity=Capacity(free_bytes=0)
    ) as client:
        slide: int = client.new_slide()
        content = smear(40)
        upload = client.post(f"/slides/{slide}/uploads", {"name": "a.zip", "bytes": len(content)}).json()[
            "upload"
        ]
        keep(client, small_disk, upload, content)
        assert client.settled(slide)["cells"] == 40


def keep(client: Client, disk: Path, upload: str, content: bytes) -> None:
    """Send all but the last byte, fill the disk but for that one, send it, and make room."""
    client.put(f"/uploads/{upload}", content[:-1], offset=0)
    filler = filled(disk)
    while not client.put(f"/uploads/{upload}", content[-1:], offset=len(content) - 1).json().get("done"):
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 4096)
    filler.unlink()
