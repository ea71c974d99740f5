"""What else was tried on the server; docs/review-server.md has the table of all attacks."""

from __future__ import annotations

import csv
import io
import json

import pytest

from hemoscope.server.problems import ApiError
from hemoscope.server.settings import Capacity
from tests.server.client import API, Client
from tests.server.pictures import noise

NASTY = (
    "'; DROP TABLE slides; --",
    '<img src=x onerror="alert(1)">',
    "=cmd|' /C calc'!A0",
    "{{7*7}}${7*7}%s%n",
    "\u202egnp.exe",
    "a" * 200,
)


@pytest.mark.parametrize("text", NASTY)
def test_a_text_comes_back_as_it_was_and_does_nothing_on_its_way(on_both: Client, text: str):
    slide = on_both.new_slide(text)
    on_both.send(slide, f"{text}.png", noise(1))
    assert on_both.settled(slide)["title"] == text
    assert on_both.command(slide, {"kind": "note", "cell": 0, "text": text}).status_code == 200
    assert on_both.state(slide)["notes"]["0"] == text
    assert on_both.cells(slide)[0]["name"] == f"{text}.png"
    assert on_both.get("/slides").json()[0]["title"] == text
    html = on_both.get(f"/slides/{slide}/export/html").text
    assert "<img src=x" not in html
    (row,) = csv.DictReader(io.StringIO(on_both.get(f"/slides/{slide}/export/cells").text))
    assert not row["name"].startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("title", ["a\0b", "a\nb", "", "a" * 201, "\ud800"])
def test_a_title_that_is_none_is_refused(client: Client, title: str):
    body = json.dumps({"title": title}).encode()
    headers = {**client.headers, "Content-Type": "application/json"}
    assert client.http.post(f"{API}/slides", content=body, headers=headers).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": "x", "white_count": NaN}',
        b'{"title": "x", "white_count": 1e999}',
        b'{"title": "x", "by": "somebody else"}',
        b'{"title": "x", "status": "signed"}',
        b"[" * 100_000,
        b'{"title": "x"',
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_not_as_described_is_refused_with_a_reason(client: Client, body: bytes):
    headers = {**client.headers, "Content-Type": "application/json"}
    answer = client.http.post(f"{API}/slides", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "1e3", "x", "1;2", "%00"])
def test_a_number_of_a_slide_that_is_none_finds_nothing(client: Client, number: str):
    assert client.http.get(f"{API}/slides/{number}").status_code in (404, 422)


def test_an_image_that_was_sent_as_another_kind_is_never_served_as_what_it_is(client: Client):
    html = b"<!doctype html><script>alert(1)</script>"
    digest = client.site.pictures.put(html)
    for query in ({}, {"px": 96}):
        answer = client.get(f"/images/{digest}", **query)
        assert answer.status_code == 404
        assert b"script" not in answer.content


def test_open_streams_are_bounded(client: Client):
    client.new_slide()
    events = type(client.site.events)(most=0)
    with pytest.raises(ApiError, match="listen already"):
        events.listen(1, lambda: True)


def test_questions_to_the_model_are_bounded(started):
    with started(capacity=Capacity(asked=1)) as client:
        client.site.worker.stop()
        client.site.worker.ask(lambda judge: judge)
        with pytest.raises(ApiError, match="asked too much") as refused:
            client.site.worker.ask(lambda judge: judge)
        assert refused.value.retry_s


def test_a_question_whose_asker_has_gone_is_not_put(client: Client):
    from threading import Event

    holds, began = Event(), Event()

    def hold(_judge: object) -> None:
        began.set()
        holds.wait()

    first = client.site.worker.ask(hold)
    began.wait()
    gone = client.site.worker.ask(lambda judge: judge)
    assert gone.cancel()
    last = client.site.worker.ask(lambda judge: judge)
    holds.set()
    first.result()
    assert last.result() is not None
    assert gone.cancelled()


def test_methods_that_are_not_there_are_refused(client: Client):
    for method in ("TRACE", "OPTIONS", "PATCH", "CONNECT", "PROPFIND"):
        assert client.http.request(method, f"{API}/slides", headers=client.headers).status_code in (404, 405)
