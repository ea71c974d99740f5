"""Moving cells in a real browser: every way there is ends in the same log on the server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.page.conftest import Running, Window

pytestmark = pytest.mark.slow


def thumbs(page: Any, place: str) -> list[int]:
    """The cells drawn in a section, in their order."""
    return page.eval_on_selector_all(
        f'[data-place="{place}"] [data-cell]', "all => all.map(e => Number(e.dataset.cell))"
    )


def middle(page: Any, cell: int) -> tuple[float, float]:
    box = page.locator(f'[data-cell="{cell}"]').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def saved(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('.saved')?.textContent === 'All saved'")


def test_pointing_and_pressing_a_key_moves_one_cell_after_the_other(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    first, second, *_ = thumbs(page, "review")
    page.mouse.move(*middle(page, first))
    page.keyboard.press("e")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{first}"]', state="detached")
    page.keyboard.press("m")  # the next has come to where the pointer is
    page.wait_for_selector(f'[data-place="review"] [data-cell="{second}"]', state="detached")
    saved(page)
    places = running.places(slide)
    assert (places[first], places[second]) == ("eosinophil", "monocyte")
    assert running.state(slide).reviewed == {first, second}


def test_a_held_key_counts_once(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    first = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, first))
    for _ in range(5):
        page.keyboard.down("n")  # every further one is a repeat
    page.keyboard.up("n")
    saved(page)
    assert running.state(slide).reviewed == {first}


def test_keys_do_nothing_in_a_field_in_an_input_method_and_when_switched_off(
    running: Running, window: Window
):
    slide = running.put_slide()
    page = window.open(slide)
    cell = thumbs(page, "review")[0]
    page.locator(".white input").fill("")
    page.locator(".white input").press("n")
    page.mouse.move(*middle(page, cell))
    page.evaluate("""() => document.body.dispatchEvent(
        new KeyboardEvent('keydown', {key: 'n', isComposing: true, bubbles: true, cancelable: true}))""")
    page.locator(".white input").fill("7.4")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Keys (?)").click()
    page.get_by_label("Letter keys move cells").uncheck()
    page.keyboard.press("Escape")
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("n")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").count() == 0
    saved(page)
    assert running.state(slide).reviewed == frozenset()


def test_a_changed_key_is_the_one_that_counts_and_stays_after_a_reload(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    page.keyboard.press("?")
    key = page.get_by_role("textbox", name="Eosinophils")
    key.press("n")
    assert "already means Neutrophils" in page.locator("#keys-problem").inner_text()
    key.press("f")
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("[data-cell]")
    cell = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("f")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    saved(page)
    assert running.places(slide)[cell] == "eosinophil"


def test_clicks_with_shift_and_control_select_and_a_key_moves_them_all(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cells = thumbs(page, "review")
    page.locator(f'[data-cell="{cells[1]}"]').click()
    page.locator(f'[data-cell="{cells[4]}"]').click(modifiers=["Shift"])
    page.locator(f'[data-cell="{cells[2]}"]').click(modifiers=["ControlOrMeta"])
    assert page.locator(".selection-bar strong").inner_text() == "3 cells selected"
    page.keyboard.press("x")
    saved(page)
    moved = {cell for cell, place in running.places(slide).items() if place == "not_classed"}
    assert moved == {cells[1], cells[3], cells[4]}
    assert running.state(slide).seq == 1  # one command


def test_control_a_selects_the_section_with_the_cells_that_are_not_drawn(running: Running, window: Window):
    slide = running.put_slide(cells=1000)
    page = window.open(slide)
    before = Counter(running.places(slide).values())["review"]
    assert before > len(thumbs(page, "review"))
    page.mouse.move(*middle(page, thumbs(page, "review")[0]))
    page.keyboard.press("ControlOrMeta+a")
    assert page.locator(".selection-bar strong").inner_text() == f"{before} cells selected"
    page.keyboard.press("l")
    saved(page)
    assert Counter(running.places(slide).values())["review"] == 0


def test_the_lasso_survives_a_release_outside_the_wall(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cells = thumbs(page, "review")
    box = page.locator(f'[data-cell="{cells[0]}"]').bounding_box()
    page.mouse.move(box["x"] - 4, box["y"] + 5)  # beside the first cell
    page.mouse.down()
    page.mouse.move(box["x"] + 1.5 * box["width"], box["y"] + 30, steps=6)
    page.mouse.move(box["x"] + 1.5 * box["width"], 3, steps=4)  # the header of the page
    page.mouse.up()
    assert page.locator(".selection-bar strong").inner_text() == "2 cells selected"
    page.mouse.move(*middle(page, cells[8]))  # the button is up: nothing is selected by moving on
    assert page.locator(".selection-bar strong").inner_text() == "2 cells selected"
    page.keyboard.press("b")
    saved(page)
    assert [running.places(slide)[cell] for cell in cells[:3]] == ["basophil", "basophil", "review"]


def test_dragging_a_selection_to_a_class_beside_the_wall_moves_it(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cells = thumbs(page, "review")[:2]
    page.locator(f'[data-cell="{cells[0]}"]').click()
    page.locator(f'[data-cell="{cells[1]}"]').click(modifiers=["ControlOrMeta"])
    page.locator(f'[data-cell="{cells[0]}"]').drag_to(page.locator('[data-rail="monocyte"]'))
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cells[1]}"]', state="detached")
    saved(page)
    assert [running.places(slide)[cell] for cell in cells] == ["monocyte", "monocyte"]


def test_the_menu_moves_without_keys_and_without_dragging(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cell = thumbs(page, "review")[0]
    page.locator(f'[data-cell="{cell}"]').click(button="right")
    page.get_by_role("menuitem", name="Platelets").click()
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    saved(page)
    assert running.places(slide)[cell] == "platelet"


def test_on_a_tablet_fingers_select_and_the_menu_moves(running: Running, windows: Any):
    slide = running.put_slide()
    page = windows(1024, 768, has_touch=True, is_mobile=True).open(slide)
    cells = thumbs(page, "review")
    for cell in cells[:3]:
        page.locator(f'[data-cell="{cell}"]').tap()
    page.locator(f'[data-cell="{cells[1]}"]').tap()  # not that one
    assert page.locator(".selection-bar strong").inner_text() == "2 cells selected"
    page.get_by_role("button", name="Move to …").tap()
    page.get_by_role("menuitem", name="Monocytes").tap()
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cells[2]}"]', state="detached")
    page.locator(f'[data-cell="{cells[3]}"]').tap()
    page.get_by_role("button", name="Look closer").tap()
    page.get_by_role("dialog").get_by_role("button", name="Basophils").tap()
    page.get_by_role("button", name="Close", exact=True).tap()
    saved(page)
    places = running.places(slide)
    assert [places[cell] for cell in cells[:4]] == ["monocyte", "review", "monocyte", "basophil"]


def test_everything_by_keyboard_alone(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cells = thumbs(page, "review")
    page.locator(f'[data-cell="{cells[0]}"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("i")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cells[1]}"]', state="detached")
    focused = page.evaluate("() => Number(document.activeElement.dataset.cell)")
    assert focused in cells  # the focus stays among what is still to be done
    page.keyboard.press("Shift+F10")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{focused}"]', state="detached")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("c")  # confirms the cell that is open, and goes on to the next
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    saved(page)
    state = running.state(slide)
    assert [state.places[cell] for cell in cells[1:3]] == ["ig", "ig"]
    assert state.places[focused] == "eosinophil"
    assert len(state.reviewed) == 4


def test_undo_and_redo_give_back_what_was_done(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cell = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("n")
    page.keyboard.press("ControlOrMeta+z")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]')
    saved(page)
    assert running.places(slide)[cell] == "review"
    page.keyboard.press("ControlOrMeta+Shift+z")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    saved(page)
    assert running.places(slide)[cell] == "neutrophil"


def test_what_another_window_did_is_seen(running: Running, windows: Any):
    slide = running.put_slide()
    first, second = windows().open(slide), windows().open(slide)
    cell = thumbs(first, "review")[0]
    first.mouse.move(*middle(first, cell))
    first.keyboard.press("n")
    second.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    second.keyboard.press("ControlOrMeta+z")  # not this window's own, but this reader's
    first.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]')


def test_what_another_window_undid_is_seen_though_the_move_was_answered_late(running: Running, windows: Any):
    slide = running.put_slide()
    first, second = windows().open(slide), windows().open(slide)
    held: list[Any] = []
    first.route("**/commands", lambda route: held.append((route, route.fetch())))
    cell = thumbs(first, "review")[0]
    first.mouse.move(*middle(first, cell))
    first.keyboard.press("n")
    second.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    with first.expect_response("**/state*") as state:  # it hears of the undoing before its own answer
        second.keyboard.press("ControlOrMeta+z")
    state.value.finished()
    first.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    [(route, answer)] = held
    route.fulfill(response=answer)
    first.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]')
    assert running.places(slide)[cell] == "review"


def test_a_move_that_collides_with_another_windows_is_taken_back_with_a_message(
    running: Running, windows: Any
):
    slide = running.put_slide()
    deaf = windows()
    deaf.page.route("**/events", lambda route: route.abort())
    first, second = windows().open(slide), deaf.open(slide)
    cell = thumbs(first, "review")[0]
    first.mouse.move(*middle(first, cell))
    first.keyboard.press("l")
    saved(first)
    second.mouse.move(*middle(second, cell))
    second.keyboard.press("m")
    second.wait_for_selector(".toast-error")
    assert "changed the same cells" in second.locator(".toast-error").inner_text()
    second.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    assert running.places(slide)[cell] == "lymphocyte"
    assert running.state(slide).seq == 1


def go_to(page: Any, slide: int, title: str) -> None:
    """Open a slide in a window that shows another."""
    page.evaluate(f"location.hash = '#/slides/{slide}'")
    page.wait_for_selector(f".slide-title >> text={title}")
    page.wait_for_selector("[data-cell]")


def test_what_was_chosen_on_one_slide_is_not_chosen_on_the_next(running: Running, windows: Any):
    first = running.put_slide(cells=40, title="First")
    next_one = running.put_slide(cells=40, title="Next")
    page = windows(1440, 2000).open(next_one)  # all cells are drawn
    go_to(page, first, "First")
    page.locator(f'[data-cell="{thumbs(page, "review")[0]}"]').focus()
    page.keyboard.press("Shift+F10")
    page.wait_for_selector(".menu")
    page.evaluate("history.back()")
    page.wait_for_selector(".slide-title >> text=Next")
    page.wait_for_selector("[data-cell]")
    assert page.locator(".menu").count() == 0
    go_to(page, first, "First")
    cells = thumbs(page, "neutrophil")
    page.locator(f'[data-cell="{cells[0]}"]').click()
    go_to(page, next_one, "Next")
    page.locator(f'[data-cell="{cells[6]}"]').click(modifiers=["Shift"])
    assert page.locator(".selection-bar strong").inner_text() == "1 cell selected"


def test_a_selection_is_given_up_with_its_reading(running: Running, windows: Any):
    page = windows(1440, 2000).open(running.put_slide(cells=109))
    page.mouse.move(*middle(page, thumbs(page, "review")[0]))
    page.keyboard.press("ControlOrMeta+a")
    page.wait_for_selector(".selection-bar")
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Blind check").click()
    page.wait_for_selector(".reading-banner")
    assert page.locator(".selection-bar").count() == 0


def test_keys_move_a_cell_looked_at_after_a_click_on_next(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    first, second, third, *_ = thumbs(page, "review")
    page.locator(f'[data-cell="{first}"]').dblclick()
    page.get_by_role("button", name="Next cell").click()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name=f"Cell {third + 1}", exact=True).wait_for()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("n")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{second}"]', state="detached")
    saved(page)
    assert running.places(slide)[second] == "neutrophil"


def test_keys_mean_the_same_on_a_cyrillic_layout(running: Running, window: Window):
    slide = running.put_slide()
    page = window.open(slide)
    cell, *_ = thumbs(page, "review")
    driver = page.context.new_cdp_session(page)

    def press(key: str, code: str, number: int, *, control: bool = False) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            driver.send(
                "Input.dispatchKeyEvent",
                {
                    "type": kind,
                    "key": key,
                    "code": code,
                    "windowsVirtualKeyCode": number,
                    "modifiers": 2 * control,
                },
            )

    page.mouse.move(*middle(page, cell))
    press("\N{CYRILLIC SMALL LETTER TE}", "KeyN", 78)
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    press("\N{CYRILLIC SMALL LETTER YA}", "KeyZ", 90, control=True)
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]')
    saved(page)
    assert (running.state(slide).seq, running.state(slide).reviewed) == (2, frozenset())
