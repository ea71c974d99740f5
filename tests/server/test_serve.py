"""`hemoscope serve` and `hemoscope store` as commands: one address, sign-in where it is due, a stop that is clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from tests.in_process import hemoscope
from tests.server.client import API, Client

PASSWORD = "correct horse battery"  # pragma: allowlist secret


@contextmanager
def serving(*words: object, cwd: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of its own; the address it prints, and its process."""
    command = [sys.executable, "-m", "hemoscope", "serve", *map(str, words), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=os.environ)
    assert server.stdout
    try:
        yield server.stdout.readline().strip(), server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def add_user(data: Path, name: str, role: str, cwd: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hemoscope",
        "store",
        "user",
        "add",
        name,
        "--role",
        role,
        "--data-folder",
        str(data),
    ]
    subprocess.run(command, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True, cwd=cwd)


def test_neither_or_both_of_model_and_demo_is_wrong_use(tmp_path: Path):
    for words in ((), ("x.hemo", "--demo")):
        done = hemoscope("serve", *words, "--data-folder", tmp_path)
        assert done.returncode == 2
        assert "MODEL or --demo" in done.stderr


def test_a_mistyped_code_is_told_before_anything_is_served(tmp_path: Path):
    codes = tmp_path / "codes.toml"
    ours = files("hemoscope.review.exports").joinpath("loinc.toml").read_text("utf-8")
    codes.write_text(ours.replace("26511-6", "26511-5"), "utf-8")
    done = hemoscope("serve", "x.hemo", "--codes", codes, "--data-folder", tmp_path / "data")
    assert done.returncode == 2
    assert "check digit of 26511-5 should be 6" in done.stderr


def test_users_are_added_listed_and_removed_without_a_password_on_the_command_line(tmp_path: Path):
    add_user(tmp_path / "data", "ada", "administrator", tmp_path)
    listed = hemoscope("store", "user", "list", "--data-folder", tmp_path / "data", "--json")
    assert json.loads(listed.stdout) == [{"name": "ada", "role": "administrator"}]
    assert hemoscope("store", "user", "remove", "eve", "--data-folder", tmp_path / "data").returncode == 2
    assert hemoscope("store", "user", "remove", "ada", "--data-folder", tmp_path / "data").returncode == 0
    assert (
        json.loads(hemoscope("store", "user", "list", "--data-folder", tmp_path / "data", "--json").stdout)
        == []
    )


def test_a_folder_that_is_not_there_has_no_users_and_no_backup(tmp_path: Path):
    for words in (("user", "list"), ("backup", tmp_path / "b.zip")):
        done = hemoscope("store", *words, "--data-folder", tmp_path / "no")
        assert done.returncode == 1
        assert "there is none" in done.stderr


@pytest.mark.slow
def test_other_machines_have_to_sign_in_and_without_a_user_nothing_is_served(
    single_file: Path, tmp_path: Path
):
    command = [
        sys.executable,
        "-m",
        "hemoscope",
        "serve",
        single_file,
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--ranges",
    ]
    ranges = tmp_path / "ranges.toml"
    ranges.write_text(
        'name = "Discs"\nsource = "x"\n'
        + "".join(
            f'[classes.{name}]\nlabel = "{name}"\nrole = "white"\n' for name in ("blue", "green", "red")
        )
    )
    refused = subprocess.run([*command, ranges], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert "hemoscope store user add" in refused.stderr
    add_user(tmp_path / "review", "ada", "reader", tmp_path)
    with serving(single_file, "--host", "0.0.0.0", "--ranges", ranges, cwd=tmp_path) as (address, server):
        with httpx.Client(base_url=address.rstrip("/"), timeout=None) as http:
            assert http.get(f"{API}/slides").status_code == 401
            client = Client(http, site=None)  # type: ignore[arg-type]
            assert client.post("/session", {"name": "ada", "password": PASSWORD}).status_code == 200
            assert [c["name"] for c in client.get("/model").json()["classes"]] == ["blue", "green", "red"]
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.slow
def test_the_demo_has_a_slide_with_cells_for_review_and_the_second_start_makes_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    made = []
    for _ in range(2):
        with serving("--demo", cwd=tmp_path) as (address, server):
            with httpx.Client(base_url=address.rstrip("/"), timeout=None) as http:
                client = Client(http, site=None)  # type: ignore[arg-type]
                (slide,) = client.get("/slides").json()
                found = client.settled(slide["id"])
                assert found["cells"] == 216
                assert found["open"] > 0
                assert client.get("/model").json()["demo"]
            server.send_signal(signal.SIGINT)
            assert server.wait() == 0
        (bundle,) = (tmp_path / "cache" / "serve-demo").glob("*.hemo")
        made.append(bundle.stat().st_mtime_ns)
    assert made[0] == made[1]
