"""Who may see the page, where users are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from hemoscope.server import events
from hemoscope.server.store.tables import SessionRow
from tests.page.conftest import Running, Window, serving
from tests.page.test_moving import middle, saved, thumbs

pytestmark = pytest.mark.slow
PASSWORD = "a long password"  # pragma: allowlist secret


def test_a_named_user_signs_in_and_is_who_the_log_names(windows_at: Any, small_model: Any, tmp_path: Path):
    folder = tmp_path / "data"
    with serving(folder, small_model) as before:
        before.site.users.add("anna", "reader", "a long password")
        slide = before.put_slide(cells=30)
    with serving(folder, small_model) as running:
        window = windows_at(running)
        page = window.page
        page.goto(f"{running.url}#/slides/{slide}")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector(".refused")
        window.axe("sign in")
        page.get_by_label("Password").fill("a long password")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("[data-cell]")
        page.mouse.move(*middle(page, thumbs(page, "review")[0]))
        page.keyboard.press("n")
        saved(page)
        page.get_by_role("tab", name="Finish").click()
        page.wait_for_selector(".log-who >> text=anna")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_selector("text=Password")


def signed_in(window: Window, name: str, slide: int) -> Any:
    """A window in which a user has signed in, at a slide."""
    page = window.page
    page.goto(f"{window.url}#/slides/{slide}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("[data-cell]")
    return page


@pytest.fixture
def named(small_model: Any, tmp_path: Path) -> Iterator[Running]:
    """A server with two readers."""
    folder = tmp_path / "data"
    with serving(folder, small_model) as before:
        for name in ("ada", "bob"):
            before.site.users.add(name, "reader", PASSWORD)
    with serving(folder, small_model) as running:
        yield running


def place(page: Any, cell: int, key: str) -> None:
    page.mouse.move(*middle(page, cell))
    page.keyboard.press(key)
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    saved(page)


def test_the_second_reader_opens_the_slide_in_the_second_reading(named: Running, windows_at: Any):
    slide = named.put_slide(cells=6, readings=2)
    ada = signed_in(windows_at(named), "ada", slide)
    place(ada, 0, "n")
    bob = signed_in(windows_at(named), "bob", slide)
    assert len(thumbs(bob, "review")) == 6  # nothing of ada's
    place(bob, 0, "e")
    assert (named.places(slide, 1)[0], named.places(slide, 2)[0]) == ("neutrophil", "eosinophil")
    for page, reading in ((ada, "First reading"), (bob, "Second reading")):
        page.reload()
        page.wait_for_selector(f".reading-banner >> text={reading}")
        page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 6")
        assert len(thumbs(page, "review")) == 5
        assert page.locator(".toast-error").count() == 0


def test_a_page_whose_session_has_ended_asks_to_sign_in(
    named: Running, windows_at: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(events, "ALIVE_S", 0.05)  # how often a stream asks whether it may go on
    page = signed_in(windows_at(named), "ada", named.put_slide(cells=12))
    with named.site.store.write() as session:
        session.execute(delete(SessionRow))
    page.get_by_label("Password").wait_for()
