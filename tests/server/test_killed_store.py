"""PostgreSQL itself killed during a review: it is told, nothing that was called saved is lost, and all goes on."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import listening_on
from tests.server.pictures import noise, smear
from tools.postgres import NoPostgresError, Postgres, new_database, running_postgres
from tools.review_session import Session

pytestmark = pytest.mark.slow


@pytest.fixture
def victim():
    try:
        with running_postgres() as server:
            yield server
    except NoPostgresError as reason:
        pytest.skip(str(reason))


def test_while_postgresql_is_dead_everything_is_refused_with_the_reason_and_then_goes_on(
    started, victim: Postgres
):
    with started(new_database(victim.url, "review")) as client:
        slide = client.slide_of(smear(6))
        client.place(slide, [0, 1], "ig")
        half = noise(7)
        begun = client.post(f"/slides/{slide}/uploads", {"name": "late.png", "bytes": len(half)}).json()
        client.put(f"/uploads/{begun['upload']}", half[:1000], offset=0)
        before, seen = client.state(slide), client.seen(slide)
        victim.kill()
        for refused in (
            client.place(slide, [2], "ig", base=before["seq"]),
            client.put(f"/uploads/{begun['upload']}", half[1000:], offset=1000),
            client.sign(slide, seen=seen, reason="late"),
            client.get(f"/slides/{slide}"),
        ):
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_away")
            assert "does not answer" in refused.json()["error"]["message"]
            assert refused.headers["retry-after"]
        assert client.http.get("/readyz").status_code == 503
        assert client.http.get("/healthz").status_code == 200
        victim.start()
        assert client.state(slide) == before
        assert client.get(f"/uploads/{begun['upload']}").json()["offset"] == 1000
        assert client.put(f"/uploads/{begun['upload']}", half[1000:], offset=1000).json()["done"]
        assert client.settled(slide)["cells"] == 7
        assert client.place(slide, [2], "ig").status_code == 200
        assert client.sign(slide, reason="late").status_code == 200


def test_a_session_goes_on_after_each_of_several_kills_and_has_lost_nothing(
    small_model, victim: Postgres, tmp_path: Path
):
    rng = random.Random(5)
    with listening_on(small_model, tmp_path / "data", new_database(victim.url, "review")) as address:
        session = Counting(address, tmp_path / "data", random.Random(6))
        for _ in range(4):
            session.check()
            worker = session.go_on()
            session.wait(rng.randint(10, 90), worker)
            victim.kill()
            worker.join()
            victim.start()
        session.check()
        session.finish()
        session.http.close()
    assert session.lost == []
    assert session.acknowledged()["entries of logs"] > 20


class Counting(Session):
    """A session whose answers can be waited for."""

    def __init__(self, address: str, data: Path, rng: random.Random) -> None:
        self._answers = threading.Semaphore(0)
        super().__init__(address, data, rng)

    def wait(self, answers: int, worker: threading.Thread) -> None:
        """Wait until so many more have come, so that the client is in the midst of its work."""
        while answers and worker.is_alive():
            answers -= self._answers.acquire(timeout=0.1)

    def _client(self) -> httpx.Client:
        client = super()._client()
        hooks = client.event_hooks["response"]
        client.event_hooks = {"response": [*hooks, lambda _: self._answers.release()]}
        return client
