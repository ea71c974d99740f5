"""Files on their way: pieces, broken connections, archives, bad files, limits."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from hemoscope.server.problems import ApiError
from hemoscope.server.settings import Capacity
from tests.server.client import Client
from tests.server.pictures import noise, smear, zipped


def begin(client: Client, slide: int, name: str, size: int):
    return client.post(f"/slides/{slide}/uploads", {"name": name, "bytes": size})


def test_a_file_sent_in_pieces_is_whole_at_its_last_byte(on_both: Client):
    slide, content = on_both.new_slide(), smear(3)
    upload = begin(on_both, slide, "smear.zip", len(content)).json()["upload"]
    for start in range(0, len(content), 1000):
        put = on_both.put(f"/uploads/{upload}", content[start : start + 1000], offset=start).json()
        assert put["offset"] == min(start + 1000, len(content))
        assert on_both.get(f"/uploads/{upload}").json() == put
    assert put["done"]
    assert on_both.settled(slide)["cells"] == 3


def test_a_file_begun_again_under_its_name_is_the_same_one(on_both: Client):
    slide, content = on_both.new_slide(), smear(2)
    file = {"name": "smear.zip", "bytes": len(content), "upload": "0f" * 16}
    begun = on_both.post(f"/slides/{slide}/uploads", file).json()
    assert begun == {"upload": "0f" * 16, "offset": 0, "done": False}
    on_both.put(f"/uploads/{begun['upload']}", content[:100], offset=0)
    assert on_both.post(f"/slides/{slide}/uploads", file).json() == {**begun, "offset": 100}
    assert on_both.put(f"/uploads/{begun['upload']}", content[100:], offset=100).json()["done"]
    assert on_both.settled(slide)["progress"] == {"received": 2, "predicted": 2, "rejected": 0, "total": 2}
    other = {**file, "upload": "../../passwd"}
    assert on_both.post(f"/slides/{slide}/uploads", other).status_code == 422


@pytest.mark.parametrize("change", [{"name": "other.zip"}, {"bytes": 99}])
def test_an_upload_s_name_that_is_another_file_s_is_refused(client: Client, change: dict[str, Any]):
    file = {"name": "smear.zip", "bytes": 100, "upload": "0f" * 16}
    slides = [client.new_slide(), client.new_slide()]
    client.post(f"/slides/{slides[0]}/uploads", file)
    for slide, body in ((slides[0], {**file, **change}), (slides[1], file)):
        refused = client.post(f"/slides/{slide}/uploads", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_file")


def test_bytes_from_another_place_are_refused_with_the_place_to_go_on_from(client: Client):
    slide, content = client.new_slide(), noise(1)
    upload = begin(client, slide, "a.png", len(content)).json()["upload"]
    client.put(f"/uploads/{upload}", content[:100], offset=0)
    for offset in (0, 99, 101):
        refused = client.put(f"/uploads/{upload}", content[offset:], offset=offset)
        assert (refused.status_code, refused.json()["offset"]) == (409, 100)
    assert client.put(f"/uploads/{upload}", content[100:], offset=100).json()["done"]
    assert client.settled(slide)["cells"] == 1


def test_what_came_before_the_connection_broke_is_kept(client: Client):
    slide, content = client.new_slide(), smear(2)
    upload = begin(client, slide, "smear.zip", len(content)).json()["upload"]

    async def broken() -> AsyncIterator[bytes]:
        yield content[:700]
        raise ClientDisconnect

    asyncio.run(client.site.uploads.receive(upload, 0, broken()))
    assert client.get(f"/uploads/{upload}").json() == {"upload": upload, "offset": 700, "done": False}
    client.put(f"/uploads/{upload}", content[700:], offset=700)
    assert client.settled(slide)["cells"] == 2


def test_bytes_that_were_never_acknowledged_are_cut_off(client: Client):
    slide, content = client.new_slide(), noise(3)
    upload = begin(client, slide, "a.png", len(content)).json()["upload"]
    client.put(f"/uploads/{upload}", content[:50], offset=0)
    with client.site.uploads.path(upload, "a.png").open("ab") as file:
        file.write(b"of a killed server")
    assert client.put(f"/uploads/{upload}", content[50:], offset=50).json()["done"]
    assert client.settled(slide)["cells"] == 1


def test_a_new_connection_takes_an_upload_over_from_one_that_hangs(client: Client):
    slide, content = client.new_slide(), noise(4)
    upload = begin(client, slide, "a.png", len(content)).json()["upload"]

    async def both() -> None:
        began, goes_on = asyncio.Event(), asyncio.Event()

        async def hangs() -> AsyncIterator[bytes]:
            yield content[:10]
            began.set()
            await goes_on.wait()
            yield content[10:20]

        async def new() -> AsyncIterator[bytes]:
            yield content

        first = asyncio.create_task(client.site.uploads.receive(upload, 0, hangs()))
        await began.wait()
        done = await client.site.uploads.receive(upload, 0, new())
        assert done.status == "whole"
        goes_on.set()
        with pytest.raises(ApiError, match="another connection"):
            await first

    asyncio.run(both())
    assert client.settled(slide)["cells"] == 1


def test_more_bytes_than_announced_are_refused(client: Client):
    slide = client.new_slide()
    upload = begin(client, slide, "a.png", 10).json()["upload"]
    assert client.put(f"/uploads/{upload}", b"x" * 11, offset=0).status_code == 413


def test_a_bad_file_is_listed_with_its_reason_and_is_no_cell(on_both: Client):
    slide = on_both.new_slide()
    on_both.send(slide, "notes.png", b"not an image")
    on_both.send(slide, "empty.png", b"")
    on_both.send(slide, "half.png", noise(1)[:200])
    on_both.send(slide, "good.png", noise(2))
    on_both.send(slide, "again.png", noise(2))
    on_both.send(slide, "packed.rar", b"Rar!")
    on_both.send(slide, "broken.zip", smear(2)[:500])
    found = on_both.settled(slide)
    reasons = {r["name"]: r["reason"] for r in found["rejected"]}
    assert found["cells"] == 1
    assert set(reasons) == {"notes.png", "empty.png", "half.png", "again.png", "packed.rar", "broken.zip"}
    assert "good.png" in reasons["again.png"]
    assert "truncated" in reasons["half.png"]
    assert "unpack it first" in reasons["packed.rar"]


def tar_of(name: bytes, *, size: int, content: bytes, pax: bool = False) -> bytes:
    """A tar of one file whose header claims so many bytes, under a name of any bytes."""
    info = tarfile.TarInfo("cell.png" if pax else os.fsdecode(name))
    info.size = size
    if not pax:
        return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + content
    record = b" path=" + name + b"\n"
    record = str(len(record) + 2).encode() + record
    extended = tarfile.TarInfo("x")
    extended.type, extended.size = tarfile.XHDTYPE, len(record)
    return extended.tobuf() + record.ljust(512, b"\0") + info.tobuf() + content


@pytest.mark.parametrize("pax", [False, True])
def test_a_cut_archive_whose_names_no_store_holds_is_rejected_and_those_behind_it_go_on(
    on_both: Client, *, pax: bool
):
    name = b"a\0b.png" if pax else b"\xff\xfe.png"
    slide = on_both.new_slide()
    on_both.send(slide, "cut.tar", tar_of(name, size=5000, content=noise(1)[:300], pax=pax))
    on_both.send(slide, "good.png", noise(2))
    found = on_both.settled(slide)
    assert found["cells"] == 1
    assert found["rejected"]
    assert "damaged" in found["rejected"][0]["reason"]
    assert "\0" not in str(found["rejected"])


def test_an_upload_that_fails_as_nobody_foresaw_is_one_rejected_file_and_those_behind_it_go_on(
    client: Client, monkeypatch
):
    def fails(_archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        raise AssertionError

    slide, content = client.new_slide(), smear(2)
    monkeypatch.setattr(zipfile.ZipFile, "infolist", fails)
    client.send(slide, "odd.zip", content)
    client.send(slide, "good.png", noise(2))
    found = client.settled(slide)
    assert found["cells"] == 1
    assert [r["name"] for r in found["rejected"]] == ["odd.zip"]
    assert "AssertionError" in found["rejected"][0]["reason"]
    assert client.get(f"/slides/{slide}").json()["progress"]["total"] == 2


def test_a_tar_and_folders_in_an_archive_are_read_and_what_is_no_image_is_passed_over(client: Client):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {
            "a/1.png": noise(1),
            "b/c/2.png": noise(2),
            "read.me": b"x",
            ".hidden/3.png": noise(3),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    slide = client.slide_of(buffer.getvalue(), "smear.tar.gz")
    assert [c["name"] for c in client.cells(slide)] == ["a/1.png", "b/c/2.png"]


def test_an_archive_that_unpacks_beyond_the_limit_is_rejected_and_the_server_lives(started):
    with started(capacity=Capacity(unpacked_bytes=1 << 20)) as client:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.png", bytes(64 << 20))
        slide = client.new_slide()
        client.send(slide, "bomb.zip", buffer.getvalue())
        (rejected,) = client.settled(slide)["rejected"]
        assert rejected["name"] == "bomb.zip"
        assert "expected at most" in rejected["reason"]
        assert client.http.get("/healthz").status_code == 200


def test_of_a_large_archive_64_mib_are_in_memory_at_once(started):
    with started(capacity=Capacity(waiting_files=1)) as client:
        client.site.worker.stop()  # files wait, so that the intake stops after the first batch
        slide = client.new_slide()
        large = {f"{n}.png": bytes([n]) * (16 << 20) for n in range(6)}
        client.send(slide, "large.zip", zipped(large))
        while not (files := client.get(f"/slides/{slide}").json()["progress"]["received"]):
            time.sleep(0.01)
        assert files == 4


def test_a_file_of_an_archive_beyond_128_mib_is_rejected(client: Client):
    block = bytes(1000)
    content = b"".join(n.to_bytes(12, "big") + block for n in range((129 << 20) // 1012))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.png", content)
    slide = client.new_slide()
    client.send(slide, "large.zip", buffer.getvalue())
    (rejected,) = client.settled(slide)["rejected"]
    assert "more than 134,217,728 bytes" in rejected["reason"]


def test_an_image_that_claims_many_pixels_is_refused_before_it_is_decoded(client: Client):
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    slide = client.new_slide()
    client.send(slide, "bomb.png", bomb)
    (rejected,) = client.settled(slide)["rejected"]
    assert "claims more than 25,000,000 pixels" in rejected["reason"]


def test_files_beyond_a_slide_s_number_are_rejected_by_name(started):
    with started(capacity=Capacity(slide_files=4)) as client:
        slide = client.slide_of(smear(6))
        found = client.get(f"/slides/{slide}").json()
        assert (found["cells"], len(found["rejected"])) == (4, 2)
        assert "at most 4 files" in found["rejected"][0]["reason"]
        assert begin(client, slide, "a.png", 3).json()["error"]["code"] == "slide_full"


def test_a_file_beyond_the_limit_and_a_full_disk_are_refused_before_a_byte_is_taken(started):
    with started(capacity=Capacity(upload_bytes=1000)) as client:
        assert begin(client, client.new_slide(), "a.png", 1001).status_code == 413
    with started(capacity=Capacity(free_bytes=1 << 62)) as client:
        refused = begin(client, client.new_slide(), "a.png", 10)
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        assert refused.headers["retry-after"]


def test_a_full_queue_is_said_with_a_time_to_try_again(started):
    with started(capacity=Capacity(open_uploads=2)) as client:
        slide = client.new_slide()
        for _ in range(3):
            assert begin(client, slide, "a.png", 10).status_code == 201
        refused = begin(client, slide, "a.png", 10)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) > 0


def test_a_name_leads_nowhere(client: Client):
    slide = client.new_slide()
    for n, name in enumerate(
        ["../../etc/passwd.png", "/etc/passwd.png", "..\\..\\x.png", "a\nb.png", "\u202egnp.png"]
    ):
        client.send(slide, name, noise(n))
    assert client.settled(slide)["cells"] == 5
    client.send(slide, "x.zip", zipped({"a/../../../tmp/out.png": noise(77), "/abs.png": noise(78)}))
    assert client.settled(slide)["cells"] == 6  # a part that begins with a dot is passed over as hidden
    inside = {p.name for p in client.site.settings.data.iterdir()}
    assert inside <= {
        "images",
        "uploads",
        "thumbnails",
        "secret",
        "id",
        "review.sqlite",
        "review.sqlite-wal",
        "review.sqlite-shm",
        ".lock",
    }


def test_an_upload_begun_before_signing_is_given_up_by_it(client: Client):
    slide = client.slide_of(smear(2))
    upload = begin(client, slide, "late.png", 10).json()["upload"]
    client.review_all(slide)
    assert client.sign(slide, without_files=True).status_code == 200
    refused = client.put(f"/uploads/{upload}", b"0123456789", offset=0)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "dropped")
    assert client.get(f"/uploads/{upload}").json() == {"upload": upload, "offset": 0, "done": True}
    assert client.get(f"/slides/{slide}").json()["cells"] == 2


def test_files_that_wait_are_found_by_the_next_start(started, store_url: str):
    with started(store_url) as client:
        client.site.worker.stop()
        slide = client.new_slide()
        client.send(slide, "smear.zip", smear(40))
    with started(store_url) as client:
        assert client.settled(slide)["cells"] == 40


def test_a_slide_of_another_model_waits_and_is_not_judged_by_this_one(started, small_model):
    from hemoscope.predict.model import Model

    with started() as client:
        slide = client.slide_of(smear(2))
    other = Model(small_model.card, small_model.networks, "e" * 64)
    with started(model=other) as client:
        refused = begin(client, slide, "a.png", 10)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_model")
        assert client.state(slide)["seq"] == 0
        assert client.place(slide, [0], "ig").status_code == 200
        assert client.get(f"/slides/{slide}/cells/0/heatmap").status_code == 409
