"""Every view for everybody: axe finds nothing serious, in light and dark, from phone to wall screen; focus and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.conftest import Running, Window
from tests.page.test_moving import saved, thumbs
from tests.page.test_slow_answers import Held, press

pytestmark = pytest.mark.slow
SIZES = {"phone": (390, 844), "laptop": (1440, 900), "wall": (2560, 1440)}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_on_any_view(running: Running, windows: Any, size: str, theme: str):
    slide = running.put_slide(cells=109)
    window = windows(*SIZES[size], color_scheme=theme)
    page = window.open()
    window.axe("slides")
    page.get_by_role("button", name="New slide").click()
    window.axe("new slide")
    page.keyboard.press("Escape")
    page.goto(window.url + f"#/slides/{slide}")
    page.wait_for_selector("[data-cell]")
    window.axe("wall")
    cell = thumbs(page, "review")[0]
    page.locator(f'[data-cell="{cell}"]').click()
    window.axe("selection")
    page.locator(f'[data-cell="{cell}"]').click(button="right")
    window.axe("menu")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    window.axe("keys")
    page.keyboard.press("Escape")
    page.locator(f'[data-cell="{cell}"]').dblclick()
    page.wait_for_selector("dialog[open]")
    window.axe("cell")
    page.keyboard.press("Escape")
    for name in ("Count", "Readers", "Finish"):
        role = "button" if size == "phone" else "tab"
        page.get_by_role(role, name=name, exact=True).click()
        window.axe(name)


CUT = """() => [['.tools', 'button, select, input'], ['.selection-bar', '*'], ['.panel', '.share-line > *'], ['.section-head', '*']]
    .flatMap(([box, parts]) => [...document.querySelectorAll(box)].flatMap((whole) => {
        const [{left, right}] = [whole.getBoundingClientRect()];
        return [...whole.querySelectorAll(parts)].filter((part) => part.getClientRects().length && !part.closest('.unseen'))
            .filter((part) => part.getBoundingClientRect().left < left - 1 || part.getBoundingClientRect().right > right + 1)
            .map((part) => `${box}: ${part.className} ${part.textContent}`);
    }))"""


@pytest.mark.parametrize("size", [(390, 844), (820, 1180), (1024, 768), (1280, 800)])
def test_no_button_and_no_figure_is_cut_off(running: Running, windows: Any, size: tuple[int, int]):
    slide = running.put_slide(cells=109)
    page = windows(*size).open(slide)
    page.locator(f'[data-cell="{thumbs(page, "review")[0]}"]').click()
    page.wait_for_selector(".selection-bar")
    assert page.evaluate(CUT) == []


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_screen(running: Running, windows: Any, size: str):
    slide = running.put_slide(cells=109)
    window = windows(*SIZES[size])
    for where in (None, slide):
        page = window.open(where)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_what_is_not_saved_is_told_to_a_screen_reader(running: Running, window: Window):
    page = window.open(running.put_slide())
    held = Held(page, "**/commands")
    press(page, thumbs(page, "review")[0], "n")
    page.locator("header [role=status]", has_text="Saving").wait_for(state="attached")
    held.let_go()
    page.locator("header [role=status]", has_text="All saved").wait_for(state="attached")
    page.context.set_offline(True)
    press(page, thumbs(page, "review")[0], "n")
    page.locator("header [role=status]", has_text="Not saved yet").wait_for(state="attached")
    page.context.set_offline(False)
    saved(page)


def test_the_focus_goes_to_a_cell_where_the_button_to_confirm_all_has_gone(running: Running, windows: Any):
    page = windows(1440, 2000).open(running.put_slide(cells=40))  # all cells are drawn
    confirm = page.locator('[data-place="review"] .section-head button', has_text="Confirm")
    confirm.press("Enter")
    confirm.wait_for(state="detached")
    page.wait_for_function("() => document.activeElement.dataset.cell !== undefined")


FILL = """() => {
    for (let size = 1 << 20, n = 0; size; ) {
        try { localStorage.setItem(`full ${n++}`, "x".repeat(size)); } catch { size >>= 1; }
    }
}"""
NOT_ALLOWED = """Object.defineProperty(window, "localStorage", {
    get() { throw new DOMException("denied", "SecurityError"); },
})"""


def test_a_browser_that_may_remember_nothing_or_has_no_room_shows_the_page(running: Running, windows: Any):
    denied = windows()
    denied.page.add_init_script(NOT_ALLOWED)
    denied.open()
    page = windows().open()
    page.evaluate("() => localStorage.clear()")
    page.evaluate(FILL)
    page.reload()
    page.get_by_role("button", name="Light or dark").click()
    page.wait_for_selector("html[data-theme=light]")
