"""PostgreSQL killed under a review: the page says so, keeps what was done, and saves it when the store is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import serving
from tests.page.test_moving import middle, saved, thumbs
from tools.postgres import NoPostgresError, new_database, running_postgres

pytestmark = pytest.mark.slow


@pytest.fixture
def victim():
    try:
        with running_postgres() as server:
            yield server
    except NoPostgresError as reason:
        pytest.skip(str(reason))


def test_moves_made_while_postgresql_is_dead_are_saved_when_it_is_back(
    windows_at: Any, small_model: Any, tmp_path: Path, victim: Any
):
    store = new_database(victim.url, "review")
    with serving(tmp_path / "data", small_model, store=store) as running:
        slide = running.put_slide(cells=109)
        page = windows_at(running).open(slide)
        cells = thumbs(page, "review")
        page.mouse.move(*middle(page, cells[0]))
        page.keyboard.press("n")
        saved(page)
        victim.kill()
        page.keyboard.press("e")
        page.wait_for_function(
            "() => document.querySelector('.saved').textContent.startsWith('Not saved yet')"
        )
        page.wait_for_selector(".toast-error >> text=the store does not answer")
        late = windows_at(running).page
        late.goto(f"{running.url}#/slides/{slide}")
        late.wait_for_selector(".toast-error >> text=the store does not answer")
        page.keyboard.press("m")
        victim.start()
        saved(page)
        late.wait_for_selector("[data-cell]")
        places = running.places(slide)
    assert [places[cell] for cell in cells[:3]] == ["neutrophil", "eosinophil", "monocyte"]
