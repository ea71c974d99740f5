"""Figures of planted labels that the page of results quotes, computed again from what was measured and from committed runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hemoscope.evaluation.intervals import wilson
from hemoscope.suspects.audit import audit_labels

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDER = RESULTS / "2026-11-labels"


@pytest.mark.parametrize(("name", "place"), [("pbc", 0), ("validation", 1)])
def test_what_was_found_of_planted_labels_is_what_was_measured(name: str, place: int):
    measured = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["rows"]
    text = (FOLDER / "README.md").read_text("utf-8").split("| planted |")[1:][place]
    lines = [line for line in text.splitlines() if line.startswith(("| 0", "| 1", "| 2", "| 5"))]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for cells, row in zip(shown, measured, strict=True):
        n = row["planted"]
        assert cells[0] == (f"{100 * row['rate']:g} %: {n}" if n else "0")
        assert cells[1:4] == [f"{row['n']:,}", str(row["suspects"]), str(row["found"])]
        for cell, hits, of in (
            (cells[4], row["found"], row["suspects"]),
            (cells[5], row["found"], n),
            (cells[6], row["found_in_the_first"], n),
        ):
            low, high = (100 * float(bound) for bound in wilson(hits, of))
            assert cell == (f"{100 * hits / of:.0f} ({low:.0f} to {high:.0f})" if n else "–")
        shares = [row[key] for key in ("estimated_wrong", "right_by_label", "right_by_truth")]
        assert cells[7:] == [f"{100 * share:.1f} %" for share in shares]


def test_the_labels_that_good_networks_doubt_are_those_named():
    text = (FOLDER / "README.md").read_text("utf-8")
    doubted = [suspect.path for suspect in audit_labels(RESULTS / "2026-11-pbc-cpu" / "runs").suspects]
    assert len(doubted) == 3
    assert all(f"`{path}`" in text for path in doubted)
