"""Figures that documents quote are computed again from committed records; of the others the page says how they were measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hemoscope.report.certainty import certainty_of
from hemoscope.report.collect import collect
from hemoscope.report.tables import all_tables, write_tables
from tests.docs.figures import (  # each registers its sentences
    of_benchmarks,  # noqa: F401
    of_counts,  # noqa: F401
    of_labs,  # noqa: F401
    of_records,  # noqa: F401
    of_runs,
    of_test,  # noqa: F401
    of_validation,
)
from tests.docs.figures.quoting import QUOTED, RESULTS, one_line, places, text_of, what_stands_there
from tests.docs.reading import ROOT, name_of, pages

FIGURE = re.compile(r"(?<![\w.,])\d[\d,]*\.\d+ %|(?<![\w.,])\d[\d,.]* (?:images|cells)/s")
DATE = re.compile(r"20\d\d-\d\d-\d\d|[A-Z][a-z]+ 20\d\d")
MACHINE = re.compile(r"EPYC|AVX2|H200")
WRITTEN_BY_PROGRAMS = ("tables/", "model-card.md", "drawn-cells.md", "coverage.md", "2026-11-refusal/[ms]")
DEFINITIONS = ("docs/statistics.md",)  # "nothing here is a measurement"; those that quote one are computed


def names_of_pages() -> list[str]:
    named = [name_of(page) for page in pages()]
    return [name for name in named if not re.search("|".join((*WRITTEN_BY_PROGRAMS, *DEFINITIONS)), name)]


@pytest.mark.parametrize("quoted", QUOTED, ids=lambda q: f"{q.page}: {q.sentences.__name__}")
def test_a_page_says_what_its_records_say(quoted):
    text = text_of(quoted.page)
    for sentence in quoted.sentences():
        there = next(places(sentence, text), None)
        assert there, f"computed: {sentence}\nthe page: {what_stands_there(sentence, text)}"


@pytest.mark.parametrize("page", names_of_pages())
def test_a_figure_that_no_record_gives_stands_with_its_date_and_machine(page: str):
    sections = re.split(r"(?m)^(?=#+ )", (ROOT / page).read_text("utf-8"))
    introduction = "".join(sections[:2])
    sentences = [s for quoted in QUOTED if quoted.page == page for s in quoted.sentences()]
    for section in sections:
        around, text = introduction + section, one_line(section)
        if DATE.search(around) and MACHINE.search(around):
            continue
        computed = [place for sentence in sentences for place in places(sentence, text)]
        alone = [
            text[max(0, found.start() - 60) : found.end()]
            for found in FIGURE.finditer(text)
            if not any(first <= found.start() and found.end() <= last for first, last in computed)
        ]
        assert not alone, "compute it in tests/docs/figures, or name date and machine in its section"


def test_the_tables_of_the_complete_set_are_those_of_its_runs(tmp_path: Path):
    report = collect(of_runs.PBC)
    write_tables(all_tables(report, certainty_of(report)), tmp_path)
    kept = RESULTS / "2026-11-pbc-cpu" / "tables"
    assert {path.name for path in kept.iterdir()} == {path.name for path in tmp_path.iterdir()}
    for table in tmp_path.iterdir():
        assert table.read_text("utf-8") == (kept / table.name).read_text("utf-8"), table.name


def test_the_tables_of_what_goes_beyond_the_paper_are_those_of_its_runs(tmp_path: Path):
    report = collect(of_validation.RUNS, members="exhaustive", vote="soft")
    write_tables(all_tables(report, certainty_of(report)), tmp_path)
    kept = RESULTS / "2026-11-past" / "tables"
    assert list(kept.iterdir())
    for table in kept.iterdir():
        assert table.read_text("utf-8") == (tmp_path / table.name).read_text("utf-8"), table.name


def test_a_figure_that_was_changed_is_found():
    text = one_line("MobileNet v2 has\n98.93 % and 22 errors of 2,056.")
    assert next(places("98.93 % and 22 errors", text), None)
    assert next(places("98.94 % and 22 errors", text), None) is None
    assert what_stands_there("98.94 % and 21 errors", text) == "98.93 % and 22 errors"
    assert next(places("has 98.93 % and 22 errors of 2,05", text), None) is None  # not within a longer number
    assert next(places("8.93 %", text), None) is None
