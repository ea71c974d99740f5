"""A server in this process on a small network with random weights, and stores of both kinds to run it on.

What the network says is chance and stays the same; these tests are of what becomes of it.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.postgres import NoPostgresError, new_database, postgres

if TYPE_CHECKING:
    from hemoscope.predict.model import Model
    from tests.server.client import Client

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with postgres(fsync=False) as url:
            yield url
    except NoPostgresError as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.sqlite'}"
    return new_database(request.getfixturevalue("postgres_server"), f"t{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def small_model() -> Model:
    """Eight classes of blood by a network that has learned nothing."""
    from tests.server.small_model import make_small_model

    return make_small_model()


@pytest.fixture
def started(small_model: Model, tmp_path: Path) -> Callable[..., Iterator[Client]]:
    """A maker of running servers: `with started(url) as client`; the same folder and store every time."""
    from fastapi.testclient import TestClient

    from hemoscope.differential.reference import read_reference
    from hemoscope.review.exports.loinc import read_codes
    from hemoscope.server.app import create_app
    from hemoscope.server.judge import Judge
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site
    from tests.server.client import Client

    @contextmanager
    def start(
        store: str = "",
        *,
        model: Model = small_model,
        ranges: Path | None = None,
        codes: Path | None = None,
        **changes: object,
    ) -> Iterator[Client]:
        settings = replace(Settings(tmp_path / "data", store=store), **changes)
        with (
            open_site(settings, Judge(model), read_reference(ranges), read_codes(codes)) as site,
            TestClient(
                create_app(site), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
            ) as http,
        ):
            yield Client(http, site)

    return start


@pytest.fixture
def client(started: Callable[..., Iterator[Client]]) -> Iterator[Client]:
    """A running server on SQLite."""
    with started() as running:
        yield running


@pytest.fixture
def on_both(started: Callable[..., Iterator[Client]], store_url: str) -> Iterator[Client]:
    """A running server on SQLite, and once more on PostgreSQL."""
    with started(store_url) as running:
        yield running


@pytest.fixture
def listening(small_model: Model, tmp_path: Path) -> Iterator[str]:
    """A server on a port of its own; the address."""
    with listening_on(small_model, tmp_path / "data") as address:
        yield address


@contextmanager
def listening_on(model: Model, data: Path, store: str = "") -> Iterator[str]:
    """Give the address of a server on a port of its own."""
    from hemoscope.differential.reference import read_reference
    from hemoscope.server.judge import Judge
    from hemoscope.server.serve import listen, serve
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site

    settings = Settings(data, port=0, store=store)
    held = listen(settings)
    settings = replace(settings, port=held.getsockname()[1])
    ready = threading.Event()
    servers = []
    with open_site(settings, Judge(model), read_reference()) as site:
        thread = threading.Thread(
            target=serve, args=(site, held), kwargs={"on_ready": ready.set, "made": servers.append}
        )
        thread.start()
        ready.wait()
        yield f"http://127.0.0.1:{settings.port}"
        site.events.close()
        servers[0].should_exit = True
        thread.join()


@pytest.fixture
def server_log(tmp_path: Path) -> Iterator[Path]:
    """The file that the server's log goes to in this test."""
    from hemoscope.server.logs import log_to

    log_to(tmp_path / "server.log")
    yield tmp_path / "server.log"
    logger = logging.getLogger("hemoscope.server")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
