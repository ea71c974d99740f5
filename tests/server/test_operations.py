"""Alive, ready, figures, logs, news, stopping; a store that goes away."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from hemoscope.errors import ConfigError, RunError, StoreError
from hemoscope.predict.model import Model
from hemoscope.server import events
from hemoscope.server.serve import listen
from hemoscope.server.settings import Settings
from hemoscope.server.store.migrate import migrate
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FolderRow
from hemoscope.server.users import Users
from tests.server.client import API, Client
from tests.server.pictures import noise, smear


def test_health_readiness_and_figures_need_no_sign_in(started):
    with started(host="0.0.0.0") as client:
        assert client.http.get("/healthz").json() == {"status": "ok"}
        assert client.http.get("/readyz").json() == {"status": "ready"}
        assert "hemoscope_waiting_images 0.0" in client.http.get("/metrics").text


def test_figures_count_images_and_requests_by_route_and_never_by_name(client: Client):
    client.slide_of(smear(3))
    client.http.get("/nobody/Mrs-Miller")
    text = client.http.get("/metrics").text
    assert "hemoscope_images_total 3.0" in text
    assert 'route="/slides/{slide}/uploads",status="201"' in text
    assert "Miller" not in text
    assert "cell_000" not in text


def test_the_log_has_no_name_of_a_file_slide_or_folder(client: Client, server_log: Path):
    slide = client.new_slide("Mrs Miller")
    client.send(slide, "miller_1957.png", noise(1))
    client.send(slide, "miller_bad.png", b"x")
    client.settled(slide)
    client.get(f"/images/{'0' * 64}")
    client.http.get("/Miller?name=Miller")
    logging.getLogger("hemoscope.server").error("defect", exc_info=ValueError("miller_1957.png"))
    text = server_log.read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["route"] for line in lines if "route" in line} >= {"/slides/{slide}/uploads", "other"}
    assert "iller" not in text
    assert lines[-1]["error"] == "ValueError"


def test_a_defect_is_told_without_its_reason_or_a_path(client: Client, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(client.site.uploads, "find", fail)
    answer = client.get(f"/uploads/{'0' * 32}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "defect")
    assert "secret" not in answer.text


def test_a_second_server_on_a_folder_is_refused(started):
    with started(), pytest.raises(RunError, match="in use by another process"), started():
        pass


def test_a_store_with_another_folder_than_that_of_its_images_is_refused(
    started, store_url: str, tmp_path: Path
):
    with started(store_url) as client:
        slide = client.slide_of(smear(3))
    with (
        pytest.raises(StoreError, match="lie in another data folder than .*elsewhere"),
        started(store_url, data=tmp_path / "elsewhere"),
    ):
        pass
    with started(store_url) as client:
        assert client.get(f"/slides/{slide}").json()["cells"] == 3


def test_a_store_from_before_it_knew_its_folder_is_refused_where_its_images_are_not(
    started, store_url: str, tmp_path: Path
):
    with started(store_url) as client:
        client.slide_of(smear(3))
        with client.site.store.write() as session:
            session.execute(delete(FolderRow))
        (client.site.settings.data / "id").unlink()
    with pytest.raises(StoreError, match="another data folder"), started(store_url, data=tmp_path / "other"):
        pass
    with started(store_url) as client:
        assert len((client.site.settings.data / "id").read_text("utf-8")) == 33


def test_a_second_server_on_a_postgresql_store_is_refused_until_the_first_has_ended(
    started, postgres_server: str, tmp_path: Path
):
    import secrets
    import shutil

    from tools.postgres import new_database

    url = new_database(postgres_server, f"t{secrets.token_hex(6)}")
    with started(url) as client:
        shutil.copytree(client.site.settings.data, tmp_path / "copy")  # with its id
        with (
            pytest.raises(StoreError, match="in use by another server"),
            started(url, data=tmp_path / "copy"),
        ):
            pass
    with started(url, data=tmp_path / "copy") as client:
        assert client.http.get("/readyz").status_code == 200


def test_an_image_whose_file_is_missing_waits_until_it_is_back_and_others_go_on(started):
    with started() as client:
        client.site.worker.stop()
        lost = client.new_slide()
        client.send(lost, "a.png", noise(77))
        while client.get(f"/slides/{lost}").json()["waiting"] != 1:
            time.sleep(0.01)
        path = client.site.pictures.path(hashlib.sha256(noise(77)).hexdigest())
        path.rename(path.with_suffix(".away"))
    with started() as client:
        assert client.get(f"/slides/{client.slide_of(smear(2))}").json()["cells"] == 2
        found = client.get(f"/slides/{lost}").json()
        assert (found["waiting"], found["rejected"]) == (1, [])
        path.with_suffix(".away").rename(path)
        assert client.settled(lost)["cells"] == 1


@pytest.mark.parametrize("n", [1, 2])
def test_an_image_on_which_the_model_fails_is_rejected_after_a_second_try(started, small_model, n: int):
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    (network,) = small_model.networks
    broken = replace(network, model=copy.deepcopy(network.model))
    broken.model.register_forward_pre_hook(fails)
    with started(model=Model(small_model.card, [broken], small_model.digest)) as client:
        found = client.get(f"/slides/{client.slide_of(smear(n))}").json()
        assert [r["reason"] for r in found["rejected"]] == n * [
            "the model failed on this image; the server's log has the reason"
        ]


def test_a_store_of_a_newer_version_is_refused(store_url: str):
    from sqlalchemy import text

    store = Store(store_url)
    migrate(store)
    migrate(store)  # there is nothing to do
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer"):
        migrate(store)
    store.close()


def test_the_migrations_make_the_tables_that_the_program_has(store_url: str):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from hemoscope.server.store.tables import Base

    store = Store(store_url)
    migrate(store)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    store.close()


def test_one_reading_sees_one_moment_also_where_rows_are_written_meanwhile(store_url: str):
    from sqlalchemy import text

    store = Store(store_url)
    migrate(store)
    asked = text("SELECT version_num FROM alembic_version")
    with store.read() as session:
        before = session.scalar(asked)
        with store.write() as other:
            other.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert session.scalar(asked) == before
    with store.read() as session:
        assert session.scalar(asked) == "9999"
    store.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "no url", "postgresql+nothing://x/y", "sqlite+nothing:///x"])
def test_another_kind_of_store_is_refused(url: str):
    with pytest.raises(ConfigError, match="expected a store"):
        Store(url)


def test_a_store_that_does_not_answer_is_told_and_nothing_is_changed(started, postgres_server: str):
    import secrets

    import psycopg

    from tools.postgres import new_database

    name = f"t{secrets.token_hex(6)}"
    with started(new_database(postgres_server, name)) as client:
        slide = client.slide_of(smear(3))
        client.place(slide, [0], "ig")
        with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as other:
            other.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            refused = client.place(slide, [1], "ig", base=1)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_away")
            assert refused.headers["retry-after"]
            assert client.http.get("/readyz").status_code == 503
            assert client.http.get("/healthz").status_code == 200
            other.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        assert client.state(slide)["seq"] == 1
        assert client.place(slide, [1], "ig").status_code == 200
        client.send(slide, "more.zip", smear(2, seed=1))
        assert client.settled(slide)["cells"] == 5


def test_news_of_a_slide_come_as_they_happen_and_end_when_the_server_stops(listening: str):
    with httpx.Client(base_url=listening, timeout=None) as http:
        client = Client(http, site=None)  # type: ignore[arg-type]
        slide = client.new_slide()
        kinds, begun = [], threading.Event()

        def listen_to() -> None:
            with httpx.stream("GET", f"{listening}{API}/slides/{slide}/events", timeout=None) as stream:
                for line in stream.iter_lines():
                    begun.set()
                    if line.startswith("event: "):
                        kinds.append(line.removeprefix("event: "))
                    if line == "event: signed":
                        return

        thread = threading.Thread(target=listen_to)
        thread.start()
        begun.wait()
        client.send(slide, "smear.zip", smear(2))
        client.settled(slide)
        client.review_all(slide)
        client.sign(slide)
        thread.join()
    assert kinds.index("progress") < kinds.index("cells") < kinds.index("entry") < kinds.index("signed")


def test_the_news_of_a_user_who_was_removed_end(
    listening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(events, "ALIVE_S", 0.05)
    store = Store(Settings(tmp_path / "data").store_url)
    users = Users(store, session_s=0)
    users.add("ada", "reader", "correct horse battery")  # pragma: allowlist secret
    with httpx.Client(base_url=listening + API, timeout=None) as http:
        headers = {"X-CSRF-Token": http.get("/session").json()["csrf"]}
        body = {"name": "ada", "password": "correct horse battery"}  # pragma: allowlist secret
        headers = {"X-CSRF-Token": http.post("/session", json=body, headers=headers).json()["csrf"]}
        slide = http.post("/slides", json={"title": "A"}, headers=headers).json()["id"]
        with http.stream("GET", f"/slides/{slide}/events") as stream:
            lines = stream.iter_lines()
            while next(lines) != "event: alive":  # signed in, it goes on
                pass
            users.remove("ada")
            assert set(lines) <= {"", "event: alive", "data: {}"}
    store.close()


def test_a_port_that_is_taken_is_told(listening: str, tmp_path: Path):
    port = int(listening.rpartition(":")[2])
    with pytest.raises(ConfigError, match="choose another --port"):
        listen(Settings(tmp_path, port=port))
