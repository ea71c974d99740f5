"""A run folder from anywhere: its card is checked before anything reads it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import RunError
from hemoscope.run_card import MAX_BYTES, read_card

CARD: dict[str, Any] = {
    "arch": "vgg11",
    "seed": 0,
    "recipe": {"epochs": 2, "canvas_px": None},
    "data": {"classes": ["a", "b"], "counts": {"train": {"a": 3, "b": 4}}, "left_out": []},
    "split": {"digest": "0" * 64, "policy": "paper", "seed": 0},
    "timings": {"images_per_s": 12.5, "data_s": None},
    "something newer": {"than": ["this", 1.5]},
}


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_sound_card_comes_back_as_it_was_written(tmp_path: Path):
    assert read_card(written(tmp_path / "run.json", json.dumps(CARD)), done=True) == CARD


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "valid dictionary"),
        ("null", "valid dictionary"),
        ("[" * 100_000, "recursion"),
        ('{"seed": NaN}', "NaN is no JSON"),
        ('{"timings": {"images_per_s": 1e999}}', "finite number"),
        ('{"parameters": 1' + "0" * 5000 + "}", "digits"),
        ('{"parameters": -1}', "greater than or equal to 0"),
        ('{"image_px": 1e9}', "valid integer"),
        ('{"data": {"classes": ["a", "a"]}}', "every class once"),
        ('{"data": {"classes": []}}', "at least 1"),
        ('{"data": {"counts": {"train": {"a": 1.5}}}}', "data.counts.train.a"),
        ('{"data": {"root": ["/"]}}', "data.root"),
        ('{"data": {"source": ["/"]}}', "data.source"),
        ('{"data": {"groups": "12"}}', "data.groups"),
        ('{"recipe": {"epochs": {"deep": 1}}}', "recipe.epochs"),
        ('{"evaluated": {"vote": "loudest"}}', "evaluated.vote"),
        ('{"evaluated": {"seen_before": {"train": -1}}}', "evaluated.seen_before.train"),
        ('{"arch": 1, "seed": "0"}', "arch: .*; seed: "),
    ],
)
def test_what_is_no_card_is_told_with_what_is_wrong(text: str, told: str, tmp_path: Path):
    with pytest.raises(RunError, match=f"run.json is damaged: .*{told}.*delete the folder"):
        read_card(written(tmp_path / "run.json", text), done=False)


@pytest.mark.parametrize("key", ["arch", "seed", "recipe", "data", "split"])
def test_a_finished_run_is_known_by_what_made_it(key: str, tmp_path: Path):
    path = written(tmp_path / "run.json", json.dumps({k: v for k, v in CARD.items() if k != key}))
    with pytest.raises(RunError, match=f"lacks {key}"):
        read_card(path, done=True)
    assert key not in read_card(path, done=False)  # one that only began may lack them


def test_a_card_of_any_size_costs_no_more_than_the_largest_there_is(tmp_path: Path):
    path = tmp_path / "run.json"
    with path.open("wb") as file:
        file.truncate(200 * MAX_BYTES)
    with pytest.raises(RunError, match="is larger than 67,108,864 bytes"):
        read_card(path, done=False)


def test_a_card_that_is_no_file_is_told(tmp_path: Path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(RunError, match="run.json is damaged"):
        read_card(tmp_path / "run.json", done=False)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(["arch", "seed", "recipe", "data", "split", "timings", "weights"]), value=values)
def test_any_value_anywhere_is_taken_or_refused_in_a_sentence(
    key: str, value: object, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.getbasetemp() / "any.json"
    for card in (CARD | {key: value}, CARD | {"data": {**CARD["data"], key: value}}):
        with suppress(RunError):
            read_card(written(path, json.dumps(card)), done=True)
