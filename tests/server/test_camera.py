"""A slide's cells are judged at the slide's camera: one for all of them, in whatever order they came."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.camera import LOOKED_AT
from hemoscope.data.synthetic import draw_cell
from hemoscope.predict.model import Model
from hemoscope.server.cameras import PATIENCE_S, SETTLE_S, Cameras
from hemoscope.server.clock import now
from hemoscope.server.judge import Judge
from hemoscope.server.pictures import Pictures
from hemoscope.server.store.migrate import migrate
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FileRow, ModelRow, SlideRow, UploadRow
from tests.server.client import Client
from tests.server.pictures import zipped

HOME_PX = 60.0
KINDS = ("neutrophil", "monocyte", "lymphocyte", "ig")


def cell(seed: int, size_px: int = 80) -> bytes:
    """A drawn cell, as a camera shows it that gives it so many pixels."""
    pixels = draw_cell(KINDS[seed % len(KINDS)], size_px=160, rng=np.random.default_rng(seed))
    file = io.BytesIO()
    Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BOX).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def cells() -> list[bytes]:
    return [cell(i) for i in range(14)]


@pytest.fixture(scope="module")
def model() -> Model:
    from tests.server.small_model import make_small_model

    return make_small_model(HOME_PX)


@pytest.fixture
def client(started, store_url: str, model: Model) -> Iterator[Client]:
    with started(store_url, model=model) as running:
        yield running


def said(client: Client, slide: int) -> dict[str, list[float]]:
    return {c["digest"]: c["probs"] for c in client.cells(slide)}


def test_the_order_in_which_cells_come_changes_no_answer(client: Client, model: Model, cells: list[bytes]):
    first, second = client.new_slide(), client.new_slide()
    for i, content in enumerate(cells):
        client.send(first, f"{i}.png", content)
    client.send(second, "smear.zip", zipped({f"{i}.png": c for i, c in enumerate(reversed(cells))}))
    measured = [client.settled(slide)["nucleus_px"] for slide in (first, second)]
    assert measured == [pytest.approx(model.seen_px(cells))] * 2  # as `predict` would of all of them
    assert measured[0] < 0.8 * HOME_PX
    assert said(client, first) == said(client, second)
    there = list(model.at_nucleus(measured[0]).judge(cells))
    for verdict, cell in zip(there, client.cells(first), strict=True):
        assert verdict.probs is not None
        assert cell["probs"] == pytest.approx(verdict.probs.tolist(), abs=1e-5)


def test_cells_that_come_later_are_judged_as_the_first_were(client: Client, model: Model, cells: list[bytes]):
    slide = client.slide_of(zipped({f"{i}.png": c for i, c in enumerate(cells[:8])}))
    before = client.get(f"/slides/{slide}").json()["nucleus_px"]
    larger = cell(99, size_px=150)
    client.send(slide, "later.png", larger)
    assert client.settled(slide)["nucleus_px"] == before
    (verdict,) = model.at_nucleus(before).judge([larger])
    assert verdict.probs is not None
    assert client.cells(slide)[-1]["probs"] == pytest.approx(verdict.probs.tolist(), abs=1e-5)


def test_the_heatmap_and_the_exports_are_of_the_slides_camera(
    client: Client, model: Model, cells: list[bytes]
):
    slide = client.slide_of(zipped({f"{i}.png": c for i, c in enumerate(cells)}))
    px = client.get(f"/slides/{slide}").json()["nucleus_px"]
    name = client.cells(slide)[0]["pred"]
    shown = client.get(f"/slides/{slide}/cells/0/heatmap")
    pixels = np.asarray(Image.open(io.BytesIO(cells[0])).convert("RGB"))
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(shown.content))), Judge(model).at(px).heat(pixels, name)
    )
    assert client.get(f"/slides/{slide}/export/json").json()["nucleus_px"] == px
    assert f"measured as {px:.0f} px" in client.get(f"/slides/{slide}/export/html").text


def test_a_slide_of_a_model_that_frames_no_nuclei_has_none(started, cells: list[bytes]):
    with started() as running:
        slide = running.slide_of(zipped({"a.png": cells[0]}))
        assert running.get(f"/slides/{slide}").json()["nucleus_px"] is None
        assert running.get(f"/slides/{slide}/export/json").json()["nucleus_px"] is None


@pytest.fixture
def store(store_url: str, model: Model) -> Iterator[Store]:
    """A store with a slide of one upload on its way."""
    made = Store(store_url)
    migrate(made)
    with made.write() as session:
        session.add(ModelRow(digest=model.digest, facts={}))
        session.flush()
        session.add(SlideRow(id=1, title="", model=model.digest, created=now(), by=""))
        session.flush()
        session.add(UploadRow(id="u", slide=1, name="", bytes=9, received=1, status="open", created=now()))
    yield made
    made.close()


@pytest.fixture
def look(store: Store, model: Model, tmp_path: Path) -> Callable[..., float | None]:
    """Look at the cameras at a moment, with so many images of the slide there; return what the slide's is."""
    pictures, moment = Pictures(tmp_path / "data"), [0.0]
    cameras = Cameras(store, pictures, Judge(model), clock=lambda: moment[0])
    digest, there = pictures.put(cell(0)), [0]

    def at(seconds: float, *, files: int, upload: str = "open") -> float | None:
        moment[0] = seconds
        with store.write() as session:
            session.get_one(UploadRow, "u").status = upload
            for position in range(there[0], files):
                row = {"slide": 1, "upload": "u", "position": position, "name": "", "digest": digest}
                session.add(FileRow(**row, status="waiting"))
        there[0] = files
        cameras.measure()
        with store.read() as session:
            return session.get_one(SlideRow, 1).nucleus_px

    return at


def test_a_slide_waits_for_what_is_on_its_way_and_not_for_ever(look: Callable[..., float | None]):
    assert look(0, files=3) is None
    assert look(PATIENCE_S - 1, files=4) is None  # there is news
    assert look(2 * PATIENCE_S - 2, files=4) is None
    assert look(2 * PATIENCE_S, files=4) is not None  # its browser is gone


def test_a_slide_that_has_come_whole_waits_a_moment_for_more(look: Callable[..., float | None]):
    assert look(0, files=3, upload="done") is None
    assert look(SETTLE_S, files=3, upload="done") is not None


def test_an_archive_that_is_being_opened_is_waited_for(look: Callable[..., float | None]):
    assert look(0, files=3, upload="whole") is None
    assert look(1000, files=3, upload="whole") is None
    assert (
        look(1001, files=LOOKED_AT, upload="whole") is not None
    )  # or until as many are there as are looked at


def test_a_slide_whose_cells_were_judged_as_at_home_stays_there(
    store: Store, look: Callable[..., float | None]
):
    with store.write() as session:
        session.get_one(SlideRow, 1).cells = 5
    assert look(0, files=3) == HOME_PX


def test_a_store_of_the_first_tables_gets_the_camera(store_url: str):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    import hemoscope.server.store.migrations as migrations

    store = Store(store_url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with store.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with store.write() as session:
        session.execute(text("INSERT INTO models (digest, facts) VALUES ('m', '{}')"))
        session.execute(
            text(
                "INSERT INTO slides (title, status, revision, seq, readings, blind, readers, model, cells, reviewed, open, "
                "created, by) VALUES ('old', 'open', 1, 0, 1, false, '{}', 'm', 0, 0, 0, '', '')"
            )
        )
    migrate(store)
    with store.read() as session:
        old = session.query(SlideRow).one()
        assert (old.title, old.nucleus_px) == ("old", None)
    store.close()
