"""Who may do what: tokens, hosts, sign-in, roles, limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from hemoscope.errors import ConfigError, DataError
from hemoscope.server.settings import Capacity, is_loopback
from tests.server.client import API, Client
from tests.server.pictures import noise

PASSWORD = "correct horse battery"  # pragma: allowlist secret
WRONG = PASSWORD[::-1]


def signed_in(client: Client, name: str = "ada", password: str = PASSWORD):
    answer = client.post("/session", {"name": name, "password": password})
    if answer.status_code == 200:
        client.renew()
    return answer


@pytest.fixture
def closed(started):
    """A server that other machines reach, with a reader and an administrator."""
    with started(host="0.0.0.0") as client:
        client.site.users.add("ada", "reader", PASSWORD)
        client.site.users.add("bob", "administrator", PASSWORD + "!")
        yield client


def paths_of_openapi(client: Client) -> list[tuple[str, str]]:
    described = client.http.get(f"{API}/openapi.json").json()["paths"]
    return [(m.upper(), p) for p, methods in described.items() for m in methods if p.startswith(API)]


def test_every_route_but_the_session_asks_who_is_there(closed: Client):
    described = paths_of_openapi(closed)
    assert len(described) > 15
    for method, path in described:
        if path == f"{API}/session" and method != "DELETE":
            continue
        for name, value in {
            "slide": "1",
            "cell": "0",
            "digest": "0" * 64,
            "upload": "0" * 32,
            "form": "csv",
        }.items():
            path = path.replace(f"{{{name}}}", value)
        answer = closed.http.request(method, path, headers=closed.headers)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.json()["error"]["code"] == "sign_in"


def test_every_write_needs_the_token(client: Client):
    for method, path in paths_of_openapi(client):
        if method == "GET":
            continue
        for name, value in {"slide": "1", "cell": "0", "upload": "0" * 32}.items():
            path = path.replace(f"{{{name}}}", value)
        for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "é".encode("latin-1")}):
            answer = client.http.request(method, path, headers=headers)
            assert answer.status_code == 403 or path.endswith("/session"), (method, path, answer.text)


def test_a_page_of_another_server_cannot_write_even_with_the_token(client: Client):
    headers = {**client.headers, "Origin": "http://evil.example"}
    answer = client.http.post(f"{API}/slides", json={"title": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin")
    headers["Origin"] = "http://127.0.0.1:8000"
    assert client.http.post(f"{API}/slides", json={"title": "x"}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1].evil"]
)
def test_without_sign_in_a_host_that_is_not_this_machine_is_refused(client: Client, host: str):
    for path in ("/", f"{API}/slides", "/static/page.js"):
        assert client.http.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:9", "[::1]:8000", "127.8.8.8"])
def test_the_names_of_this_machine_are_taken(client: Client, host: str):
    assert client.http.get(f"{API}/slides", headers={"Host": host}).status_code == 200


def test_from_the_first_user_on_a_running_server_asks_who_is_there(client: Client):
    slide = client.new_slide()
    assert not client.renew()["sign_in"]
    client.site.users.add("ada", "reader", PASSWORD)
    assert client.get(f"/slides/{slide}").status_code == 401
    assert client.renew()["sign_in"]
    assert signed_in(client).json()["user"] == "ada"
    assert client.get(f"/slides/{slide}").status_code == 200
    client.site.users.remove("ada")
    assert client.get(f"/slides/{slide}").status_code == 401


@pytest.mark.parametrize("name", ["local", "Local"])
def test_nobody_is_called_as_those_are_who_have_not_signed_in(client: Client, name: str):
    with pytest.raises(ConfigError, match="expected another name"):
        client.site.users.add(name, "reader", PASSWORD)


def test_a_name_with_its_password_signs_in_and_out(closed: Client):
    assert closed.renew() == {
        "user": None,
        "role": None,
        "csrf": closed.headers["X-CSRF-Token"],
        "sign_in": True,
    }
    assert signed_in(closed).json()["role"] == "reader"
    slide = closed.new_slide()
    assert closed.get(f"/slides/{slide}").json()["by"] == "ada"
    cookie = dict(closed.http.cookies)
    assert closed.delete("/session").status_code == 204
    closed.http.cookies.update(cookie)  # the session has ended, whatever a browser keeps
    assert closed.get("/slides").status_code == 401


def test_signing_in_gives_a_new_cookie_that_no_script_reads(closed: Client):
    before = closed.http.cookies.get(closed.site.guard.cookie_name)
    answer = signed_in(closed)
    assert closed.http.cookies.get(closed.site.guard.cookie_name) != before
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()


def test_after_five_wrong_passwords_a_name_has_to_wait_even_with_the_right_one(closed: Client):
    for _ in range(5):
        assert signed_in(closed, password=WRONG).status_code == 401
    refused = signed_in(closed)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 301


def test_wrong_passwords_at_once_are_no_more_than_one_after_another(closed: Client):
    with ThreadPoolExecutor(16) as many:
        answers = list(many.map(lambda _: signed_in(closed, password=WRONG).status_code, range(48)))
    assert set(answers) == {401, 429}
    assert answers.count(401) <= 5


def test_right_passwords_are_no_failures(closed: Client):
    for _ in range(6):
        assert signed_in(closed).status_code == 200
    for _ in range(5):
        assert signed_in(closed, password=WRONG).status_code == 401
    assert signed_in(closed, password=WRONG).status_code == 429


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(closed: Client):
    assert signed_in(closed, name="eve").json() == signed_in(closed, password=WRONG).json()


def test_only_an_administrator_reads_the_whole_audit_trail(closed: Client):
    signed_in(closed)
    assert closed.get("/audit").status_code == 403
    signed_in(closed, "bob", PASSWORD + "!")
    assert [line["what"] for line in closed.get("/audit").json()["audit"]] == ["signed in", "signed in"]


def test_the_reader_of_an_entry_is_who_signed_in(closed: Client):
    signed_in(closed)
    slide = closed.new_slide()
    closed.send(slide, "a.png", noise(1))
    closed.settled(slide)
    assert closed.place(slide, [0], "ig").json()["entry"]["reader"] == "ada"


def test_a_password_lies_in_the_store_as_argon2id_and_a_cookie_as_its_digest(closed: Client):
    from sqlalchemy import select

    from hemoscope.server.store.tables import SessionRow, UserRow

    signed_in(closed)
    with closed.site.store.read() as session:
        assert all(row.password.startswith("$argon2id$") for row in session.scalars(select(UserRow)))
        (kept,) = session.scalars(select(SessionRow.digest))
    assert kept not in dict(closed.http.cookies).values()


def test_names_and_passwords_are_checked(closed: Client):
    users = closed.site.users
    for name, password in (("", PASSWORD), (" ada", PASSWORD), ("a\nb", PASSWORD), ("eve", "short")):
        with pytest.raises(ConfigError):
            users.add(name, "reader", password)
    with pytest.raises(DataError):
        users.add("ada", "reader", PASSWORD)
    users.add("ada", "administrator", "another password", replace=True)
    assert users.sign_in("ada", PASSWORD) is None
    users.remove("ada")
    assert users.sign_in("ada", "another password") is None


def test_an_unused_session_ends(started):
    with started(host="0.0.0.0", capacity=Capacity(session_s=0)) as client:
        client.site.users.add("ada", "reader", PASSWORD)
        signed_in(client)
        assert client.get("/slides").status_code == 401


def test_a_body_is_refused_by_its_size_before_it_is_read(client: Client):
    big = b'{"title": "' + b"x" * (2 << 20) + b'"}'
    headers = {**client.headers, "Content-Type": "application/json"}
    assert client.http.post(f"{API}/slides", content=big, headers=headers).status_code == 413

    def pieces():
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    assert client.http.post(f"{API}/slides", content=pieces(), headers=headers).status_code == 413


def test_no_answer_lets_a_browser_run_what_is_not_the_page_s_own(client: Client):
    for path in ("/", f"{API}/session", f"{API}/slides/9", "/nowhere", "/healthz"):
        headers = client.http.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", f"{API}/images/../../secret"],
)
def test_no_path_leads_out_of_the_page_s_folder(client: Client, path: str):
    assert client.http.get(path).status_code in (400, 404)


def test_an_address_is_this_machine_or_not():
    assert [is_loopback(a) for a in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.1.2.3", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
