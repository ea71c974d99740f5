"""LOINC codes: check digits, and the table a laboratory can change."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ConfigError
from hemoscope.review.exports.loinc import check_digit, read_codes

OURS = files("hemoscope.review.exports").joinpath("loinc.toml").read_text("utf-8")


@pytest.mark.parametrize("code", ["12345-5", "26478-8", "26485-3", "26450-7", "30180-4", "38518-7", "19048-8", "11282-1", "26511-6", "769-0", "764-1", "737-7", "744-3", "714-6", "707-0", "18309-5", "26508-2"])  # fmt: skip
def test_published_codes_have_the_check_digit_that_is_reckoned(code):
    """12345-5 is the example of LOINC's guide; the others are published."""
    number, digit = code.split("-")
    assert check_digit(number) == int(digit)


@given(st.integers(1, 9_999_999), st.integers(0, 9), st.data())
def test_one_mistyped_digit_is_always_found(number, other, data):
    digits = str(number)
    place = data.draw(st.integers(0, len(digits) - 1))
    typed = digits[:place] + str(other) + digits[place + 1 :]
    assert (check_digit(typed) == check_digit(digits)) == (typed == digits)


def test_the_table_that_comes_with_hemoscope_is_whole():
    codes = read_codes()
    assert codes.classes["neutrophil"].code == "26511-6"
    assert codes.cells_counted.code == "11282-1"
    assert "platelet" not in codes.classes


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("26511-6", "736-1", r"classes\.neutrophil\.code.*check digit of 736-1 should be 9"),
        ("26511-6", "26511", r"digits, a hyphen and a check digit"),
        ("[panel]", "[pannel]", r"panel: Field required.*\n.*pannel"),
        ("[panel]", "[panel", "cannot be read"),
    ],
)
def test_a_table_that_is_wrong_is_an_error_with_its_place(before, after, told, tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(OURS.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_codes(file)


def test_a_laboratory_s_own_code_is_taken(tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(OURS.replace("26511-6", "769-0"), encoding="utf-8")
    assert read_codes(file).classes["neutrophil"].code == "769-0"
