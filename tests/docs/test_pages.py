"""What the pages name is there: links, paths, verbs, options, modules."""

from __future__ import annotations

import functools
import importlib
import itertools
import re
import sys
from pathlib import Path

import pytest

from tests.docs.reading import (
    DOCS,
    ROOT,
    blocks,
    commands,
    followed,
    inline,
    links,
    name_of,
    pages,
    root_command,
    spans,
    table_rows,
    tokens,
)

TOP = ("docs", "src", "tests", "tools", "benchmarks", ".ci")
each_page = pytest.mark.parametrize("page", pages(), ids=name_of)


def anchors(page: Path) -> set[str]:
    """Places of a page that a link may lead to: explicit ones, and headings as MyST and GitHub name them."""
    text, parsed = page.read_text("utf-8"), tokens(page)
    heads = [token.content for before, token in itertools.pairwise(parsed) if before.type == "heading_open"]
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@each_page
def test_links_lead_somewhere(page: Path):
    missing = []
    for link in links(page):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (place and target.suffix == ".md" and place not in anchors(target)):
            missing.append(link)
    assert not missing


@each_page
def test_paths_of_the_repository_exist(page: Path):
    missing = []
    for span in spans(page):
        if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)+/?", span):
            continue
        if span.partition("/")[0] in TOP or span.endswith(".py"):
            places = (ROOT, ROOT / "src" / "hemoscope", page.parent)
            if not any((place / span).exists() for place in places):
                missing.append(span)
    assert not missing


@each_page
def test_commands_in_blocks_are_ones_that_the_command_line_takes(page: Path):
    refused = []
    for words in commands(page):
        try:
            command, rest = followed(words)
            with command.make_context("hemoscope", rest):
                pass
        except Exception as error:  # noqa: BLE001  the parser's own errors are not public
            refused.append(f"hemoscope {' '.join(words)}: {error}")
    assert not refused


@each_page
def test_commands_in_sentences_name_verbs_and_options_that_are_there(page: Path):
    everywhere = {word for words in all_verbs() for word in options(words)} | options([])
    wrong = []
    for span in spans(page):
        words = re.sub(r"^(uv run )?hemoscope ", "", span).split()
        if span.startswith(("hemoscope ", "uv run hemoscope ")) and words[0] != "VERB":
            wrong += [f"{span}: {word}" for word in unknown(words)]
        elif span.startswith("--"):
            wrong += [span] if words[0].partition("=")[0] not in everywhere else []
    assert not wrong


def unknown(words: list[str]) -> list[str]:
    """Return what is no verb and no option of it."""
    if words[0].startswith("-"):
        known, rest = options([]), words
    else:
        path = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        while path and tuple(path) not in all_verbs() and tuple(path) not in groups():
            path.pop()
        if not path:
            return [words[0]]
        if tuple(path) in groups():
            path = [*path, "make"] if (*path, "make") in all_verbs() else path
        known, rest = options(path), words
    used = [word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"]
    return [word for word in used if word not in known]


@functools.cache
def all_verbs() -> set[tuple[str, ...]]:
    return {path for path, command in walked() if not hasattr(command, "commands")}


@functools.cache
def groups() -> set[tuple[str, ...]]:
    return {path for path, command in walked() if hasattr(command, "commands")}


@functools.cache
def walked() -> list[tuple[tuple[str, ...], object]]:
    found: list[tuple[tuple[str, ...], object]] = [((), root_command())]
    for path, command in found:
        found += [((*path, name), below) for name, below in getattr(command, "commands", {}).items()]
    return found


def options(words: list[str] | tuple[str, ...]) -> set[str]:
    command = dict(walked())[tuple(words)]
    found = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}  # type: ignore[attr-defined]
    return {opt for opt in found if opt.startswith("-")} | {"--help", "-h"}


def test_every_verb_has_a_page_with_its_options():
    for path in sorted(all_verbs()):
        page = DOCS / "verbs" / f"{path[0]}.md"
        assert page.is_file(), page
        shown = [block.language for block in blocks(page)]
        assert f"{{verb}} {' '.join(path)}" in shown, page
        assert any(words[: len(path)] == list(path) for words in commands(page)) or path == ("bundle", "make")
    index = (DOCS / "verbs" / "index.md").read_text("utf-8")
    listed = re.search(r"\{toctree\}\n:hidden:\n\n(.*?)```", index, re.DOTALL)
    assert listed
    assert listed[1].split() == root_command().list_commands(None)


