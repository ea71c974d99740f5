"""A slide's life in a real browser: dropped, recognised, looked at, read twice, signed, taken home, revised."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hemoscope.review.readers import agreement
from hemoscope.server.store.slides import progress_of
from hemoscope.server.store.tables import CellRow, ModelRow, SlideRow
from tests.page.conftest import Running, Window, serving
from tests.page.drawn_slide import CLASSES, MODEL, png_of
from tests.page.test_moving import middle, saved, thumbs

pytestmark = pytest.mark.slow

DROP = """([selector, name, content]) => {
    const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    const target = document.querySelector(selector);
    for (const kind of ['dragover', 'drop'])
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


DROP_MANY = """([selector, files]) => {
    const transfer = new DataTransfer();
    for (const [name, content] of Object.entries(files)) {
        const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {lastModified: 1}));
    }
    const target = document.querySelector(selector);
    target.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def zip_of(n: int, *, bad: bool = True) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(n):
            archive.writestr(f"smear/{i:03d}.png", png_of(CLASSES[i % len(CLASSES)], i // len(CLASSES)))
        if bad:
            archive.writestr("smear/broken.png", b"this is no picture")
    return out.getvalue()


def drop(page: Any, selector: str, name: str, content: bytes) -> None:
    page.evaluate(DROP, [selector, name, base64.b64encode(content).decode()])


def test_a_dropped_zip_becomes_a_wall_and_its_bad_file_is_named_with_the_reason(
    running: Running, window: Window
):
    page = window.open()
    drop(page, ".drop-zone", "Smear 9.zip", zip_of(16))
    dialog = page.get_by_role("dialog", name="New slide")
    assert dialog.get_by_label("Title of the slide").input_value() == "Smear 9"
    dialog.get_by_role("button", name="Make the slide").click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 16")
    page.get_by_role("button", name="1 file became no cell").click()
    assert "broken.png" in page.locator(".refused-files").inner_text()
    page.get_by_role("link", name="Slides").click()
    page.get_by_role("link", name="Smear 9").wait_for()


def test_many_files_chosen_are_one_slide(running: Running, window: Window):
    page = window.open()
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": png_of("monocyte", i)} for i in range(5)]
    page.locator(".drop-input").set_input_files(files)
    dialog = page.get_by_role("dialog", name="New slide")
    dialog.get_by_label("Title of the slide").fill("Five")
    dialog.get_by_role("button", name="Make the slide").click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 5")


def test_an_upload_goes_on_where_a_broken_connection_left_it(running: Running, window: Window):
    page = window.open()
    sent: list[str] = []
    failed: list[str] = []

    def breaks(route: Any) -> None:
        sent.append(route.request.url)
        if len(failed) < 3:
            failed.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/uploads/**", breaks)
    drop(page, ".drop-zone", "late.zip", zip_of(8, bad=False))
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 8")
    assert len(failed) == 3


def test_files_dropped_again_after_a_break_are_not_sent_twice(running: Running, window: Window):
    page = window.open()
    files = {f"{i}.png": base64.b64encode(png_of("monocyte", i)).decode() for i in range(6)}
    whole: list[str] = []

    def breaks(route: Any) -> None:
        if len(whole) < 3:
            whole.append(route.request.url)
            route.continue_()
        else:
            route.abort()

    page.route("**/api/v1/uploads/**", breaks)
    page.evaluate(DROP_MANY, [".drop-zone", files])
    page.get_by_label("Title of the slide").fill("Six")
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_selector("text=Sending waits")
    page.on("dialog", lambda dialog: dialog.accept())  # yes, leave although files are on their way
    page.reload()  # the browser has forgotten the files
    page.unroute("**/api/v1/uploads/**")
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 3")
    page.evaluate(DROP_MANY, [".slide-view", files])
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 6")
    with running.site.store.read() as session:
        assert progress_of(session, 1) == {"received": 6, "predicted": 6, "rejected": 0, "total": 6}


def test_a_file_whose_beginning_was_heard_but_not_answered_is_begun_once(running: Running, window: Window):
    page = window.open()
    heard: list[str] = []

    def loses(route: Any) -> None:
        if len(heard) < 3:
            heard.append(route.fetch().text())
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/slides/1/uploads", loses)
    files = {f"{i}.png": base64.b64encode(png_of("monocyte", i)).decode() for i in range(6)}
    page.evaluate(DROP_MANY, [".drop-zone", files])
    page.get_by_label("Title of the slide").fill("Six")
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 6")
    with running.site.store.read() as session:
        assert progress_of(session, 1) == {"received": 6, "predicted": 6, "rejected": 0, "total": 6}


def test_a_folder_is_one_slide_and_files_that_no_person_made_are_left_out(
    running: Running, window: Window, tmp_path: Path
):
    folder = tmp_path / "Smear 12" / "deep"
    folder.mkdir(parents=True)
    for i in range(4):
        (folder / f"{i}.png").write_bytes(png_of("lymphocyte", i))
    (folder / ".DS_Store").write_bytes(b"x")
    page = window.open()
    box = page.locator(".drop-zone").bounding_box()
    assert box
    where = {"x": box["x"] + 20, "y": box["y"] + 20}
    data = {"items": [], "files": [str(tmp_path / "Smear 12")], "dragOperationsMask": 1}
    driver = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        driver.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    dialog = page.get_by_role("dialog", name="New slide")
    assert dialog.get_by_label("Title of the slide").input_value() == "Smear 12"
    dialog.get_by_role("button", name="Make the slide").click()
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 4")
    assert page.locator(".refused-files").count() == 0


def test_a_cell_looked_at_closely_has_its_heatmap_probabilities_and_a_note_that_stays(
    running: Running, window: Window
):
    page = window.open()
    drop(page, ".drop-zone", "a.zip", zip_of(8, bad=False))
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_selector("[data-cell]")
    page.locator("[data-cell]").first.dblclick()
    dialog = page.locator("dialog[open]")
    assert dialog.locator(".probs tbody tr").count() == len(CLASSES)
    shares = [
        float(s.removesuffix(" %")) for s in dialog.locator(".probs tbody td:nth-child(3)").all_inner_texts()
    ]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert shares == sorted(shares, reverse=True)
    dialog.get_by_role("button", name="Heatmap").click()
    page.wait_for_function("() => document.querySelector('img.heat')?.naturalWidth > 0")
    dialog.get_by_label("Note").fill("ruptured")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    saved(page)
    page.reload()
    page.wait_for_selector("[data-cell]")
    assert list(running.state(1).notes.values()) == ["ruptured"]


def test_a_slide_of_another_model_is_shown_with_that_models_classes(running: Running, windows: Any):
    slide = running.put_slide(cells=40)
    with running.site.store.write() as session:
        served = session.get_one(ModelRow, MODEL).facts
        session.add(ModelRow(digest="e" * 64, facts={**served, "classes": CLASSES[::-1]}))
        session.flush()
        session.get_one(SlideRow, slide).model = "e" * 64
        for cell in session.scalars(select(CellRow)):
            cell.judged = {**cell.judged, "probs": cell.judged["probs"][::-1]}
    page = windows(1440, 2000).open(slide)  # all cells are drawn
    heads = page.locator(".section-head").all_inner_texts()
    assert [h.split("\n")[0] for h in heads if h.startswith(("Lymph", "Mono"))] == [
        "Monocytes",
        "Lymphocytes",
    ]
    cell = thumbs(page, "lymphocyte")[0]
    page.locator(f'[data-cell="{cell}"]').dblclick()
    assert page.locator(".probs tbody th").first.inner_text().startswith("Lymphocytes")
    page.wait_for_selector(".neighbours >> text=another model")


def test_signing_asks_for_a_reason_locks_and_a_revision_opens_again(
    running: Running, window: Window, tmp_path: Path
):
    slide = running.put_slide(cells=109)
    page = window.open(slide)
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. Reader")
    page.get_by_role("button", name="Sign the slide").click()
    assert not page.locator(".facts").is_visible()  # the browser itself asks for the reason
    page.get_by_label("Why it is signed with open cells").fill("Smear dried badly")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")
    assert "A. Reader" in page.locator(".facts").inner_text()
    cell = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("n")
    assert running.places(slide)[cell] == "review"
    page.get_by_role("button", name="Open a new revision").click()
    page.get_by_label("Why").fill("One more look")
    page.get_by_role("dialog").get_by_role("button", name="Open a new revision").click()
    page.wait_for_selector("text=Revision 2")
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("n")
    page.wait_for_selector(f'[data-place="review"] [data-cell="{cell}"]', state="detached")
    saved(page)
    assert running.places(slide)[cell] == "neutrophil"
    log = page.request.get(f"{running.url}api/v1/slides/{slide}/log?revision=1").json()["entries"]
    assert log == []  # what was signed is as it was
    before = page.get_by_role("region", name="Signed before")
    assert "Revision 1, A. Reader" in before.inner_text()
    with page.expect_download() as waited:
        before.get_by_role("link", name="JSON").click()
    taken = json.loads(Path(waited.value.path()).read_text("utf-8"))
    assert (taken["revision"], taken["cells"][cell]["place"]) == (1, "review")
    page.wait_for_selector(".log-what >> text=Revision 2 opened: One more look")
    page.wait_for_selector(f".log-what >> text=Cell {cell + 1}: For review → Neutrophils")


def test_the_count_follows_a_move_and_says_what_the_server_says(running: Running, window: Window):
    slide = running.put_slide(cells=40)
    page = window.open(slide)
    cell = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("b")
    saved(page)
    found = page.request.get(f"{running.url}api/v1/slides/{slide}/differential").json()
    for share in found["after"]["shares"]:
        row = page.locator(".share", has=page.locator(".share-name", has_text=share["label"]))
        assert row.locator(".share-n").inner_text() == str(share["counted"])
        if share["role"] == "white":
            assert row.locator(".share-percent").inner_text() == f"{found['percents'][share['name']]:.1f} %"
        told = [each for each in found["settles"] if each["name"] == share["name"]]
        assert row.locator(".settles").count() == len(told)
    assert len({each["name"] for each in found["settles"]}) < len(
        found["settles"]
    )  # one reaches across two limits
    assert found["corrected_white"]["working"] in page.locator(".working").inner_text()
    assert f"{found['corrected_white']['value']:.2f}" in page.locator(".corrected strong").inner_text()


def test_where_nobody_knows_how_the_model_errs_no_corrected_interval_is_drawn_or_told(
    running: Running, window: Window
):
    slide = running.put_slide(cells=40, known=False)
    page = window.open(slide)
    page.wait_for_selector(".share")
    assert page.locator(".share-bar .sampling").count()
    assert page.locator(".share-bar .whole, .share-bar .was").count() == 0
    assert "nothing is corrected" in page.locator(".remarks").inner_text()
    assert "NaN" not in page.locator(".panel-body").inner_text()
    ordered = page.request.get(f"{running.url}api/v1/slides/{slide}/order?by=influence").json()["cells"]
    assert ordered == page.request.get(f"{running.url}api/v1/slides/{slide}/order").json()["cells"]


def test_another_language_is_one_file_and_says_what_the_server_says_too(running: Running, windows: Any):
    slide = running.put_slide(cells=20)
    window = windows(locale="de-DE")
    german = {
        "remark.few_white": "Nur {counted} weiße Zellen, üblich sind {enough}.",
        "refusal.no_slide": "Den gibt es nicht.",
    }
    window.page.route("**/static/catalog/de.json", lambda route: route.fulfill(json=german))
    page = window.open(slide)
    page.wait_for_selector(".remarks >> text=/Nur \\d+ weiße Zellen, üblich sind 200\\./")
    page.goto(window.url + "#/slides/999")
    page.wait_for_selector("text=Den gibt es nicht.")


def test_a_command_whose_answer_was_lost_is_not_done_twice(running: Running, window: Window):
    slide = running.put_slide(cells=109)
    page = window.open(slide)
    lost: list[int] = []

    def lose(route: Any) -> None:
        if not lost:
            lost.append(route.fetch().status)  # the server has it
            route.abort()
        else:
            route.continue_()

    page.route("**/commands", lose)
    cell = thumbs(page, "review")[0]
    page.mouse.move(*middle(page, cell))
    page.keyboard.press("n")
    saved(page)
    assert lost == [200]
    state = running.state(slide)
    assert (state.seq, state.places[cell]) == (1, "neutrophil")


def test_moves_made_while_the_server_is_away_are_saved_when_it_is_back(
    windows_at: Any, small_model: Any, tmp_path: Path
):
    folder = tmp_path / "data"
    with serving(folder, small_model) as first:
        slide = first.put_slide(cells=109)
        window = windows_at(first)
        page = window.open(slide)
        cells = thumbs(page, "review")
        port = first.site.settings.port
    page.mouse.move(*middle(page, cells[0]))
    page.keyboard.press("n")
    page.keyboard.press("e")
    page.wait_for_function("() => document.querySelector('.saved').textContent.startsWith('Not saved yet')")
    with serving(folder, small_model, port) as second:
        saved(page)
        places = second.places(slide)
    assert [places[cell] for cell in cells[:2]] == ["neutrophil", "eosinophil"]


def test_exports_are_offered_and_the_page_to_print_has_the_reviewers_count(running: Running, window: Window):
    slide = running.put_slide(cells=109)
    page = window.open(slide)
    page.get_by_role("tab", name="Finish").click()
    with page.expect_download() as waited:
        page.get_by_role("link", name="JSON every figure").click()
    found = json.loads(Path(waited.value.path()).read_text("utf-8"))
    assert "Smear 17" in json.dumps(found)


def read_all(page: Any, keys: str) -> None:
    """Read every cell of a blind reading by pointing and pressing keys in turn."""
    number = 0
    while cells := thumbs(page, "review"):
        page.mouse.move(*middle(page, cells[0]))
        page.keyboard.press(keys[number % len(keys)])
        page.wait_for_selector(f'[data-place="review"] [data-cell="{cells[0]}"]', state="detached")
        number += 1
    saved(page)


def test_two_readers_read_blindly_agree_by_kappa_and_settle_what_they_differ_on(
    running: Running, window: Window
):
    slide = running.put_slide(cells=20, readings=2)
    page = window.open(slide)
    assert page.locator(".section-head").first.inner_text().startswith("To read")
    assert page.locator(".caption, .sure, .share").count() == 0  # nothing of what the model says
    read_all(page, "nl")
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Second reading").click()
    page.wait_for_selector('[data-place="review"] [data-cell]')
    read_all(page, "nlnn")
    page.wait_for_selector("text=Cohen's kappa")
    told = agreement(running.state(slide, 1), running.state(slide, 2))
    assert told.kappa is not None
    assert len(told.differ) == 5
    assert page.locator(".readers .figure strong").all_inner_texts() == [
        f"{told.kappa.value:.2f}",
        "75.0 %",
        "5",
    ]
    page.get_by_role("button", name="Settling").click()
    page.wait_for_selector(".reading-banner >> text=settled")
    page.wait_for_function("() => document.querySelectorAll('[data-cell]').length === 5")
    read_all(page, "l")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.readers .figure strong')].at(-1).textContent === '0'"
    )


def test_two_readers_who_agree_on_every_cell_see_their_count_and_sign_it(running: Running, window: Window):
    slide = running.put_slide(cells=12, readings=2)
    page = window.open(slide)
    page.get_by_role("tab", name="Finish").click()
    assert page.locator(".export").count() == 0  # it would tell what the model says
    page.get_by_role("tab", name="Count").click()
    assert "when both readers" in page.locator(".panel-body").inner_text()
    read_all(page, "n")
    page.get_by_role("tab", name="Readers").click()
    assert "12 of 12" in page.get_by_role("button", name="First reading").inner_text()
    page.get_by_role("button", name="Second reading").click()
    page.wait_for_selector('[data-place="review"] [data-cell]')
    read_all(page, "n")
    page.get_by_role("tab", name="Count").click()
    page.wait_for_selector(".share")
    row = page.locator(".share", has=page.locator(".share-name", has_text="Neutrophils"))
    assert row.locator(".share-percent").inner_text() == "100.0 %"
    page.get_by_role("tab", name="Finish").click()
    page.get_by_label("Your name").fill("A. and B.")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")


def test_signing_what_two_readers_have_not_settled_asks_for_a_reason(running: Running, window: Window):
    slide = running.put_slide(cells=4, readings=2)
    page = window.open(slide)
    read_all(page, "n")
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Second reading").click()
    page.wait_for_selector('[data-place="review"] [data-cell]')
    read_all(page, "nnnl")
    page.get_by_role("tab", name="Finish").click()
    page.wait_for_selector("text=1 cell is still for review")
    page.get_by_label("Your name").fill("A.")
    page.get_by_label("Why it is signed with open cells").fill("Nobody to ask")
    page.get_by_role("button", name="Sign the slide").click()
    page.wait_for_selector(".facts")


def test_accepted_cells_read_again_blindly_tell_whether_a_wrong_suggestion_was_followed(
    running: Running, window: Window
):
    slide = running.put_slide(cells=109)
    page = window.open(slide)
    page.mouse.move(*middle(page, thumbs(page, "review")[0]))
    page.locator('[data-rail="neutrophil"]').click()
    page.locator('[data-place="neutrophil"]').get_by_role("button", name="Confirm").click()
    saved(page)
    page.get_by_role("tab", name="Readers").click()
    page.get_by_role("button", name="Blind check").click()
    page.wait_for_selector(".reading-banner")
    page.wait_for_selector('[data-place="review"] [data-cell]')
    read_all(page, "e")  # says of all of them that the model is wrong, but for eosinophils
    page.wait_for_selector(".bias")
    assert "Followed" in page.locator(".bias").inner_text()
    page.get_by_role("button", name="Back to the review").click()
    page.wait_for_selector('[data-place="unidentified"] [data-cell]')


def test_where_more_cells_come_than_two_readers_read_the_wall_has_the_whole_sample(
    running: Running, window: Window
):
    slide = running.put_slide(cells=400, readings=2)
    with running.site.store.write() as session:
        session.get_one(SlideRow, slide).cells = 250  # the others are still to come
    page = window.open(slide)
    assert page.locator(".review-progress .number").inner_text() == "0 of 200 reviewed"
    with running.site.store.write() as session:
        session.get_one(SlideRow, slide).cells = 400
    with page.expect_response("**/state?*"):
        running.site.events.tell(slide, "cells", {"since": 250, "cells": 400})
    of = len(running.places(slide))
    page.wait_for_function(
        "n => document.querySelector('.section-count').textContent === `${n} cells`", arg=of
    )
    page.wait_for_selector(f".review-progress >> text=0 of {of} reviewed")


def test_slides_older_than_those_listed_come_where_they_are_asked_for(running: Running, window: Window):
    running.put_slide(cells=4, title="The first")
    with running.site.store.write() as session:
        session.add_all(
            SlideRow(
                title=f"Smear {n}", white_count=None, readings=1, blind=False, model=MODEL, cells=0, open=0,
                created="2026-11-27T08:12:00+00:00", by="local",
            )
            for n in range(500)
        )  # fmt: skip
    page = window.open()
    older = page.get_by_role("button", name="Older slides")
    older.wait_for()
    assert page.locator("tbody tr").count() == 500
    older.click()
    page.get_by_role("link", name="The first").wait_for()
    assert page.locator("tbody tr").count() == 501
    assert older.count() == 0
