"""What the Dockerfile names is there: its commands, extras, files, the Python it begins with, the address it asks."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import tomllib

import pytest

from tests.docs.reading import ROOT, followed

DOCKERFILE = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def lines(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.+)$", DOCKERFILE, re.MULTILINE)


def words_run() -> list[list[str]]:
    """What follows `hemoscope`: by itself, and in the commands that the head of the file tells."""
    [entry], [by_itself] = map(json.loads, lines("ENTRYPOINT")), map(json.loads, lines("CMD"))
    assert entry == ["hemoscope"]
    told = re.findall(r"^#   docker run .* hemoscope (\S.+?)(?: < .+)?$", DOCKERFILE, re.MULTILINE)
    return [by_itself, *[shlex.split(line) for line in told if line]]


@pytest.mark.parametrize("words", words_run(), ids=" ".join)
def test_its_commands_are_ones_that_the_command_line_takes(words: list[str]):
    command, rest = followed(words)
    with command.make_context("hemoscope", rest):
        pass


def test_its_extras_and_the_files_that_it_copies_are_there():
    synced = [shlex.split(line) for line in lines("RUN") if line.startswith("uv sync")]
    for words in synced:
        extras = [after for word, after in itertools.pairwise(words) if word == "--extra"]
        assert {"serve", "explain"} == set(extras)
        assert set(extras) <= PROJECT["optional-dependencies"].keys()
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for words in map(str.split, lines("COPY")):
        if not words[0].startswith("--from"):
            assert set(words[:-1]) <= let_through
            assert all((ROOT / word).exists() for word in words[:-1])


def test_it_begins_with_a_python_that_the_project_takes():
    low, high = re.findall(r"3\.\d+", PROJECT["requires-python"])
    bases = [re.fullmatch(r"python:(3\.\d+)-slim(?: AS built)?", line) for line in lines("FROM")]
    minors = {int(base[1].partition(".")[2]) for base in bases if base}
    assert len(bases) == 2
    assert len(minors) == 1
    assert int(low.partition(".")[2]) <= min(minors) < int(high.partition(".")[2])


def test_the_address_it_asks_for_health_is_one_that_the_server_has():
    from hemoscope.server.routes.operations import router

    [health] = re.findall(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'", DOCKERFILE)
    [by_itself] = map(json.loads, lines("CMD"))
    assert health[0] == by_itself[by_itself.index("--port") + 1] == lines("EXPOSE")[0]
    assert health[1] in {route.path for route in router.routes}  # type: ignore[attr-defined]
