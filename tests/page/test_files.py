"""The page's files: texts in one catalog, vendored parts as they were made, nothing from elsewhere, nothing inline."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "hemoscope" / "server" / "page"
TOOLS = ROOT / "tools" / "page"
VENDORED = (PAGE / "vendor", Path(__file__).parent / "vendor")
SCRIPTS = sorted(p for p in PAGE.rglob("*.js") if p.parent.name != "vendor")
FORMS = re.compile(r"\.(zero|one|two|few|many|other)$")


@pytest.fixture(scope="module")
def catalog() -> dict[str, str]:
    return json.loads((PAGE / "catalog" / "en.json").read_text("utf-8"))


def used() -> tuple[set[str], set[str]]:
    """Keys that the scripts name whole, and the beginnings of those they put together."""
    text = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
    whole = set(re.findall(r"""\bt\(\s*"([^"$]+)""", text))
    for pair in re.findall(r"""\bt\([^"`(]*\?\s*"([^"]+)"\s*:\s*"([^"]+)\"""", text):
        whole |= set(pair)
    return whole, set(re.findall(r"\bt\(\s*`([^`$]+)\$\{", text))


def test_every_text_that_the_page_asks_for_is_in_the_catalog(catalog: dict[str, str]):
    keys = {FORMS.sub("", key) for key in catalog}
    whole, begun = used()
    assert len(whole) > 100
    assert whole - keys == set()
    assert [start for start in begun if not any(key.startswith(start) for key in keys)] == []


def test_the_catalog_has_no_text_that_nobody_asks_for(catalog: dict[str, str]):
    whole, begun = used()
    keys = {FORMS.sub("", key) for key in catalog}
    assert {key for key in keys if key not in whole and not key.startswith(tuple(begun))} == set()


def test_the_page_says_nothing_that_is_not_in_the_catalog():
    said = []
    for path in SCRIPTS:
        for template in re.findall(
            r"html`(.*?)`", re.sub(r"\$\{[^{}`]*\}", "", path.read_text("utf-8")), re.DOTALL
        ):
            said += [
                (path.name, words) for words in re.findall(r">([^<>$`{}]*[A-Za-z]{3}[^<>$`{}]*)<", template)
            ]
    assert said == [("frame.js", "hemoscope")]


def test_a_count_s_remarks_are_said_as_python_says_them(catalog: dict[str, str]):
    from hemoscope.differential.remarks import SENTENCES

    said = {key.removeprefix("remark."): text for key, text in catalog.items() if key.startswith("remark.")}
    assert said == SENTENCES


def test_every_plural_has_the_forms_of_english(catalog: dict[str, str]):
    plural = {FORMS.sub("", key) for key in catalog if FORMS.search(key)}
    for key in plural:
        assert {f"{key}.one", f"{key}.other"} <= catalog.keys(), key


@pytest.mark.parametrize("folder", VENDORED, ids=("page", "tests"))
def test_a_vendored_file_is_as_it_was_made(folder: Path):
    named = {part["file"]: part["sha256"] for part in json.loads((folder / "vendor.json").read_text("utf-8"))}
    for file, digest in named.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, (
            f"{file} was edited; make it again: cd tools/page && npm ci && npm run vendor"
        )
    assert {p.name for p in folder.glob("*.js")} == {name for name in named if name.endswith(".js")}


def test_vendored_parts_are_those_of_the_lock_file_and_their_licences_stand_beside_them():
    lock = json.loads((TOOLS / "package-lock.json").read_text("utf-8"))["packages"]
    licences = (PAGE / "vendor" / "LICENCES.txt").read_text("utf-8")
    for folder in VENDORED:
        for part in json.loads((folder / "vendor.json").read_text("utf-8")):
            for package in part["packages"]:
                locked = lock[f"node_modules/{package['name']}"]
                assert package["version"] == locked["version"], f"stale: {package['name']}; npm run vendor"
                assert package["licence"] in ("MIT", "Apache-2.0", "MPL-2.0")
                assert (
                    folder.parent.name != "page"
                    or folder == VENDORED[1]
                    or f"{package['name']}\n===" in licences
                )


def test_the_lock_file_names_no_host():
    assert "resolved" not in (TOOLS / "package-lock.json").read_text("utf-8")


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs_inline():
    index = (PAGE / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]* src=)|\son\w+=|<style|\sstyle=", index) == []
    files = [PAGE / "index.html", *PAGE.rglob("*.css"), *SCRIPTS]
    for path in files:
        addresses = re.findall(r"https?://[^\s\"'`)]+", path.read_text("utf-8"))
        assert addresses == [], path.name
    for path in re.findall(r"""(?:src|href)="(/static/[^"]+)""", index):
        assert (PAGE / path.removeprefix("/static/")).is_file(), path


def test_every_module_is_asked_for_at_once_not_one_after_the_other():
    index = (PAGE / "index.html").read_text("utf-8")
    named = re.findall(r"""<link rel="modulepreload" href="/static/([^"]+)">""", index)
    there = [p.relative_to(PAGE).as_posix() for p in PAGE.rglob("*/*.js")]
    assert sorted(named) == sorted(there)


@pytest.mark.slow
def test_types_hold_and_vendored_parts_are_fresh():
    if not (TOOLS / "node_modules").is_dir() or shutil.which("node") is None:
        pytest.skip("needs node and the packages of tools/page: cd tools/page && npm ci")
    for command in (["node", "vendor.js", "--check"], ["node_modules/.bin/tsc", "-p", "tsconfig.json"]):
        done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
