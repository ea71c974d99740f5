"""A store in one file, and back into a store of either kind."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hemoscope.errors import DataError
from hemoscope.server.backup import backup, restore
from hemoscope.server.store.store import Store
from tests.server.client import Client
from tests.server.pictures import noise, smear


@pytest.fixture
def saved(started, tmp_path: Path) -> dict:
    """A backup of a running server with a signed slide, an open one, a half upload, and what they were."""
    out = tmp_path / "backup.zip"
    with started() as client:
        signed = client.slide_of(smear(4))
        client.review_all(signed)
        client.sign(signed)
        slide = client.slide_of(smear(3, seed=1))
        client.place(slide, [2], "ig")
        client.command(slide, {"kind": "note", "cell": 1, "text": "näh"})
        half = client.post(f"/slides/{slide}/uploads", {"name": "late.png", "bytes": len(noise(77))}).json()[
            "upload"
        ]
        client.put(f"/uploads/{half}", noise(77)[:100], offset=0)
        n = backup(client.site.store, client.site.settings.data, out)
        assert n == 7
        return {
            "file": out,
            "slide": slide,
            "signed": signed,
            "half": half,
            "said": said(client, slide, signed),
        }


def said(client: Client, *slides: int) -> list:
    return [
        [
            client.get(f"/slides/{slide}{what}").json()
            for what in ("", "/cells", "/state", "/log", "/differential", "/audit")
        ]
        for slide in slides
    ]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_restores_into_a_store_of_either_kind(saved, started, kind: str, request, tmp_path: Path):
    import secrets

    from hemoscope.server.settings import Settings
    from tools.postgres import new_database

    data = tmp_path / "elsewhere"
    url = Settings(data).store_url
    if kind == "postgresql":
        url = new_database(request.getfixturevalue("postgres_server"), f"t{secrets.token_hex(6)}")
    data.mkdir()
    store = Store(url)
    assert restore(store, data, saved["file"]) == 7
    store.close()
    with started(url, data=data) as client:
        assert said(client, saved["slide"], saved["signed"]) == saved["said"]
        assert client.put(f"/uploads/{saved['half']}", noise(77)[100:], offset=100).json()["done"]
        assert client.settled(saved["slide"])["cells"] == 4
        assert client.get(f"/images/{client.cells(saved['slide'])[3]['digest']}", px=64).status_code == 200
        assert client.new_slide() == 3  # numbers go on where they were
        assert list((data / "signed").iterdir())


def test_a_store_that_holds_something_is_not_restored_into(saved, started, tmp_path: Path):
    with started() as client:
        there = client.site.settings.data
    store = Store(f"sqlite:///{there / 'review.sqlite'}")
    with pytest.raises(DataError, match="expected an empty store"):
        restore(store, there, saved["file"])
    store.close()


def test_a_backup_with_a_changed_image_is_refused(saved, tmp_path: Path):
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(saved["file"]) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, noise(1) if name.startswith("images/") else old.read(name))
    (tmp_path / "new").mkdir()
    store = Store(f"sqlite:///{tmp_path / 'new' / 'review.sqlite'}")
    with pytest.raises(DataError, match="is not the image it is named after"):
        restore(store, tmp_path / "new", changed)
    store.close()


def test_rows_beyond_what_a_zip_of_old_holds_are_saved(on_both: Client, tmp_path: Path, monkeypatch):
    slide = on_both.slide_of(smear(3))
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # of 2 GiB
    backup(on_both.site.store, on_both.site.settings.data, tmp_path / "backup.zip")
    with zipfile.ZipFile(tmp_path / "backup.zip") as archive:
        cells = archive.read("rows/cells.jsonl").splitlines()
    assert len(cells) == 3 == on_both.get(f"/slides/{slide}").json()["cells"]


@pytest.mark.parametrize("damage", ["cut", "changed", "none"])
def test_a_damaged_backup_is_refused_with_what_to_do(saved, tmp_path: Path, damage: str):
    content = bytearray(saved["file"].read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "changed":
        with zipfile.ZipFile(saved["file"]) as archive:
            content[archive.getinfo("rows/cells.jsonl").header_offset + 100] ^= 255
    else:
        content = bytearray(b"{}")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    data = tmp_path / "new"
    data.mkdir()
    store = Store(f"sqlite:///{data / 'review.sqlite'}")
    with pytest.raises(
        DataError, match=r"damaged\.zip is damaged, cut short or no archive: .*; get it again"
    ):
        restore(store, data, damaged)
    store.close()


def test_a_backup_does_not_replace_a_file(saved, started):
    with started() as client, pytest.raises(DataError, match="is there already"):
        backup(client.site.store, client.site.settings.data, saved["file"])
