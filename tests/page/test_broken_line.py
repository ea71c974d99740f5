"""Requests that arrive and answers that do not, other people in other windows, sessions that end: nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from hemoscope.review.commands import Entry
from hemoscope.server import signing
from hemoscope.server.folds import entries_of
from hemoscope.server.shapes import Revise, Sign
from hemoscope.server.store.slides import progress_of
from hemoscope.server.store.tables import SessionRow, SlideRow
from tests.page.broken_line import BrokenLine, Fate
from tests.page.conftest import Running, Window
from tests.page.drawn_slide import png_of
from tests.page.test_moving import saved, thumbs
from tests.page.test_sign_in import PASSWORD, named, place, signed_in  # noqa: F401
from tests.page.test_slide import drop
from tests.page.test_slow_answers import Held, press

pytestmark = pytest.mark.slow
FULL = '{"error": {"code": "disk_full", "message": "the disk is full"}}'


@pytest.fixture
def line(running: Running) -> Iterator[BrokenLine]:
    line = BrokenLine(running.site.settings.port)
    yield line
    line.close()


def over(window: Window, line: BrokenLine) -> Window:
    window.url = line.url
    return window


def log_of(running: Running, slide: int) -> list[Entry]:
    with running.site.store.read() as session:
        return entries_of(session, slide, 1)


def places_of(running: Running, slide: int, *cells: int) -> list[str]:
    return [running.places(slide)[cell] for cell in cells]


def nth_of(path: str, *fates: Fate | None) -> Any:
    """Give each request to a path its fate, those that follow none."""
    left = list(fates)

    def fate(sent: bytes) -> Fate | None:
        if path.encode() not in sent[:200] or not left:
            return None
        return left.pop(0)

    return fate


def test_an_undo_that_the_browser_sends_again_by_itself_takes_back_one_move(
    running: Running, windows: Any, line: BrokenLine
):
    slide = running.put_slide(cells=40)
    page = over(windows(1440, 2000), line).open(slide)
    first, second, *_ = thumbs(page, "review")
    place(page, first, "n")
    place(page, second, "e")
    line.fate = nth_of("/commands", "lose the answer")
    page.keyboard.press("Control+z")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{second}"]')
    saved(page)
    assert [entry.command.kind for entry in log_of(running, slide)] == ["place", "place", "undo"]


def test_a_slide_that_is_begun_again_by_the_browser_itself_is_one(
    running: Running, window: Window, line: BrokenLine
):
    page = over(window, line).open()
    page.get_by_role("button", name="New slide").click()
    line.fate = nth_of("POST /api/v1/slides ", "lose the answer")
    page.get_by_label("Title of the slide").fill("Once")
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_selector(".slide-title >> text=Once")
    with running.site.store.read() as session:
        assert list(session.scalars(select(SlideRow.title))) == ["Once"]


def test_a_slide_that_is_made_again_after_nobody_answered_is_the_one_that_was_made(
    running: Running, window: Window, line: BrokenLine
):
    page = over(window, line).open()
    page.get_by_role("button", name="New slide").click()
    line.fate = nth_of("POST /api/v1/slides ", "cut the answer")
    page.get_by_label("Title of the slide").fill("Once")
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_selector("dialog .refused")
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_selector(".slide-title >> text=Once")
    with running.site.store.read() as session:
        assert list(session.scalars(select(SlideRow.title))) == ["Once"]


def test_a_move_behind_one_whose_answer_was_cut_is_not_taken_for_it(
    running: Running, windows: Any, line: BrokenLine
):
    slide = running.put_slide(cells=40)
    page = over(windows(1440, 2000), line).open(slide)
    first, second, *_ = thumbs(page, "review")
    line.fate = nth_of("/commands", "cut the answer", *["drop the request"] * 3)
    press(page, first, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{first}"]')
    press(page, second, "e")
    page.wait_for_selector(f'[data-place="eosinophil"] [data-cell="{second}"]')
    saved(page)
    assert places_of(running, slide, first, second) == ["neutrophil", "eosinophil"]
    assert len(log_of(running, slide)) == 2


def test_a_file_whose_answer_was_cut_is_no_refused_file(running: Running, window: Window, line: BrokenLine):
    slide = running.put_slide(cells=12)
    page = over(window, line).open(slide)
    line.fate = nth_of("PUT /api/v1/uploads", "cut the answer")
    drop(page, ".slide-view", "a.png", png_of("monocyte", 99))
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 13")
    page.wait_for_selector(".arriving", state="detached")
    with running.site.store.read() as session:
        assert progress_of(session, slide) == {"received": 1, "predicted": 1, "rejected": 0, "total": 1}


def test_moves_of_two_slides_that_wait_are_all_done(running: Running, windows: Any):
    first, second = running.put_slide(cells=40, title="A"), running.put_slide(cells=40, title="B")
    page = windows(1440, 2000).open(first)
    full = [True] * 3
    sent: list[bool] = []

    def store(route: Any) -> None:
        """Full at first; then there is room for two, then for none once more."""
        if full:
            full.pop()
            route.fulfill(status=507, content_type="application/json", body=FULL)
        else:
            sent.append(True)
            full.extend([True] * (len(sent) == 2))
            route.continue_()

    page.route("**/commands", store)
    a, b = thumbs(page, "review")[:2]
    press(page, a, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{a}"]')
    page.evaluate(f"location.hash = '#/slides/{second}'")
    page.wait_for_selector(".slide-title >> text=B")
    page.wait_for_selector("[data-cell]")
    c = thumbs(page, "review")[0]
    press(page, c, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{c}"]')
    page.evaluate(f"location.hash = '#/slides/{first}'")
    page.wait_for_selector(".slide-title >> text=A")
    page.wait_for_selector(f'[data-cell="{b}"]')
    press(page, b, "e")
    saved(page)
    assert places_of(running, first, a, b) == ["neutrophil", "eosinophil"]
    assert places_of(running, second, c) == ["neutrophil"]


def test_an_answer_that_never_comes_is_asked_for_again(running: Running, window: Window):
    slide = running.put_slide(cells=12)
    page = window.page
    page.clock.install()
    window.open(slide)
    first, *_ = thumbs(page, "review")
    page.clock.run_for(1000)
    held: list[Any] = []
    page.route("**/commands", lambda route: route.continue_() if held else held.append(route))
    press(page, first, "n")
    while not held:
        page.wait_for_timeout(10)
    while places_of(running, slide, first) != ["neutrophil"]:
        page.clock.run_for(10_000)
    saved(page)


def test_what_one_person_does_is_not_written_as_another_s_who_signed_in_elsewhere(
    named: Running,  # noqa: F811
    windows_at: Any,
):
    slide = named.put_slide(cells=12)
    ada = signed_in(windows_at(named), "ada", slide)
    bob = ada.context.new_page()
    bob.goto(named.url)
    bob.get_by_role("button", name="Sign out").click()
    bob.get_by_label("Name").fill("bob")
    bob.get_by_label("Password").fill(PASSWORD)
    bob.get_by_role("button", name="Sign in").click()
    bob.wait_for_selector(".drop-zone")
    ada.bring_to_front()
    first, *_ = thumbs(ada, "review")
    press(ada, first, "n")
    ada.wait_for_selector(".toast >> text=bob is signed in here now")
    ada.wait_for_selector(".person >> text=bob")
    ada.wait_for_selector(f'[data-place="review"] [data-cell="{first}"]')
    assert log_of(named, slide) == []
    place(ada, first, "n")
    assert [entry.reader for entry in log_of(named, slide)] == ["bob"]


def sign_in_again(page: Any, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_moves_that_wait_while_somebody_signs_out_are_saved_when_they_are_back(
    named: Running,  # noqa: F811
    windows_at: Any,
):
    slide = named.put_slide(cells=40)
    page = signed_in(windows_at(named, 1440, 2000), "ada", slide)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    held = Held(page, "**/commands")
    first, second, *_ = thumbs(page, "review")
    for cell in (first, second):
        press(page, cell, "n")
        page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
    held.wait()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("text=Password")
    held.let_go()
    assert len(asked) == 1
    sign_in_again(page, "ada")
    page.wait_for_selector("[data-cell]")
    saved(page)
    assert places_of(named, slide, first, second) == ["neutrophil", "neutrophil"]
    assert {entry.reader for entry in log_of(named, slide)} == {"ada"}


def test_files_under_way_while_a_session_ends_go_on_when_their_person_is_back(
    named: Running,  # noqa: F811
    windows_at: Any,
):
    slide = named.put_slide(cells=12)
    page = signed_in(windows_at(named), "ada", slide)
    held = Held(page, "**/api/v1/uploads/**")
    drop(page, ".slide-view", "a.png", png_of("monocyte", 99))
    held.wait()
    with named.site.store.write() as session:
        session.execute(delete(SessionRow))
    held.let_go()
    page.wait_for_selector("text=Password")
    sign_in_again(page, "ada")
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 13")
    with named.site.store.read() as session:
        assert progress_of(session, slide) == {"received": 1, "predicted": 1, "rejected": 0, "total": 1}


def test_a_file_that_was_changed_after_it_was_chosen_is_named_and_the_others_go_on(
    running: Running, window: Window, tmp_path: Path
):
    files = [tmp_path / "late.png", tmp_path / "good.png"]
    for i, file in enumerate(files):
        file.write_bytes(png_of("monocyte", 98 + i))
    page = window.open()
    held = Held(page, "**/slides/*/uploads")
    page.locator(".drop-input").first.set_input_files([str(file) for file in files])
    page.get_by_label("Title of the slide").fill("Two")
    page.get_by_role("button", name="Make the slide").click()
    held.wait()
    files[0].write_bytes(b"the microscope is still saving")
    held.let_go()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 1")
    page.locator(".refused-files button").click()
    assert "late.png The file cannot be read any more" in page.locator(".refused-files").inner_text()


def test_files_refused_in_a_first_drop_stay_listed_after_a_second(running: Running, window: Window):
    page = window.open(running.put_slide(cells=12))
    refusal = '{"error": {"code": "too_large", "message": "the file is too large"}}'
    page.route(
        "**/slides/*/uploads",
        lambda route: route.fulfill(status=413, content_type="application/json", body=refusal),
    )
    drop(page, ".slide-view", "big.png", png_of("monocyte", 97))
    page.wait_for_selector(".refused-files")
    page.unroute("**/slides/*/uploads")
    drop(page, ".slide-view", "good.png", png_of("monocyte", 96))
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 13")
    page.wait_for_selector(".arriving progress", state="detached")
    page.locator(".refused-files button").click()
    assert "big.png" in page.locator(".refused-files").inner_text()


def test_a_revision_that_was_not_seen_is_not_opened_again(running: Running, window: Window):
    slide = running.put_slide(cells=12)
    site = running.site
    signing.sign(site, slide, Sign(name="B", reason="later", revision=1, base=0, cells=12), user="B")
    window.page.route("**/events", lambda route: route.abort())
    page = window.open(slide)
    page.get_by_role("tab", name="Finish").click()
    page.get_by_role("button", name="Open a new revision").click()
    signing.revise(site, slide, Revise(revision=1, reason="again"), user="B")
    signing.sign(site, slide, Sign(name="C", reason="later", revision=2, base=0, cells=12), user="C")
    page.locator("dialog textarea").fill("what B signed is wrong")
    page.locator("dialog button.primary").click()
    page.wait_for_selector(".toast >> text=has come to revision 2")
    with site.store.read() as session:
        assert (session.get_one(SlideRow, slide).status, session.get_one(SlideRow, slide).revision) == (
            "signed",
            2,
        )
