"""What a person types in a real browser stays theirs: no news, no look elsewhere and no refusal takes it away."""

from __future__ import annotations

import pytest

from hemoscope.review.commands import Note, WhiteCount
from tests.page.conftest import Running, Window
from tests.page.drawn_slide import png_of
from tests.page.test_moving import saved, thumbs
from tests.page.test_slow_answers import done_by

pytestmark = pytest.mark.slow


def test_a_note_that_is_being_typed_is_not_replaced_by_what_somebody_else_saves(
    running: Running, window: Window
):
    slide = running.put_slide(cells=40)
    page = window.open(slide)
    first, second, *_ = thumbs(page, "review")
    page.locator(f'[data-cell="{first}"]').dblclick()
    note = page.get_by_role("dialog").get_by_label("Note")
    note.fill("vacuoles")
    done_by(running, slide, "bob", Note(cell=first, text="ok"))
    page.wait_for_selector(".note >> text=somebody else wrote “ok”")
    assert note.input_value() == "vacuoles"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    saved(page)
    assert running.state(slide).notes == {first: "vacuoles"}
    page.locator(f'[data-cell="{second}"]').dblclick()
    note.wait_for()
    done_by(running, slide, "bob", Note(cell=second, text="ok"))
    page.wait_for_function("() => document.querySelector('.note textarea').value === 'ok'")


def test_a_white_count_that_is_being_typed_is_not_replaced_by_what_somebody_else_states(
    running: Running, window: Window
):
    slide = running.put_slide(cells=40)
    page = window.open(slide)
    count = page.get_by_role("textbox", name="White count")
    count.fill("12,5")
    done_by(running, slide, "bob", WhiteCount(value=6.1))
    page.wait_for_selector(".white >> text=somebody else stated 6.1")
    assert count.input_value() == "12,5"
    page.keyboard.press("Tab")
    saved(page)
    assert running.state(slide).white_count == 12.5
    assert count.input_value() == "12.5"
    done_by(running, slide, "bob", WhiteCount(value=6.2))
    page.wait_for_function("() => document.querySelector('.white input').value === '6.2'")


def test_name_and_reason_of_a_signature_stay_while_the_count_is_looked_at(running: Running, window: Window):
    page = window.open(running.put_slide(cells=40))
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. Reader")
    page.get_by_label("Why it is signed with open cells").fill("Smear dried badly")
    page.get_by_role("tab", name="Count").click()
    page.get_by_role("tab", name="Finish").click()
    assert page.get_by_label("Your name").input_value() == "A. Reader"
    assert page.get_by_label("Why it is signed with open cells").input_value() == "Smear dried badly"
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts >> text=A. Reader")


def test_a_new_slide_that_is_refused_keeps_what_was_chosen(running: Running, window: Window):
    page = window.open()
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": png_of("monocyte", i)} for i in range(3)]
    page.locator(".drop-input").set_input_files(files)
    dialog = page.get_by_role("dialog", name="New slide")
    title, white = dialog.get_by_label("Title of the slide"), dialog.locator("input[name=white]")
    make = dialog.get_by_role("button", name="Make the slide")
    title.fill("   ")
    make.click()
    dialog.get_by_text("Expected a title of 1 to 200 characters.").wait_for()
    title.fill("Smear\u000717 ")
    white.fill("20000")
    make.click()
    dialog.get_by_text("Expected a number above 0").wait_for()
    white.fill("7,4")
    page.route("**/api/v1/slides", lambda route: route.abort())
    make.click()
    dialog.get_by_text("The slide was not made").wait_for()
    page.unroute("**/api/v1/slides")
    make.click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 3")
    assert page.get_by_role("dialog").count() == 0
    assert page.locator(".slide-title").inner_text() == "Smear 17"
    assert running.state(1).white_count == 7.4
