import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.report.formats import (
    count,
    duration,
    interval,
    latex,
    markdown,
    percent,
    printable,
    signed_points,
    slug,
)

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=30)


@given(ANY_TEXT)
def test_printable_text_can_always_be_written_and_stays_on_one_line(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@pytest.mark.parametrize("text", ["neutrophil", "Ñandú cell", "好中球", "a b"])
def test_ordinary_names_are_shown_as_they_are(text):
    assert printable(text) == text


@given(ANY_TEXT)
def test_latex_leaves_no_special_character_bare(text):
    commands = (
        r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textquotedbl"
        r"|textasciigrave|textendash)\{\}"
    )
    braced = r"|\{\[\}|\{\]\}|\{\*\}|(?<=[-,'])\{\}"
    rest = re.sub(commands + r"|\\[{}$&#%_]|\$(\\pm|-|\\times|\\Delta)\$" + braced, "", latex(text))
    assert not re.search(r'[\\{}$&#%_^~<>|"`*\[\]]', rest)


@given(ANY_TEXT)
def test_markdown_text_never_opens_a_cell_or_a_tag(text):
    shown = markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", shown)
    assert "<" not in shown
    assert ">" not in shown


@pytest.mark.parametrize("undefined", [None, math.nan, math.inf])
def test_undefined_figures_are_n_a_and_never_zero(undefined):
    for show in (percent, signed_points, count, duration):
        assert show(undefined) == "n/a"
    assert interval((math.nan, math.nan)) == "n/a"
    assert interval(None) == "n/a"


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert signed_points(-0.00001) == "0.00"


@given(ANY_TEXT)
def test_a_slug_is_a_safe_file_name(text):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(text))
