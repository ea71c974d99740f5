"""Two readers of one slide, blind to each other and to the model; an audit of one reader."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hemoscope.server.store.tables import SignatureRow, UploadRow
from tests.server.client import Client
from tests.server.pictures import noise, smear

FORMS = ("csv", "cells", "json", "html", "fhir", "hl7", "labelled")
PASSWORD = "correct horse battery"  # pragma: allowlist secret


@pytest.fixture
def closed(started):
    with started(host="0.0.0.0") as client:
        for name in ("ada", "bob", "eve"):
            client.site.users.add(name, "reader", PASSWORD)
        yield client


def become(client: Client, name: str) -> Client:
    assert client.post("/session", {"name": name, "password": PASSWORD}).status_code == 200
    client.renew()
    return client


@pytest.fixture
def slide(closed: Client) -> int:
    become(closed, "ada")
    slide = closed.new_slide(readings=2, blind=True)
    closed.send(slide, "smear.zip", smear(10))
    closed.settled(slide)
    return slide


def test_neither_sees_the_model_s_answers_or_the_other_s_before_both_have_finished(
    closed: Client, slide: int
):
    assert {c["pred"] for c in closed.cells(slide)} == {""}
    assert {c["status"] for c in closed.cells(slide)} == {"review"}
    assert set(closed.state(slide)["places"].values()) == {"review"}
    assert closed.get(f"/slides/{slide}/cells/0/neighbours").status_code == 403
    assert closed.get(f"/slides/{slide}/cells/0/heatmap").status_code == 403
    assert closed.get(f"/slides/{slide}/differential").status_code == 403
    assert {closed.get(f"/slides/{slide}/export/{form}").status_code for form in FORMS} == {403}
    assert closed.place(slide, list(range(10)), "neutrophil", reading=1).status_code == 200
    become(closed, "bob")
    assert closed.get(f"/slides/{slide}/state", reading=1).status_code == 403
    assert closed.get(f"/slides/{slide}/log").json()["entries"] == []
    assert closed.get(f"/slides/{slide}/agreement").json()["agreement"] is None
    assert closed.place(slide, [0], "ig", reading=1, base=0).status_code == 403
    assert closed.place(slide, list(range(9)), "neutrophil", reading=2).status_code == 200
    assert closed.place(slide, [9], "lymphocyte", reading=2).status_code == 200
    assert closed.get(f"/slides/{slide}/state", reading=1).status_code == 200
    assert closed.get(f"/slides/{slide}/export/json").status_code == 200
    assert {c["pred"] for c in closed.cells(slide)} != {""}
    found = closed.get(f"/slides/{slide}/agreement").json()
    assert found["readers"] == {"1": "ada", "2": "bob"}
    assert found["agreement"]["differ"] == [[9, "neutrophil", "lymphocyte"]]
    assert found["agreement"]["agreed"] == 9


def test_a_window_that_claims_to_be_the_other_reader_s_is_not_told_what_that_one_did(
    closed: Client, slide: int
):
    assert closed.place(slide, [0], "neutrophil", reading=1, window="ada's").status_code == 200
    become(closed, "bob")
    body = {"revision": 1, "base": 1, "reading": 1, "client": "ada's", "answered": 0}
    refused = closed.post(f"/slides/{slide}/commands", {**body, "command": {"kind": "undo"}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "other_reader")


def test_how_far_each_reader_has_come_is_told_to_both(closed: Client, slide: int):
    closed.place(slide, [0, 1, 2], "neutrophil", reading=1)
    become(closed, "bob")
    closed.place(slide, [5], "neutrophil", reading=2)
    found = closed.get(f"/slides/{slide}/agreement").json()
    assert (found["read"], found["cells"]) == ({"1": 3, "2": 1}, list(range(10)))
    assert found["readers"] == {"1": "ada", "2": "bob"}
    assert not found["complete"]
    assert not closed.get(f"/slides/{slide}").json()["complete"]
    closed.place(slide, list(range(10)), "neutrophil", reading=2)
    become(closed, "ada")
    closed.place(slide, list(range(3, 10)), "neutrophil", reading=1)
    found = closed.get(f"/slides/{slide}/agreement").json()
    assert found["read"] == {"1": 10, "2": 10}
    assert found["complete"]
    assert closed.get(f"/slides/{slide}").json()["complete"]


def test_one_person_cannot_be_both_readers(closed: Client, slide: int):
    assert closed.place(slide, [0], "ig", reading=1).status_code == 200
    assert closed.place(slide, [0], "ig", reading=2).status_code == 403


def test_what_they_differ_on_is_settled_and_signed(closed: Client, slide: int):
    closed.place(slide, list(range(10)), "neutrophil", reading=1)
    assert closed.place(slide, [9], "monocyte", reading="settle").status_code == 409
    become(closed, "bob")
    closed.place(slide, list(range(9)), "neutrophil", reading=2)
    closed.place(slide, [9], "lymphocyte", reading=2)
    refused = closed.sign(slide, "B")
    assert (refused.status_code, refused.json()["open"]) == (409, 1)
    assert closed.place(slide, [3], "monocyte", reading="settle").status_code == 422
    assert closed.place(slide, [9], "monocyte", reading="settle").status_code == 200
    assert closed.place(slide, [0], "ig", reading=2).json()["error"]["code"] == "settled"
    assert closed.sign(slide, "B").status_code == 200
    shares = closed.get(f"/slides/{slide}/differential").json()["after"]["shares"]
    assert {s["name"]: s["counted"] for s in shares if s["counted"]} == {"neutrophil": 9, "monocyte": 1}


def test_cells_that_come_after_the_readers_have_begun_are_refused(closed: Client, slide: int):
    closed.place(slide, [0], "ig", reading=1)
    refused = closed.post(f"/slides/{slide}/uploads", {"name": "a.png", "bytes": len(noise(9))})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "being_read")


def test_a_file_that_was_on_its_way_when_the_readers_began_is_given_up_and_the_log_replays(started):
    with started() as client:
        slide = client.new_slide(readings=2)
        client.send(slide, "smear.zip", smear(205))
        client.settled(slide)
        body = {"name": "late.zip", "bytes": len(smear(20, seed=1))}
        late = client.post(f"/slides/{slide}/uploads", body).json()["upload"]
        client.put(f"/uploads/{late}", smear(20, seed=1)[:100], offset=0)
        part = client.site.uploads.path(late, "late.zip")
        sampled = list(map(int, client.state(slide)["places"]))
        assert part.exists()
        assert client.place(slide, sampled, "neutrophil").status_code == 200
        assert not part.exists()
        client.put(f"/uploads/{late}", smear(20, seed=1)[100:], offset=100)
        assert client.settled(slide)["cells"] == 205
    with started() as client:
        assert client.state(slide)["reviewed"] == sampled


def test_the_last_byte_of_a_file_is_refused_where_two_readers_have_begun(client: Client):
    slide = client.new_slide(readings=2)
    client.send(slide, "smear.zip", smear(3))
    client.settled(slide)
    body = {"name": "late.png", "bytes": len(noise(9))}
    late = client.post(f"/slides/{slide}/uploads", body).json()["upload"]
    client.place(slide, [0], "ig")
    with client.site.store.write() as session:  # as an older version had left it
        session.get_one(UploadRow, late).status = "open"
    client.site.uploads.path(late, "late.png").touch()
    refused = client.put(f"/uploads/{late}", noise(9), offset=0)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "being_read")


def test_the_signed_count_of_readers_who_agree_has_the_model_s_own_beside_it(client: Client):
    slide = client.new_slide(readings=2, blind=True)
    client.send(slide, "smear.zip", smear(10))
    client.settled(slide)
    for reading in (1, 2):
        client.place(slide, list(range(10)), "neutrophil", reading=reading)
    own = client.get(f"/slides/{slide}/differential", reading=1).json()  # blind: the model counts nothing
    assert sum(share["counted"] for share in own["before"]["shares"]) == 0
    model = client.get(f"/slides/{client.slide_of(smear(10))}/differential").json()["before"]
    assert client.sign(slide).status_code == 200
    with client.site.store.read() as session:
        before = session.get_one(SignatureRow, (slide, 1)).signed["differential"]["before"]
    assert before["shares"] == model["shares"]


def test_what_was_settled_is_counted_and_not_the_first_reading(client: Client):
    slide = client.new_slide(readings=2)
    client.send(slide, "smear.zip", smear(3))
    client.settled(slide)
    client.place(slide, [0, 1, 2], "neutrophil", reading=1)
    client.place(slide, [0, 1, 2], "lymphocyte", reading=2)
    client.place(slide, [0, 1, 2], "monocyte", reading="settle")

    def counted(**query: int) -> dict[str, int]:
        shares = client.get(f"/slides/{slide}/differential", **query).json()["after"]["shares"]
        return {share["name"]: share["counted"] for share in shares if share["counted"]}

    assert counted(reading=1) == {"neutrophil": 3}
    assert counted() == {"monocyte": 3}


def test_a_move_whose_commit_fails_is_nowhere_and_the_slide_goes_on(on_both: Client):
    slide = on_both.new_slide(readings=2)
    on_both.send(slide, "smear.zip", smear(3))
    on_both.settled(slide)
    before = on_both.state(slide)

    written: list[str] = []

    def hears(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        written.extend([statement] if statement.startswith("INSERT") else [])

    def fails(_connection: object) -> None:
        if written:  # what only reads goes on
            raise OperationalError("COMMIT", None, OSError("gone"))

    engine = on_both.site.store.engine
    event.listen(engine, "before_cursor_execute", hears)
    event.listen(engine, "commit", fails)
    refused = on_both.place(slide, [0], "ig", base=0)
    event.remove(engine, "commit", fails)
    event.remove(engine, "before_cursor_execute", hears)
    assert written
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_away")
    assert on_both.state(slide) == before
    assert on_both.place(slide, [0], "ig").json()["seq"] == 1
    assert on_both.state(slide)["places"]["0"] == "ig"


def test_both_read_the_same_200_cells_of_more(started):
    with started() as client:
        slide = client.new_slide(readings=2)
        client.send(slide, "smear.zip", smear(210))
        client.settled(slide)
        first, second = client.state(slide, 1)["places"], client.state(slide, 2)["places"]
        assert len(first) == 200
        assert first.keys() == second.keys()


def test_a_slide_of_one_reader_has_no_second_reading(client: Client):
    slide = client.slide_of(smear(2))
    assert client.get(f"/slides/{slide}/state", reading=2).status_code == 404
    assert client.place(slide, [0], "ig", reading="settle", base=0).status_code == 404


def test_the_audit_shows_a_share_of_the_accepted_cells_without_the_model_s_answer(client: Client):
    slide = client.slide_of(smear(200))
    accepted = {c["cell"] for c in client.cells(slide) if c["status"] == "accepted"}
    client.review_all(slide)
    found = client.get(f"/slides/{slide}/agreement").json()
    audited = found["audit"]["cells"]
    assert set(audited) <= accepted
    assert 0 < len(audited) < 0.2 * len(accepted)
    cells = client.get(f"/slides/{slide}/cells", reading="audit").json()["cells"]
    assert [c["cell"] for c in cells] == audited
    assert {c["pred"] for c in cells} == {""}
    preds = {c["cell"]: c["pred"] for c in client.cells(slide)}
    other = {"neutrophil": "ig"}
    for cell in audited:
        client.place(slide, [cell], other.get(preds[cell], "neutrophil"), reading="audit")
    bias = client.get(f"/slides/{slide}/agreement").json()["bias"]["local"]
    assert (bias["wrong"], bias["followed"]) == (len(audited), len(audited))
    assert client.sign(slide).status_code == 200
    assert client.post(f"/slides/{slide}/revise", {"revision": 1, "reason": "white count"}).status_code == 200
    later = client.get(f"/slides/{slide}/agreement").json()["bias"]["local"]
    assert (later["wrong"], later["followed"]) == (len(audited), len(audited))  # who said what first stays
    exported = client.get(f"/slides/{slide}/export/json").json()["automation_bias"]["local"]
    assert (exported["wrong"], exported["followed"]) == (len(audited), len(audited))
