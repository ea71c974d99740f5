"""Who may see the page, where users are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import serving
from tests.page.test_moving import middle, saved, thumbs

pytestmark = pytest.mark.slow


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
