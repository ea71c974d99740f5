"""Cells of a slide under review: what is saved, what two browsers do to each other, what is signed."""

from __future__ import annotations

import pytest

from hemoscope.server.store.tables import SlideRow
from tests.server.client import Client
from tests.server.pictures import noise, smear


@pytest.fixture
def slide(on_both: Client) -> int:
    return on_both.slide_of(smear(12))


def test_each_image_of_an_archive_is_a_cell_of_the_slide_in_the_order_of_its_names(
    on_both: Client, slide: int
):
    cells = on_both.cells(slide)
    assert [c["cell"] for c in cells] == list(range(12))
    assert [c["name"] for c in cells] == [f"cell_{i:03d}.png" for i in range(12)]
    assert {c["status"] for c in cells} <= {"accepted", "review", "unknown"}
    assert all(sum(c["probs"]) == pytest.approx(1, abs=1e-4) for c in cells)


def test_a_moved_cell_lies_where_it_was_put_and_undo_and_redo_are_entries_of_the_log(
    on_both: Client, slide: int
):
    before = on_both.state(slide)
    moved = on_both.place(slide, [0, 3], "monocyte").json()
    assert moved["seq"] == 1
    assert [c[::2] for c in moved["changes"]] == [[0, "monocyte"], [3, "monocyte"]]
    assert moved["differential"]["reviewed"] == 2
    assert on_both.state(slide)["places"]["3"] == "monocyte"
    assert on_both.command(slide, {"kind": "undo"}).status_code == 200
    undone = on_both.state(slide)
    assert undone["places"] == before["places"]
    assert undone["reviewed"] == []
    assert undone["can_redo"]
    assert on_both.command(slide, {"kind": "redo"}).status_code == 200
    assert on_both.state(slide)["reviewed"] == [0, 3]
    entries = on_both.get(f"/slides/{slide}/log").json()["entries"]
    assert [e["command"]["kind"] for e in entries] == ["place", "undo", "redo"]
    assert [e["seq"] for e in entries] == [1, 2, 3]
    assert {e["reader"] for e in entries} == {"local"}


def test_the_second_of_two_browsers_on_one_cell_is_told_what_the_first_did(on_both: Client, slide: int):
    assert on_both.place(slide, [1], "ig", base=0, window="a").status_code == 200
    refused = on_both.place(slide, [1, 2], "basophil", base=0, window="b")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conflict"
    (entry,) = refused.json()["entries"]
    assert entry["command"] == {"kind": "place", "cells": [1], "to": "ig"}
    assert on_both.state(slide)["places"]["1"] == "ig"
    assert on_both.place(slide, [2], "basophil", base=0, window="b").status_code == 200
    assert on_both.place(slide, [1], "basophil", base=1, window="b").status_code == 200


def test_what_was_done_is_there_after_a_new_start(started, store_url: str):
    with started(store_url) as first:
        slide = first.slide_of(smear(5))
        first.place(slide, [4], "eosinophil")
        first.command(slide, {"kind": "note", "cell": 2, "text": "Auer rod?"})
        first.command(slide, {"kind": "white_count", "value": 6.1})
        state, cells = first.state(slide), first.cells(slide)
    with started(store_url) as second:
        assert second.state(slide) == state
        assert second.cells(slide) == cells
        assert state["notes"] == {"2": "Auer rod?"}
        assert state["white_count"] == 6.1


def test_signing_refuses_open_cells_unless_a_reason_is_given(on_both: Client, slide: int):
    n_open = len([p for p in on_both.state(slide)["places"].values() if p in ("review", "unidentified")])
    refused = on_both.sign(slide, "Dr A. Beck")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "not_signed"
    assert refused.json()["open"] == n_open > 0
    signed = on_both.sign(slide, "Dr A. Beck", reason="clotted")
    assert signed.status_code == 200, signed.text
    assert signed.json()["reason"] == "clotted"
    assert on_both.get(f"/slides/{slide}").json()["status"] == "signed"


def test_a_signature_is_refused_where_there_is_more_than_its_person_has_seen(on_both: Client, slide: int):
    on_both.review_all(slide)
    seen = on_both.seen(slide)
    on_both.place(slide, [0], "ig", window="b")
    refused = on_both.sign(slide, seen=seen)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_seen")
    assert refused.json()["seq"] == seen["base"] + 1
    seen = on_both.seen(slide)
    on_both.send(slide, "more.png", noise(99))
    on_both.settled(slide)
    assert on_both.sign(slide, seen=seen).json()["cells"] == 13
    on_both.review_all(slide)
    assert on_both.sign(slide, seen=on_both.seen(slide) | {"revision": 2}).status_code == 409
    assert on_both.get(f"/slides/{slide}").json()["status"] == "open"
    assert on_both.sign(slide).status_code == 200


