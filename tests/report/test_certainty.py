"""How sure the headline is: chosen on validation, counted on test, image by image."""

from __future__ import annotations

import numpy as np
import pytest

from hemoscope.evaluation.calibration import apply_temperature, expected_calibration_error
from hemoscope.predictions_file import read_predictions
from hemoscope.report import write_report
from hemoscope.report.certainty import calibration_table, certainty_of, refusal_table, sets_table
from hemoscope.report.collect import collect
from hemoscope.runs import PREDICTIONS


def test_thresholds_come_from_validation_and_are_counted_on_test(runs):
    runs.add("vgg11", error_rate=0.05)
    report = collect(runs.root)
    found = certainty_of(report)
    assert found is not None
    assert found.after is not None
    test = report.best.test
    probs = apply_temperature(test.probs, found.temperature)
    sure = probs[np.arange(len(test)), test.pred]
    wrong = test.pred != test.target
    for one in found.refused:
        kept = sure >= one.below if one.below is not None else np.zeros(len(test), bool)
        assert (one.accepted, one.wrong) == (int(kept.sum()), int((kept & wrong).sum()))
    shares = [one.accepted for one in found.refused]
    assert shares == sorted(shares, reverse=True)  # the harder the promise, the fewer are left
    assert found.before.estimates["ece"].value == pytest.approx(
        expected_calibration_error(test.probs, test.pred, test.target)
    )
    rows = {row[0]: row for row in sets_table(found).raw.rows}
    assert rows["all"][1] == len(test)
    held = sum(row[2] for name, row in rows.items() if name != "all")
    assert rows["all"][2] == held


def test_no_test_image_decides_a_threshold(runs, make_runs, tmp_path):
    """The same validation side beside another test side gives the same temperature and thresholds."""
    first = runs.add("vgg11", error_rate=0.05)
    sides = read_predictions(first / PREDICTIONS, collect(runs.root).best.val.classes)
    fewer = sides["test"].take(range(0, len(sides["test"]), 3))
    other = make_runs(tmp_path / "other")
    other.add("vgg11", error_rate=0.05, predictions={"val": sides["val"], "test": fewer})
    a, b = certainty_of(collect(runs.root)), certainty_of(collect(other.root))
    assert a is not None
    assert b is not None
    assert a.temperature == b.temperature
    assert [one.below for one in a.refused] == [one.below for one in b.refused]
    assert len(a.test) != len(b.test)


def test_without_validation_images_only_what_was_stated_is_shown(runs, tmp_path):
    first = runs.add("vgg11")
    sides = read_predictions(first / PREDICTIONS, collect(runs.root).best.val.classes)
    (first / PREDICTIONS).unlink()
    runs.add("alexnet", predictions={"val": sides["val"].take([]), "test": sides["test"]})
    found = certainty_of(collect(runs.root))
    assert found is not None
    assert (found.after, found.sets, found.refused) == (None, None, ())
    assert len(calibration_table(found).head) == 3
    assert not refusal_table(found).groups
    assert not sets_table(found).groups
    page = write_report(runs.root, tmp_path / "report").read_text("utf-8")
    assert "these runs have none" in page


def test_the_page_asks_its_questions_in_order(runs, tmp_path):
    runs.add("vgg11")
    page = write_report(runs.root, tmp_path / "report").read_text("utf-8")
    questions = [
        "How good is it?",
        "How sure is it?",
        "Where is it wrong?",
        "When not to trust it",
        "What would break it?",
        "How it was made",
    ]
    places = [page.index(f"</span> {question}</h2>") for question in questions]
    assert places == sorted(places)