def test_the_tables_of_a_verb_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    verbs = importlib.import_module("verbs")
    for path in all_verbs():
        rows = [row for kind in ("argument", "option") for row in verbs.takes(path, kind)]
        shown = {word for row in rows for word in re.findall(r"--?[\w-]+", row.name) if word.startswith("-")}
        assert shown == options(path) - {"--help", "-h"}
        assert all(row.what for row in rows), path
        assert verbs.usage(path).startswith(f"hemoscope {' '.join(path)}")
    train = {row.name.split()[0]: row for row in verbs.takes(("train",), "option")}
    assert train["--recipe"].extra == "default: paper"
    assert "required" in train["--data"].extra
    assert {path for path, _ in verbs.leaves()} == all_verbs()
    with pytest.raises(KeyError):
        verbs.takes(("trian",), "option")
    sys.modules.pop("verbs")


def test_a_page_is_made_ready_for_the_site(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    ready = importlib.import_module("pages")
    text = "[a](results/2026-11-demo) [b](own-cells.md) [c](https://example.org/x) [d](results/)"
    made = "[a](results/2026-11-demo/README.md) [b](own-cells.md) [c](https://example.org/x) [d](results/README.md)"
    assert ready.to_readmes(text, DOCS) == made
    assert ready.titled("| a |\n|---|", "drawn-cells") == "# drawn-cells\n\n| a |\n|---|"
    assert ready.titled("---\nx: 1\n---\n# A title\n", "page") == "---\nx: 1\n---\n# A title\n"
    loaded = (
        '<script src="//a.example/x.js"></script><img alt="" src=https://b.example/y.png>'
        '<link rel="stylesheet" href="https://c.example/z.css"><style>@import "http://d.example/w.css";'
        "@font-face{src:url(https://e.example/f.woff2)}</style>"
    )
    assert len(ready.loaded_from_the_net(loaded)) == 5
    followed_only = (
        '<a href="https://a.example">x</a><link rel="next" href="y.html"><img src="_static/z.png">'
    )
    assert ready.loaded_from_the_net(followed_only) == []
    sys.modules.pop("pages")


def test_modules_that_moved_are_where_the_page_says():
    wrong, n = [], 0
    page = DOCS / "changes.md"
    for before, now in table_rows(tokens(page)):
        for name in (t.content for t in now.children or () if t.type == "code_inline"):
            if re.fullmatch(r"hemoscope(\.\w+)+", name):
                n += 1
                wrong += [] if is_there(name) else [name]
        old = next((t.content for t in before.children or () if t.type == "code_inline"), "")
        if old.startswith("hemoscope.inference") or old == "hemoscope.data.progress":
            wrong += [f"{old} is still there"] if is_there(old) else []
    assert n > 40
    assert not wrong


def is_there(name: str) -> bool:
    module, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        try:
            return hasattr(importlib.import_module(module), last)
        except ModuleNotFoundError:
            return False
    return True


def test_sentences_of_every_bundle_are_those_of_the_code():
    from hemoscope.packing.pack import LIMITS_OF_BUNDLES

    said = " ".join((DOCS / "limits.md").read_text("utf-8").split())
    assert all(sentence in said for sentence in LIMITS_OF_BUNDLES)


def test_variables_that_are_named_are_read():
    named = {span for page in pages() for span in spans(page) if re.fullmatch(r"HEMOSCOPE_\w+", span)}
    read = "".join(
        path.read_text("utf-8") for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")
    )
    assert named >= {"HEMOSCOPE_CACHE", "HEMOSCOPE_WEIGHTS", "HEMOSCOPE_REAL_CELLS"}
    assert all(f'"{name}"' in read for name in named)


def test_nothing_of_the_pages_is_on_the_net_as_a_picture():
    for page in pages():
        for token in inline(tokens(page)):
            if token.type == "image":
                assert not str(token.attrs["src"]).startswith("http"), page
