"""A server in this process on a small network with random weights, and stores of both kinds to run it on.

What the network says is chance and stays the same; these tests are of what becomes of it.
"""

from __future__ import annotations

import secrets
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

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
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
    """Eight classes of blood by a SqueezeNet that has learned nothing; a third each accepted, for review, unknown."""
    import torch

    from hemoscope.bundle.card import BundleCard, Calibration, MemberCard, Preprocessing
    from hemoscope.bundle.file import Bundle
    from hemoscope.models.build import build
    from hemoscope.predict.model import on_device
    from tests.server.pictures import noise

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    known = torch.nn.functional.normalize(torch.rand(16, 512, generator=generator), dim=1)
    trust = Calibration(
        n_val=800,
        temperature=0.05,
        review_below=None,
        error_rate=0.01,
        conformal_score=0.9,
        coverage=0.99,
        unknown_above=3,
        unknown_share=0.01,
        confusion=tuple(tuple(90 if i == j else 1 for j in range(8)) for i in range(8)),
        measured={},
    )
    square = Preprocessing(
        image_px=64, canvas_px=64, view="full_image", fill="black", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    member = MemberCard(
        run="random",
        arch="squeezenet1_1",
        head="replace_last",
        preprocessing=square,
        recipe={},
        seed=0,
        digest="0" * 64,
        parameters=1,
        pretrained={},
    )
    card = BundleCard(
        name="random",
        classes=CLASSES,
        members=(member,),
        vote="soft",
        chosen="",
        data={},
        split={},
        scores={},
        calibration=trust,
        intended_use="",
        limits=(),
        versions={},
        created="",
    )

    tmp = Path()

    def model(card: BundleCard) -> Model:
        network = build("squeezenet1_1", 8, seed=0).eval()
        return on_device(Bundle(tmp, card, (network,), {}, {}, "d" * 64, (known,)), "cpu", "fp32")

    said = list(model(card).judge([noise(i) for i in range(30)]))
    sure = sorted(max(v.probs) for v in said)
    far = sorted(v.distance for v in said)
    chosen = trust.model_copy(update={"review_below": float(sure[12]), "unknown_above": float(far[20])})
    return model(card.model_copy(update={"calibration": chosen}))


Started = Callable[..., "contextmanager"]


@pytest.fixture
def started(small_model: Model, tmp_path: Path) -> Callable[..., Iterator[Client]]:
    """A maker of running servers: `with started(url) as client`; the same folder and store every time."""
    from fastapi.testclient import TestClient

    from hemoscope.differential.reference import read_reference
    from hemoscope.server.app import create_app
    from hemoscope.server.judge import Judge
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site
    from tests.server.client import Client

    @contextmanager
    def start(
        store: str = "", *, model: Model = small_model, ranges: Path | None = None, **changes: object
    ) -> Iterator[Client]:
        settings = replace(Settings(tmp_path / "data", store=store), **changes)
        with (
            open_site(settings, Judge(model), read_reference(ranges)) as site,
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
