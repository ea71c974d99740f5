"""A damaged run costs a line and not the report, whatever was done to its folder."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from hemoscope.report.certainty import certainty_of
from hemoscope.report.collect import collect
from hemoscope.report.html import write_report
from hemoscope.report.tables import all_tables
from hemoscope.runs import CARD, HISTORY, PREDICTIONS

SMALL = (6, 7, 8, 9, 5, 6, 7, 8)
ODD: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1.5,
    1e308,
    "",
    "x" * 5000,
    "\ud800",
    "\u202e",
    [],
    [[]],
    {},
    {"a": {"b": []}},
]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 8, 200])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def zeroed(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes(min(2000, len(content) - at)) + content[at + 2000 :]


def lines_lost(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines[: rng.randrange(len(lines))])


def odd_value(content: bytes, rng: random.Random) -> bytes:
    """Another value, or none, at any place of a JSON document; a few bytes elsewhere."""
    try:
        top = at = json.loads(content)
    except ValueError:
        return flipped(content, rng)
    while True:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not isinstance(at[key], (dict, list)) or not at[key] or rng.random() < 0.3:
            break
        at = at[key]
    if rng.random() < 0.2:
        del at[key]
    else:
        at[key] = rng.choice(ODD)
    return json.dumps(top).encode()


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [cut, flipped, zeroed, lines_lost, odd_value]


@pytest.mark.parametrize("attacks", [60, pytest.param(1100, marks=pytest.mark.long)])
def test_no_damage_to_one_run_takes_the_others_with_it(attacks: int, runs):
    sound = runs.add("resnet18", test=SMALL)
    victim = runs.add("vgg16", test=SMALL, seed=1)
    keep = shutil.copytree(victim, runs.root.parent / "keep")
    left_out = 0
    for seed in range(attacks):
        rng = random.Random(seed)
        name = rng.choice([CARD, CARD, HISTORY, PREDICTIONS])
        shutil.rmtree(victim)
        shutil.copytree(keep, victim)
        (victim / name).write_bytes(rng.choice(DAMAGES)((keep / name).read_bytes(), rng))
        report = collect(runs.root)
        assert sound.name in {e.name for n in report.networks for e in n.entries}, (seed, name)
        left_out += victim.name in {item.name for item in report.left_out}
        all_tables(report, certainty_of(report))  # what passes as sound is fit for a page
        if seed % 20 == 0:
            write_report(runs.root, runs.root.parent / "report")
    assert left_out > attacks // 4