def test_a_signature_waits_for_files_that_were_begun_unless_it_is_without_them(on_both: Client, slide: int):
    on_both.review_all(slide)
    begun = on_both.post(f"/slides/{slide}/uploads", {"name": "late.png", "bytes": 10})
    assert begun.status_code == 201
    refused = on_both.sign(slide)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "still_sending")
    assert refused.json()["sending"] == 1
    assert on_both.sign(slide, without_files=True).status_code == 200


def test_a_command_that_is_sent_again_is_done_once_even_on_a_slide_that_was_signed_meanwhile(
    on_both: Client, slide: int
):
    on_both.review_all(slide)
    base = on_both.seen(slide)["base"]
    body = {"revision": 1, "base": base, "reading": 1, "client": "window", "answered": 0}
    path = f"/slides/{slide}/commands"
    place = {**body, "command": {"kind": "place", "cells": [0], "to": "ig"}}
    first = on_both.post(path, place).json()
    assert first["seq"] == base + 1
    assert on_both.post(path, place).json() == first
    undo = {**body, "command": {"kind": "undo"}, "answered": first["seq"]}
    second = on_both.post(path, undo).json()
    assert [on_both.post(path, undo).json()["seq"], second["seq"]] == [base + 2, base + 2]
    assert on_both.post(path, {**undo, "client": "another"}).json()["seq"] == base + 3
    assert on_both.sign(slide, reason="later").status_code == 200
    assert on_both.post(path, undo).json()["entry"] == second["entry"]
    assert on_both.post(path, {**undo, "answered": base + 2}).json()["error"]["code"] == "signed"


def test_a_slide_that_is_begun_again_by_the_same_request_is_one(on_both: Client):
    body = {"title": "Once", "once": "0f" * 16}
    first = on_both.post("/slides", body).json()
    assert on_both.post("/slides", body).json() == first
    assert len(on_both.get("/slides").json()) == 1
    assert on_both.post("/slides", {**body, "once": "f0" * 16}).json()["id"] != first["id"]


def test_a_command_for_a_revision_that_was_signed_meanwhile_is_refused(on_both: Client, slide: int):
    on_both.review_all(slide)
    base = on_both.seen(slide)["base"]
    on_both.sign(slide)
    on_both.post(f"/slides/{slide}/revise", {"revision": 1, "reason": "again"})
    on_both.review_all(slide)
    refused = on_both.place(slide, [0], "ig", base=base, revision=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_revision")
    assert on_both.place(slide, [0], "ig", base=base, revision=2).status_code == 200


def test_a_signed_slide_changes_only_as_a_new_revision_that_begins_where_it_was_signed(
    on_both: Client, slide: int
):
    on_both.review_all(slide)
    on_both.place(slide, [0], "ig")
    signature = on_both.sign(slide, "Dr A. Beck").json()
    places = on_both.state(slide)["places"]
    assert on_both.place(slide, [0], "basophil").status_code == 409
    begun = on_both.post(f"/slides/{slide}/uploads", {"name": "more.png", "bytes": 3})
    assert (begun.status_code, begun.json()["error"]["code"]) == (409, "signed")
    revised = on_both.post(f"/slides/{slide}/revise", {"revision": 1, "reason": "wrong smear"})
    assert revised.json()["revision"] == 2
    assert revised.json()["status"] == "open"
    assert [s["log"] for s in revised.json()["signatures"]] == [signature["log"]]
    state = on_both.state(slide)
    assert (state["places"], state["seq"], state["can_undo"]) == (places, 0, False)
    assert on_both.place(slide, [0], "basophil").json()["seq"] == 1
    assert on_both.get(f"/slides/{slide}/log", revision=1).json()["entries"][-1]["command"]["to"] == "ig"
    what = [line["what"] for line in on_both.get(f"/slides/{slide}/audit").json()["audit"]]
    assert what == ["began", "sends", "signed", "revised"]


def test_a_command_the_review_refuses_changes_nothing(on_both: Client, slide: int):
    for command in (
        {"kind": "place", "cells": [99], "to": "ig"},
        {"kind": "place", "cells": [0], "to": "no such class"},
        {"kind": "undo"},
        {"kind": "place", "cells": [], "to": "ig"},
        {"kind": "dance"},
    ):
        refused = on_both.command(slide, command)
        assert refused.status_code == 422, command
        assert refused.json()["error"]["message"]
    assert on_both.state(slide)["seq"] == 0


def test_a_reading_is_as_its_transaction_sees_it_though_a_later_one_was_kept(on_both: Client):
    slide = on_both.slide_of(smear(3))
    store, folds = on_both.site.store, on_both.site.readings.folds
    with store.read() as session:
        row = session.get_one(SlideRow, slide)
        on_both.place(slide, [0], "ig")
        assert folds.read(session, row).state.seq == row.seq == 0
    with store.read() as session:
        assert folds.read(session, session.get_one(SlideRow, slide)).state.seq == 1
