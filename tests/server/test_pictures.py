"""Small and large pictures, heatmaps, and the reference cells beside a doubtful one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.predict.model import Model
from hemoscope.server.judge import Judge
from hemoscope.server.pictures import SIZES_PX, Pictures
from hemoscope.server.store.tables import ModelRow
from tests.server.client import API, Client
from tests.server.pictures import noise, smear


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(("px", "side"), [(1, 48), (96, 96), (97, 128), (4096, SIZES_PX[-1])])
def test_a_thumbnail_is_a_square_of_the_next_size(client: Client, px: int, side: int):
    slide = client.slide_of(smear(1))
    (cell,) = client.cells(slide)
    for _ in range(2):  # made, and kept
        answer = client.get(f"/images/{cell['digest']}", px=px)
        assert opened(answer.content).size == (side, side)
        assert "immutable" in answer.headers["cache-control"]


def test_the_large_picture_is_the_image_to_the_pixel(client: Client):
    slide = client.slide_of(noise(7, 31), "a.png")
    (cell,) = client.cells(slide)
    answer = client.get(f"/images/{cell['digest']}")
    np.testing.assert_array_equal(np.asarray(opened(answer.content)), np.asarray(opened(noise(7, 31))))


@pytest.mark.parametrize("digest", ["0" * 64, "x" * 64, "0" * 63, "..", "%2e%2e%2fsecret"])
def test_an_image_that_is_not_there_is_told_so_without_a_path(client: Client, digest: str):
    answer = client.http.get(f"{API}/images/{digest}")
    assert answer.status_code == 404
    assert str(client.site.settings.data) not in answer.text


def test_an_image_keeps_its_digest_and_is_kept_once(tmp_path: Path):
    import hashlib

    pictures = Pictures(tmp_path)
    content = noise(1)
    assert pictures.put(content) == pictures.put(content) == hashlib.sha256(content).hexdigest()
    assert [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()] == [content]


def test_what_only_the_served_model_can_tell_is_refused_of_another_model_s_slide(started, small_model):
    with started() as client:
        slide = client.slide_of(smear(2))
        classes = client.get(f"/slides/{slide}").json()["classes"]
        assert classes == client.get("/model").json()["classes"]
    other = Model(small_model.card, small_model.networks, "e" * 64)
    with started(model=other) as client:
        for what in ("neighbours", "heatmap"):
            refused = client.get(f"/slides/{slide}/cells/0/{what}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_model"), what
        with client.site.store.write() as session:
            row = session.get_one(ModelRow, small_model.digest)
            row.facts = {**row.facts, "classes": ["segmented", *row.facts["classes"][:0:-1]]}
        told = client.get(f"/slides/{slide}").json()["classes"]
        assert told[0] == {
            "name": "segmented",
            "label": "segmented",
            "role": "other",
            "percent": None,
            "key": "s",
        }
        assert [c["label"] for c in told[1:]] == [c["label"] for c in classes[:0:-1]]


def test_a_heatmap_is_kept_only_under_an_address_that_names_its_image_and_model(client: Client):
    pytest.importorskip("pytorch_grad_cam")
    slide = client.slide_of(smear(2))
    first, second = client.cells(slide)
    model = client.get("/model").json()["digest"]
    path = f"/slides/{slide}/cells/0/heatmap"
    kept = client.get(path, image=first["digest"], model=model)
    assert (kept.status_code, "immutable" in kept.headers["cache-control"]) == (200, True)
    for named in ({}, {"image": second["digest"], "model": model}, {"image": first["digest"]}):
        assert client.get(path, **named).headers["cache-control"] == "no-store"


def test_a_heatmap_lies_over_the_whole_picture(client: Client):
    pytest.importorskip("pytorch_grad_cam")
    slide = client.slide_of(smear(1))
    answer = client.get(f"/slides/{slide}/cells/0/heatmap")
    assert answer.status_code == 200, answer.text
    assert (opened(answer.content).size, opened(answer.content).mode) == ((24, 24), "RGBA")
    assert client.get(f"/slides/{slide}/cells/0/heatmap", of="ig").status_code == 200
    assert client.get(f"/slides/{slide}/cells/0/heatmap", of="none").status_code == 422
    assert client.get(f"/slides/{slide}/cells/9/heatmap").status_code == 404


def test_heat_of_a_long_image_lies_on_its_central_square(small_model):
    pytest.importorskip("pytorch_grad_cam")
    heat = Judge(small_model).heat(
        np.random.default_rng(0).integers(0, 255, (40, 100, 3)).astype(np.uint8), "ig"
    )
    assert heat.shape == (40, 100, 4)
    assert heat[:, 31:69, 3].any()
    assert not heat[:, :28, 3].any()
    assert not heat[:, 72:, 3].any()


def test_features_are_those_of_the_image_whatever_its_batch(small_model):
    judge = Judge(small_model)
    images = [noise(i) for i in range(5)]
    together = judge.judge([*images[:2], b"no image", *images[2:]])
    assert together[2].verdict.status == "error"
    assert together[2].features == b""
    for image, found in zip(images, together[:2] + together[3:], strict=True):
        (alone,) = judge.judge([image])
        np.testing.assert_allclose(
            np.frombuffer(found.features, np.float16), np.frombuffer(alone.features, np.float16), atol=2e-3
        )
        assert found.verdict.pred == alone.verdict.pred


def test_the_nearest_reference_cell_of_a_cell_is_its_own_image_on_a_signed_slide(client: Client):
    first = client.slide_of(smear(6))
    client.review_all(first)
    cells = {c["digest"]: c for c in client.cells(first)}
    places = client.state(first)["places"]
    client.sign(first)
    second = client.new_slide()
    client.send(second, "other.png", noise(500))
    client.send(second, "smear.zip", smear(6))
    client.settled(second)
    other = next(c for c in client.cells(second) if c["name"] == "other.png")
    by_class = client.get(f"/slides/{second}/cells/{other['cell']}/neighbours").json()["by_class"]
    assert next(iter(by_class)) == other["pred"]
    assert set(by_class) == {other["pred"], *other["candidates"]}
    for name, found in by_class.items():
        assert [n["distance"] for n in found] == sorted(n["distance"] for n in found)
        for n in found:
            assert places[str(cells[n["digest"]]["cell"])] == name
            assert n["source"] == "Smear 17"


def test_a_gallery_s_cells_are_reference_cells_too(started, tmp_path: Path, server_log: Path):
    for n, name in enumerate(
        ("basophil", "eosinophil", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet", "erythroblast")
    ):
        (tmp_path / "gallery" / name).mkdir(parents=True)
        (tmp_path / "gallery" / name / "one.png").write_bytes(noise(900 + n))
        (tmp_path / "gallery" / name / "lost.png").symlink_to("nowhere.png")
    with started(gallery=tmp_path / "gallery") as client:
        slide = client.slide_of(smear(1))
        while True:
            by_class = client.get(f"/slides/{slide}/cells/0/neighbours").json()["by_class"]
            if all(by_class.values()):
                break
        (found,) = by_class[client.cells(slide)[0]["pred"]]
        assert found["source"] == "gallery"
        assert client.get(f"/images/{found['digest']}", px=64).status_code == 200
    told = server_log.read_text("utf-8")
    assert "gallery, a file: No such file or directory" in told
    assert "lost.png" not in told
