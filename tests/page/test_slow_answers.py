"""Answers that come late, held back in a real browser: they belong to the reading and the slide that were asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hemoscope.review.commands import Command, Note, Place, Reading
from hemoscope.server import signing
from hemoscope.server.events import Events
from hemoscope.server.guard import Reader
from hemoscope.server.readings import Asked, Readings
from hemoscope.server.shapes import Revise, Sign
from hemoscope.server.store.tables import UploadRow
from tests.page.conftest import Running, Window, serving
from tests.page.drawn_slide import png_of
from tests.page.test_moving import middle, saved, thumbs
from tests.page.test_slide import drop

pytestmark = pytest.mark.slow


class Held:
    """Requests that the browser has sent and that nobody answers until they are let go."""

    def __init__(self, page: Any, pattern: str) -> None:
        self._page = page
        self._routes: list[Any] | None = []
        page.route(pattern, self._came)

    def _came(self, route: Any) -> None:
        if self._routes is None:
            route.continue_()
        else:
            self._routes.append(route)

    def wait(self) -> None:
        """Wait until one is held."""
        while not self._routes:
            self._page.wait_for_timeout(10)

    def let_go(self) -> None:
        """Let them reach the server, and those that follow."""
        routes, self._routes = self._routes or [], None
        for route in routes:
            route.continue_()


def press(page: Any, cell: int, key: str) -> None:
    page.mouse.move(*middle(page, cell))
    page.keyboard.press(key)


def test_a_late_state_of_the_first_reading_is_not_shown_to_the_second_reader(
    running: Running, window: Window
):
    page = window.open(running.put_slide(cells=12, readings=2))
    first, second, *_ = thumbs(page, "review")
    for cell in (first, second):
        press(page, cell, "n")
        page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
    saved(page)
    held = Held(page, "**/state?reading=1")
    page.keyboard.press("ControlOrMeta+z")  # its answer makes the window ask for the state
    held.wait()
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Second reading").click()
    page.wait_for_selector(f'[data-place="review"] [data-cell="{first}"]')
    with page.expect_response("**/state?reading=1"):
        held.let_go()
    saved(page)
    assert len(thumbs(page, "review")) == 12
    assert thumbs(page, "neutrophil") == []


def test_a_move_on_its_way_stays_in_its_reading_and_reaches_a_slide_that_was_left(
    running: Running, window: Window
):
    slide, other = running.put_slide(cells=12, readings=2), running.put_slide(cells=12)
    page = window.open(slide)
    moved = thumbs(page, "review")[:2]
    held = Held(page, "**/commands")
    for cell in moved:
        press(page, cell, "n")
        page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
    held.wait()
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Second reading").click()
    page.wait_for_selector(f'[data-place="review"] [data-cell="{moved[0]}"]')
    assert len(thumbs(page, "review")) == 12
    page.evaluate(f"location.hash = '#/slides/{other}'")
    page.get_by_role("tab", name="Finish").wait_for()
    held.let_go()
    saved(page)
    placed = [running.places(slide)[cell] for cell in moved]
    assert placed == ["neutrophil", "neutrophil"]
    assert set(running.places(slide, 2).values()) == {"review"}
    assert running.state(other).reviewed == frozenset()


def done_by(running: Running, slide: int, reader: str, command: Command, reading: Reading = 1) -> None:
    """Let somebody else do something."""
    who = Reader(reader, "reader")
    base = running.state(slide).seq
    running.site.readings.perform(slide, Asked(command, revision=1, base=base, reading=reading, reader=who))


def test_an_entry_that_a_window_has_missed_is_seen_with_the_next_one(running: Running, windows: Any):
    slide = running.put_slide(cells=40)
    page = windows(1440, 2000).open(slide)  # all cells are drawn
    first, second, *_ = thumbs(page, "review")
    readings = running.site.readings
    missed = Asked(
        Place(cells=(first,), to="ig"), revision=1, base=0, reading=1, reader=Reader("bob", "reader")
    )
    Readings(running.site.store, Events(1), readings.counts, running.site.uploads).perform(
        slide, missed
    )  # which nobody hears of
    done_by(running, slide, "bob", Place(cells=(second,), to="monocyte"))
    page.wait_for_selector(f'[data-place="monocyte"] [data-cell="{second}"]')
    page.wait_for_selector(f'[data-place="ig"] [data-cell="{first}"]')


def test_what_readers_of_one_slide_differ_on_is_not_shown_on_the_next(running: Running, window: Window):
    slide, other = running.put_slide(cells=40, readings=2), running.put_slide(cells=40, title="Next")
    for reading, to in ((1, "monocyte"), (2, "ig")):
        done_by(running, slide, f"reader {reading}", Place(cells=tuple(range(40)), to=to), reading=reading)
    page = window.open(slide)
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Settling").click()
    page.wait_for_selector(".thumb .caption >> text=Monocytes")
    page.evaluate(f"location.hash = '#/slides/{other}'")
    page.wait_for_selector(".slide-title >> text=Next")
    page.wait_for_selector(".thumb .caption")
    captions = page.locator(".thumb .caption").all_inner_texts()
    assert not [caption for caption in captions if caption[0].isdigit()]


def test_a_move_that_waited_behind_another_does_not_overwrite_what_somebody_did_meanwhile(
    running: Running, windows: Any
):
    slide = running.put_slide(cells=40)
    page = windows(1440, 2000).open(slide)  # all cells are drawn
    first, second, *_ = thumbs(page, "review")
    held = Held(page, "**/commands")
    for cell in (first, second):
        press(page, cell, "n")
        page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
    held.wait()
    done_by(running, slide, "bob", Place(cells=(second,), to="monocyte"))
    held.let_go()
    page.wait_for_selector(".toast-error >> text=bob")
    page.wait_for_selector(f'[data-place="monocyte"] [data-cell="{second}"]')
    saved(page)
    places = running.places(slide)
    assert (places[first], places[second]) == ("neutrophil", "monocyte")


def test_a_cell_moved_twice_while_somebody_moved_it_is_refused_twice(running: Running, windows: Any):
    slide = running.put_slide(cells=40)
    page = windows(1440, 2000).open(slide)  # all cells are drawn
    cell, *_ = thumbs(page, "review")
    held = Held(page, "**/commands")
    press(page, cell, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{cell}"]')
    held.wait()
    done_by(running, slide, "bob", Place(cells=(cell,), to="monocyte"))
    with page.expect_response("**/state*") as state:  # asked for when the page hears of the note
        done_by(running, slide, "bob", Note(cell=cell, text="vacuoles"))
    state.value.finished()
    press(page, cell, "e")
    page.wait_for_selector(f'[data-place="eosinophil"] [data-cell="{cell}"]')
    held.let_go()
    page.wait_for_selector(f'[data-place="monocyte"] [data-cell="{cell}"]')
    saved(page)
    assert running.state(slide).seq == 2


def test_undo_of_a_move_that_is_refused_takes_back_nothing_else(running: Running, windows: Any):
    slide = running.put_slide(cells=40)
    page = windows(1440, 2000).open(slide)  # all cells are drawn
    first, second, *_ = thumbs(page, "review")
    press(page, first, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{first}"]')
    saved(page)
    held = Held(page, "**/commands")
    press(page, second, "n")
    page.wait_for_selector(f'[data-place="neutrophil"] [data-cell="{second}"]')
    page.keyboard.press("ControlOrMeta+z")
    held.wait()
    done_by(running, slide, "bob", Place(cells=(second,), to="monocyte"))
    held.let_go()
    page.wait_for_selector(f'[data-place="monocyte"] [data-cell="{second}"]')
    saved(page)
    assert page.locator(f'[data-place="neutrophil"] [data-cell="{first}"]').count() == 1
    assert running.state(slide).seq == 2
    page.keyboard.press("ControlOrMeta+z")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{first}"]')


def test_a_signature_waits_for_the_moves_before_it(running: Running, window: Window):
    slide = running.put_slide(cells=109)
    page = window.open(slide)
    held = Held(page, "**/commands")
    page.get_by_role("tab", name="Finish").click()
    open_cells = {place: thumbs(page, place) for place in ("review", "unidentified")}
    for place, cells in open_cells.items():
        for cell in cells:
            press(page, cell, "n")
            page.wait_for_selector(f'[data-place="{place}"] [data-cell="{cell}"]', state="detached")
    page.get_by_label("Your name").fill("A. Reader")
    page.get_by_role("button", name="Sign the slide").click()
    held.wait()
    held.let_go()
    page.wait_for_selector(".facts")
    signed = page.request.get(f"{running.url}api/v1/slides/{slide}").json()["signatures"]
    assert [signature["reason"] for signature in signed] == [""]


def test_what_was_not_seen_is_not_signed(running: Running, window: Window):
    slide = running.put_slide(cells=109)
    window.page.route("**/events", lambda route: route.abort())
    page = window.open(slide)
    cell, *_ = thumbs(page, "review")
    done_by(running, slide, "bob", Place(cells=(cell,), to="monocyte"))
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. Reader")
    page.get_by_label("Why it is signed with open cells").fill("Smear dried badly")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".refused >> text=Load it anew")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")


def test_a_slide_is_signed_without_files_that_have_not_come_whole_only_where_that_is_said(
    running: Running, window: Window
):
    slide = running.put_slide(cells=20)
    with running.site.store.write() as session:
        session.add(
            UploadRow(id="e" * 32, slide=slide, name="late.png", bytes=9, created="2026-11-27T08:12:00+00:00")
        )
    page = window.open(slide)
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. Reader")
    page.get_by_label("Why it is signed with open cells").fill("Smear dried badly")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".refused >> text=1 files were begun")
    page.get_by_label("Sign without 1 file").check()
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")


def test_what_the_other_reader_does_counts_as_seen_once_it_is_heard_of(running: Running, window: Window):
    slide = running.put_slide(cells=4, readings=2)
    page = window.open(slide)
    done_by(running, slide, "ada", Place(cells=(0, 1, 2, 3), to="monocyte"))
    with page.expect_response("**/differential*"):  # what both came to
        done_by(running, slide, "bob", Place(cells=(0, 1, 2, 3), to="monocyte"), reading=2)
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. and B.")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")


def test_a_window_that_was_cut_off_comes_back_to_the_revision_that_was_opened_meanwhile(
    windows_at: Any, small_model: Any, tmp_path: Path
):
    folder = tmp_path / "data"
    with serving(folder, small_model) as first:
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
    with serving(folder, small_model, port) as second:
        asked = Sign(name="B", reason="later", revision=1, base=1, cells=12)
        signing.sign(second.site, slide, asked, user="B")
        signing.revise(second.site, slide, Revise(revision=1, reason="again"), user="B")
        page.context.set_offline(False)
        page.wait_for_selector("text=Revision 2")
        saved(page)
        press(page, cell, "e")
        page.wait_for_selector(f'[data-place="eosinophil"] [data-cell="{cell}"]')
        saved(page)
        assert second.places(slide)[cell] == "eosinophil"
        assert len(questions) < 10


def test_a_file_that_a_signature_gave_up_is_told_as_one_that_did_not_come(running: Running, window: Window):
    slide = running.put_slide(cells=12)
    page = window.open(slide)
    held = Held(page, "**/api/v1/uploads/**")
    drop(page, ".slide-view", "late.png", png_of("monocyte", 99))
    held.wait()
    asked = Sign(name="B", reason="later", revision=1, base=0, cells=12, without_files=True)
    signing.sign(running.site, slide, asked, user="B")
    held.let_go()
    page.get_by_role("button", name="1 file became no cell").click()
    assert "given up" in page.locator(".refused-files").inner_text()
