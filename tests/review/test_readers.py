"""Two readers of one slide, and readers beside the model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from hemoscope.errors import ShapeError
from hemoscope.evaluation.intervals import wilson
from hemoscope.review.bias import audit_sample, automation_bias
from hemoscope.review.commands import Entry
from hemoscope.review.readers import agreement, cohen_kappa, merged, sample
from hemoscope.review.state import start
from tests.review.slides import CLASSES, cell, cells_of, give, place

tables = st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=3, max_size=3)


@given(tables)
def test_kappa_and_its_interval_are_those_of_statsmodels(rows):
    table = np.array(rows)
    if not table.sum():
        return
    found = cohen_kappa(table)
    if math.isnan(found.value):
        assert np.count_nonzero(table.sum(axis=1)) == np.count_nonzero(table.sum(axis=0)) == 1
        return
    with np.errstate(all="ignore"):
        want = cohens_kappa(table)
        variance = want.var_kappa
    assert found.value == pytest.approx(want.kappa)
    if variance > 1e-9 and np.trace(table) < table.sum():
        half = 1.959963984540054 * math.sqrt(variance)
        chance = 1 - (1 - np.trace(table) / table.sum()) / (1 - want.kappa)
        least = (float(wilson(np.trace(table), table.sum())[0]) - chance) / (1 - chance)
        assert found.low == pytest.approx(max(-1, min(want.kappa - half, least)), abs=1e-6)
        assert found.high == pytest.approx(min(1, want.kappa + half), abs=1e-6)


def test_one_disagreement_is_never_surer_than_none():
    for n in (20, 50, 200):
        table = np.diag([n // 2, n - n // 2])
        none = cohen_kappa(table)
        table[0, 0], table[0, 1] = n // 2 - 1, 1
        assert cohen_kappa(table).low < none.low


def test_readers_who_agree_on_few_cells_are_not_certain_to_agree():
    few, many = cohen_kappa(np.diag([3, 2])), cohen_kappa(np.diag([120, 80]))
    assert few.value == many.value == few.high == 1
    low = proportion_confint(5, 5, method="wilson")[0]
    assert few.low == pytest.approx((low - 0.52) / 0.48)
    assert few.low < 0.5 < 0.95 < many.low


@pytest.mark.parametrize("table", [np.zeros((2, 2), int), np.ones((2, 3), int)])
def test_kappa_of_nothing_is_refused(table):
    with pytest.raises(ShapeError):
        cohen_kappa(table)


def test_a_sample_is_drawn_by_its_seed_and_is_all_where_there_are_fewer():
    cells = cells_of({"neutrophil": 500})
    first = sample(cells, seed=1)
    assert len(set(first)) == 200
    assert first == sample(cells, seed=1) != sample(cells, seed=2)
    assert sample(cells[:150]) == tuple(range(150))


def readings():
    cells = cells_of({"neutrophil": 4, "ig": 2})
    one = give(start(CLASSES, cells, blind=True), place([0, 1, 2], "neutrophil"), place([3, 4], "ig"))
    two = give(
        start(CLASSES, cells, blind=True, reading=2),
        place([0, 1], "neutrophil"), place([2, 3], "ig"), place([4], "not_classed"), place([5], "ig"), reader="Bo",
    )  # fmt: skip
    return cells, one, two


def test_two_readings_are_compared_on_cells_that_both_have_read():
    _, one, two = readings()
    found = agreement(one, two)
    assert (found.both, found.agreed) == (5, 3)
    assert found.differ == ((2, "neutrophil", "ig"), (4, "ig", "not_classed"))
    said = [
        ["neutrophil", "neutrophil", "neutrophil", "ig", "ig"],
        ["neutrophil", "neutrophil", "ig", "ig", "not_classed"],
    ]
    assert found.kappa
    assert found.kappa.value == pytest.approx(cohen_kappa_score(*said))
    assert (found.first["ig"], found.second["ig"], found.merged["ig"]) == (2, 3, 5)


def test_settled_cells_count_as_they_were_settled_for_both():
    cells, one, two = readings()
    last = give(start(CLASSES, cells, blind=True, reading="settle"), place([2], "neutrophil"), reader="Cy")
    found = agreement(one, two, last)
    assert found.settled == {2: "neutrophil"}
    assert (found.merged["neutrophil"], found.merged["ig"]) == (6, 4)
    assert merged(one, two, last) == {0: "neutrophil", 1: "neutrophil", 2: "neutrophil", 3: "ig"}


def test_readers_who_read_nothing_together_have_no_kappa():
    cells, one, _ = readings()
    assert agreement(one, start(CLASSES, cells, blind=True, reading=2)).kappa is None


def test_of_accepted_cells_a_share_is_read_again_and_later_cells_change_nothing():
    cells = [cell(i, status="review" if i % 4 == 0 else "accepted") for i in range(4000)]
    drawn = audit_sample(cells, share=0.1, seed=3)
    assert set(drawn) == {n for n in drawn if n % 4}
    assert 240 < len(drawn) < 360  # 3,000 of them, 0.1: six standard deviations
    assert audit_sample(cells[:2000], share=0.1, seed=3) == tuple(n for n in drawn if n < 2000)


def test_who_follows_a_wrong_answer_is_told_with_wilson_s_interval():
    cells = cells_of({"neutrophil": 10})
    log: list[Entry] = []
    state = give(
        start(CLASSES, cells), {"kind": "confirm", "cells": list(range(8))}, place([8, 9], "ig"), log=log
    )
    give(state, place([0], "monocyte"), reader="Bo", log=log)  # not the first word on it
    audit = give(
        start(CLASSES, cells, blind=True, reading="audit"),
        place([0, 1, 2, 8], "ig"), place([3, 4, 9], "neutrophil"), reader="Bo",
    )  # fmt: skip
    found = automation_bias(cells, log, audit)
    assert set(found) == {"Ada"}
    ada = found["Ada"]
    assert (ada.audited, ada.wrong, ada.followed, ada.right, ada.overturned) == (7, 4, 3, 3, 1)
    assert ada.rate == 0.75
    assert ada.interval == pytest.approx(proportion_confint(3, 4, method="wilson"))


def test_a_cell_that_the_blind_reading_could_not_class_is_no_wrong_answer_of_the_model():
    cells = cells_of({"neutrophil": 4})
    log: list[Entry] = []
    give(start(CLASSES, cells), {"kind": "confirm", "cells": [0, 1, 2, 3]}, log=log)
    audit = give(
        start(CLASSES, cells, blind=True, reading="audit"),
        place([0, 1], "not_classed"), place([2], "ig"), place([3], "neutrophil"),
    )  # fmt: skip
    found = automation_bias(cells, log, audit)["Ada"]
    assert (found.audited, found.wrong, found.followed, found.right) == (2, 1, 1, 1)


def test_without_a_wrong_answer_there_is_no_rate():
    cells = cells_of({"neutrophil": 2})
    log: list[Entry] = []
    give(start(CLASSES, cells), {"kind": "confirm", "cells": [0, 1]}, log=log)
    audit = give(start(CLASSES, cells, blind=True, reading="audit"), place([0, 1], "neutrophil"))
    found = automation_bias(cells, log, audit)["Ada"]
    assert math.isnan(found.rate)
    assert (found.wrong, found.right, found.overturned) == (0, 2, 0)
