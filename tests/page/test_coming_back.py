"""A window and its server that lose each other, in a real browser: it asks again, listens anew and shows what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hemoscope.review.commands import Place
from hemoscope.server import events
from hemoscope.server.events import Events
from hemoscope.server.guard import Reader
from hemoscope.server.readings import Asked, Readings
from tests.page.conftest import Running, Window, serving
from tests.page.test_moving import saved, thumbs
from tests.page.test_slow_answers import Held, done_by, press

pytestmark = pytest.mark.slow

# A second stream of the page's own: with its third sign of life the first stream has had one, too.
ALIVE = """() => new Promise((alive) => {
    const stream = new EventSource(`/api/v1${location.hash.slice(1)}/events`);
    let n = 0;
    stream.addEventListener("alive", () => { if (++n === 3) { stream.close(); alive(); } });
})"""


def fails_once(page: Any, pattern: str, **answer: Any) -> None:
    """Let the first request to an address be answered so, and the others by the server."""
    failed: list[str] = []

    def answered(route: Any) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.fulfill(**answer)

    page.route(pattern, answered)


def test_a_slide_whose_first_question_fails_is_asked_for_again(running: Running, window: Window):
    slide = running.put_slide(cells=20)
    fails_once(window.page, "**/cells?since*", status=502, body="bad gateway")
    window.open(slide)
    assert window.page.locator(".toast-error >> text=status 502").count() == 1


def test_a_page_that_is_not_told_who_is_here_asks_again(running: Running, window: Window):
    away = {"error": {"code": "store_away", "message": "the store does not answer"}}
    fails_once(window.page, "**/api/v1/session", status=503, json=away)
    window.open()
    assert window.page.locator(".toast-error >> text=the store does not answer").count() == 1


def test_a_slide_that_does_not_exist_is_told_with_a_way_back(running: Running, window: Window):
    page = window.page
    page.goto(f"{running.url}#/slides/999")
    page.wait_for_selector("[role=alert] >> text=there is no slide 999")
    page.get_by_role("link", name="To the slides").click()
    page.wait_for_selector(".drop-zone")


def test_a_page_whose_catalog_is_malformed_or_comes_late_speaks_english(running: Running, windows: Any):
    german = windows(locale="de-DE")
    german.page.route("**/static/catalog/de.json", lambda route: route.fulfill(body='{"a": "b",}'))
    german.open().get_by_role("heading", name="Slides").wait_for()
    late = windows()
    fails_once(late.page, "**/static/catalog/en.json", status=502, body="bad gateway")
    late.open().get_by_role("heading", name="Slides").wait_for()


def test_the_title_of_a_slide_is_not_that_of_the_list(running: Running, window: Window):
    slide = running.put_slide(cells=20, title="Smear 17")
    page = window.page
    held = Held(page, "**/slides/*/cells?since*")
    page.goto(f"{running.url}#/slides/{slide}")
    held.wait()
    page.evaluate("location.hash = '#/'")
    page.wait_for_selector(".drop-zone")
    with page.expect_response("**/cells?since*") as answer:
        held.let_go()
    answer.value.finished()
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    assert page.title() == "Slides – hemoscope"
    page.evaluate(f"location.hash = '#/slides/{slide}'")
    page.wait_for_function("() => document.title === 'Smear 17 – hemoscope'")


def test_a_server_restored_from_an_older_backup_is_shown_as_it_is(
    windows_at: Any, small_model: Any, tmp_path: Path
):
    with serving(tmp_path / "one", small_model) as first:
        slide, port = first.put_slide(cells=12), first.site.settings.port
        page = windows_at(first).open(slide)
        cell, *_ = thumbs(page, "review")
        press(page, cell, "n")
        page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
        saved(page)
        page.context.set_offline(True)
    page.wait_for_selector("text=Connection lost")
    questions: list[str] = []
    page.on("request", lambda request: questions.append(request.url) if "/state" in request.url else None)
    with serving(tmp_path / "two", small_model, port) as second:  # from before that move
        second.put_slide(cells=12)
        page.context.set_offline(False)
        page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]')
        page.wait_for_selector(".toast-error >> text=gone back to an earlier state")
        saved(page)
        press(page, cell, "e")
        page.wait_for_selector(f'[data-place="eosinophil"] [data-cell="{cell}"]')
        saved(page)
        assert second.places(slide)[cell] == "eosinophil"
        assert len(questions) < 10


def be_seen(page: Any, *, seen: bool) -> None:
    """Let a window be hidden behind another, or seen again; a browser without a screen shows all of them."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        not seen,
    )


def listening(running: Running, page: Any, n: int) -> None:
    """Wait until so many windows listen."""
    while running.site.events.streams != n:
        page.wait_for_timeout(10)


def test_a_window_that_is_not_seen_holds_no_connection_and_catches_up_when_it_is(
    running: Running, windows: Any
):
    slides = [running.put_slide(cells=40, title=f"Smear {n}") for n in range(8)]
    first = windows(1440, 2000)  # all cells are drawn
    page = first.open(slides[0])
    cell, other, *_ = thumbs(page, "review")
    for slide in slides[1:]:
        be_seen(page, seen=False)
        page = first.page.context.new_page()
        page.goto(f"{running.url}#/slides/{slide}")
        page.wait_for_selector("[data-cell]")
    listening(running, page, 1)
    done_by(running, slides[0], "bob", Place(cells=(cell,), to="monocyte"))
    be_seen(first.page, seen=True)
    first.page.wait_for_selector(f'[data-place="monocyte"] [data-cell="{cell}"]')
    listening(running, page, 2)
    done_by(running, slides[0], "bob", Place(cells=(other,), to="ig"))
    first.page.wait_for_selector(f'[data-place="ig"] [data-cell="{other}"]')


def test_a_stream_without_a_sign_of_life_is_listened_to_anew(running: Running, windows: Any):
    slide = running.put_slide(cells=40)
    window = windows(1440, 2000)  # all cells are drawn
    window.page.clock.install()
    page = window.open(slide)
    cell, *_ = thumbs(page, "review")
    listening(running, page, 1)
    unheard = Asked(
        Place(cells=(cell,), to="ig"), revision=1, base=0, reading=1, reader=Reader("bob", "reader")
    )
    Readings(running.site.store, Events(1), running.site.readings.counts, running.site.uploads).perform(
        slide, unheard
    )  # as if its news were lost on the way
    page.clock.fast_forward(46_000)
    page.wait_for_selector(f'[data-place="ig"] [data-cell="{cell}"]')


def test_a_stream_that_lives_is_not_left(running: Running, window: Window, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "ALIVE_S", 0.05)
    window.page.clock.install()
    begun: list[str] = []
    window.page.on("request", lambda request: begun.append(request.url) if "/events" in request.url else None)
    page = window.open(running.put_slide(cells=12))
    listening(running, page, 1)
    for _ in range(3):
        page.clock.fast_forward(30_000)
        page.evaluate(ALIVE)
    assert len(begun) == 1 + 3
