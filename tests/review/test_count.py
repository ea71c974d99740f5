"""The count under review: what readers do to it, rounding, the corrected white count, what would settle a limit."""

from __future__ import annotations

import re
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from hemoscope.differential.composition import drawn
from hemoscope.differential.count import differential
from hemoscope.differential.reference import read_reference
from hemoscope.encoding import json_text
from hemoscope.errors import ShapeError
from hemoscope.review.count import count
from hemoscope.review.rounding import percents
from hemoscope.review.state import start
from hemoscope.review.white_count import corrected_white
from tests.review.slides import CLASSES, SHARP, cell, cells_of, give, place

HEALTHY = {"neutrophil": 121, "lymphocyte": 60, "monocyte": 12, "eosinophil": 6, "basophil": 1, "platelet": 9}
IG, NEUTROPHIL = CLASSES.index("ig"), CLASSES.index("neutrophil")
BLUNT = np.eye(8, dtype=np.int64) * 100
BLUNT[NEUTROPHIL, IG] = 8  # neutrophils taken for immature granulocytes
UNKNOWN = np.zeros((8, 8), dtype=np.int64)  # of a bundle adapted without labels
UNTRIED = BLUNT * (np.arange(8) != CLASSES.index("platelet"))[:, None]  # with none of one class


def counted(cells, *commands, confusion=SHARP, blind=False, white_count=None, **rest):
    state = give(start(CLASSES, cells, blind=blind, white_count=white_count), *commands)
    return count(cells, state, confusion, read_reference(), **rest)


def of(found, name):
    return next(share for share in found.shares if share.name == name)


def test_without_a_review_before_and_after_are_the_same():
    found = counted(
        [*cells_of(HEALTHY), cell(209, "ig", "review"), cell(210, status="unknown")], confusion=BLUNT
    )
    assert found.before == found.after
    assert (found.reviewed, found.waiting, found.unidentified) == (0, 1, 1)
    assert of(found.after, "ig").to_review == 1
    assert found.after.unknown == 1


def test_the_count_of_the_model_alone_is_that_of_hemoscope_differential():
    found = counted(cells_of(HEALTHY), confusion=BLUNT)
    want = differential(CLASSES, [HEALTHY.get(name, 0) for name in CLASSES], [0] * 8, BLUNT, read_reference())
    for got, share in zip(found.after.shares, want.shares, strict=True):
        assert (got.counted, got.sampling) == (share.counted, share.sampling)
        assert got.corrected == pytest.approx(share.corrected, abs=0.004)
        assert got.interval == pytest.approx(share.interval, abs=0.01)


def test_a_wholly_reviewed_slide_leaves_sampling_alone():
    cells = cells_of(HEALTHY)
    found = counted(cells, {"kind": "confirm", "cells": list(range(len(cells)))}, confusion=BLUNT)
    assert found.only_sampling_left
    assert found.wrong_left == 0
    assert max(found.by_review.values()) == pytest.approx(0, abs=1e-12)
    for share in found.after.shares:
        if share.role == "white":
            want = beta.ppf([0.025, 0.975], share.counted + 0.5, 200 - share.counted + 2.5)
            assert share.interval == pytest.approx(tuple(want), abs=0.012)


def test_what_a_review_could_still_take_away_shrinks_as_the_confusable_cells_are_reviewed():
    cells = cells_of({**HEALTHY, "ig": 12})
    ig = [c.cell for c in cells if c.pred == "ig"]
    confirmed = [{"kind": "confirm", "cells": ig[:k]} for k in (1, 6, 12)]
    left = [counted(cells, each, confusion=BLUNT).by_review["ig"] for each in confirmed]
    assert left[0] > left[1] > left[2]


def test_moved_cells_count_where_they_were_put():
    cells = [
        *cells_of(HEALTHY),
        cell(209, "ig", "review"),
        cell(210, status="unknown"),
        cell(211, "ig", "unknown"),
    ]
    found = counted(cells, place([209, 210], "monocyte"), place([211], "not_classed"), place([0], "ig"))
    assert of(found.after, "monocyte").counted == 14
    assert of(found.after, "neutrophil").counted == 120
    assert of(found.after, "ig").counted == 1
    assert of(found.before, "ig").counted == 1
    assert (found.not_classed, found.unidentified, found.waiting, found.reviewed) == (1, 0, 0, 4)
    assert found.moved == 2  # of those that the model had called something


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 29), st.sampled_from([*CLASSES, "not_classed"])), max_size=20))
def test_every_cell_is_counted_once_or_named_as_not_counted(moves):
    cells = [cell(i, CLASSES[i % 8], ("accepted", "review", "unknown")[i % 3]) for i in range(30)]
    found = counted(cells, *(place([n], to) for n, to in moves))
    assert found.after.counted + found.unidentified + found.not_classed == found.cells == 30
    assert found.reviewed == len({n for n, _ in moves})
    assert found.before.counted == 20
    assert found.after.n_white == sum(s.counted for s in found.after.shares if s.role == "white")


def test_in_a_blind_reading_only_what_the_reader_placed_is_counted():
    cells = cells_of(HEALTHY)
    found = counted(cells, place([0, 1], "ig"), blind=True)
    assert found.after.counted == 2
    assert found.before.counted == 0
    assert found.settles
    assert {told.more_cells for told in found.settles} == {None}


def test_open_cells_are_more_than_sampling():
    cells = [*cells_of(HEALTHY), cell(209, status="unknown")]
    confirm = {"kind": "confirm", "cells": list(range(209))}
    assert not counted(cells, confirm).only_sampling_left
    assert counted(cells, confirm, place([209], "not_classed")).only_sampling_left


def test_where_only_sampling_is_left_reviewing_the_rest_changes_no_interval_to_speak_of():
    cells = cells_of(HEALTHY)
    some = counted(cells, {"kind": "confirm", "cells": list(range(100, 209))})
    rest = counted(cells, {"kind": "confirm", "cells": list(range(209))})
    assert some.only_sampling_left
    for a, b in zip(some.after.shares, rest.after.shares, strict=True):
        assert a.interval == pytest.approx(b.interval, abs=0.01)


def test_readers_who_move_more_than_the_model_lets_expect_are_told_so():
    cells = cells_of(HEALTHY, prob=0.99)
    few = counted(cells, place([0], "ig"), {"kind": "confirm", "cells": list(range(1, 100))})
    many = counted(cells, place(range(9), "ig"), {"kind": "confirm", "cells": list(range(9, 100))})
    assert few.moved_expected < 2
    assert not [r for r in few.after.remarks if r.code == "much_moved"]
    assert [r for r in many.after.remarks if "moved 9 of 100 cells" in r.text]
    assert not [r for r in many.before.remarks if r.code == "much_moved"]


@pytest.mark.parametrize(
    ("confusion", "code"), [(UNKNOWN, "not_corrected"), (UNTRIED, "some_untried")], ids=["none", "some"]
)
@pytest.mark.parametrize("reviewed", [0, 100])
def test_without_a_known_confusion_nothing_is_corrected_while_cells_are_left(reviewed, confusion, code):
    """A confusion that counted no cell would be drawn from its prior: neutrophils counted as 60 % came out as 2 %."""
    some = [place([0], "ig"), {"kind": "confirm", "cells": list(range(1, reviewed))}] if reviewed else []
    found = counted(cells_of(HEALTHY), *some, confusion=confusion)
    want = differential(
        CLASSES, [HEALTHY.get(name, 0) for name in CLASSES], [0] * 8, confusion, read_reference()
    )
    for share in (*found.before.shares, *found.after.shares):
        assert np.isnan([share.corrected, *share.interval]).all(), share.name
    assert [share.finding for share in found.before.shares] == [share.finding for share in want.shares]
    assert [remark.code for remark in found.after.remarks] == ["knows_no_unknown", code]
    assert np.isnan([found.wrong_left, found.moved_expected]).all()
    assert (found.settles, found.by_review, found.only_sampling_left) == ((), {}, False)
    assert "NaN" not in json_text(asdict(found))


@pytest.mark.parametrize("confusion", [UNKNOWN, UNTRIED], ids=["none", "some"])
def test_without_a_known_confusion_a_wholly_reviewed_slide_has_the_same_figures_as_any(confusion):
    every = {"kind": "confirm", "cells": list(range(209))}
    found, want = (counted(cells_of(HEALTHY), every, confusion=each) for each in (confusion, BLUNT))
    assert found.only_sampling_left
    assert found.wrong_left == 0
    assert not {"not_corrected", "some_untried"} & {remark.code for remark in found.after.remarks}
    for got, share in zip(found.after.shares, want.after.shares, strict=True):
        want_at = (share.corrected, *share.interval)
        assert (got.corrected, *got.interval) == pytest.approx(want_at, abs=0.01)


def test_a_confusion_of_other_classes_is_refused():
    with pytest.raises(ShapeError, match="8 classes"):
        counted(cells_of(HEALTHY), confusion=np.eye(3, dtype=int))


def test_a_slide_without_cells_can_be_counted_and_written():
    found = counted([], white_count=5.0)
    assert found.erythroblasts is None
    assert found.corrected_white is None
    assert set(found.percents.values()) == {0.0}
    json_text(asdict(found))


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12), st.integers(0, 2))
def test_percentages_add_up_to_100_and_none_is_off_by_a_last_digit(counts, decimals):
    found = percents(counts, decimals=decimals)
    units = [round(value * 10**decimals) for value in found]
    if not sum(counts):
        assert set(found) == {0.0}
        return
    assert sum(units) == 100 * 10**decimals
    for value, n in zip(units, counts, strict=True):
        assert abs(value - 100 * 10**decimals * n / sum(counts)) < 1
        assert n or not value
    ordered = [unit for _, unit in sorted(zip(counts, units, strict=True))]
    assert ordered == sorted(ordered)  # a larger count never gets less


@given(st.floats(0.1, 500), st.integers(0, 900), st.integers(1, 900))
def test_the_working_of_the_corrected_white_count_gives_what_it_says(given_count, red, white):
    found = corrected_white(given_count, red, white)
    assert found
    assert found.value == pytest.approx(given_count * white / (white + red), rel=0.002, abs=0.006)
    stated, per_100, value = re.search(r"; (\S+) × 100 / \(100 \+ (\S+)\) = (\S+) ×", found.working).groups()
    assert 100 * float(stated) / (100 + float(per_100)) == pytest.approx(float(value), rel=1e-5, abs=0.006)


def test_the_corrected_white_count_follows_the_review():
    cells = cells_of({"neutrophil": 200, "erythroblast": 50})
    assert counted(cells, white_count=10.0).corrected_white.value == 8.0
    assert (
        counted(cells, place(range(200, 250), "not_classed"), white_count=10.0).corrected_white.value == 10.0
    )
    assert counted(cells).corrected_white is None
    assert counted(cells).erythroblasts == 25


@pytest.mark.parametrize("reviewed", [False, True])
def test_as_many_more_cells_as_it_says_settle_a_limit(reviewed):
    """Lymphocytes at 44 % of 200 straddle 40 %; the count is made again with more cells in the same proportions."""
    counts = np.array([0, 8, 0, 0, 88, 10, 94, 0])
    confusion = np.eye(8, dtype=np.int64) * 900
    confusion[4, 5] = confusion[5, 4] = 60
    confusion[4, 6] = confusion[6, 4] = 9
    cells = cells_of({name: int(n) for name, n in zip(CLASSES, counts, strict=True)})
    every = [{"kind": "confirm", "cells": list(range(200))}] if reviewed else []
    found = counted(cells, *every, confusion=confusion)
    told = next(s for s in found.settles if s.name == "lymphocyte" and s.limit == 0.4)
    more = told.more_reviewed if reviewed else told.more_cells
    assert more > 50

    def low_end(n):
        scaled = np.round(counts * n / 200).astype(int)
        sure, said = (scaled, scaled * 0) if reviewed else (scaled * 0, scaled)
        draws = drawn(said, confusion, known=sure, draws=1500, sweeps=12, keep=4, seed=1)
        return np.quantile(draws.shares[:, 4] / draws.shares[:, [0, 1, 3, 4, 5, 6]].sum(axis=1), 0.025)

    assert low_end(200 + 0.75 * more) < 0.4 < low_end(200 + 1.35 * more)


def test_where_the_model_errs_too_much_no_number_of_cells_settles_it_but_a_review_does():
    confusion = np.eye(8, dtype=np.int64) * 40
    confusion[NEUTROPHIL, IG] = confusion[IG, NEUTROPHIL] = 4
    found = counted(cells_of({**HEALTHY, "ig": 14}), confusion=confusion)
    told = next(s for s in found.settles if s.name == "ig")
    assert told.more_cells is None
    assert told.more_reviewed > 0


def test_a_class_that_straddles_no_limit_needs_nothing():
    names = {
        s.name for s in counted(cells_of({"neutrophil": 1200, "lymphocyte": 600, "monocyte": 120})).settles
    }
    assert not names & {"neutrophil", "lymphocyte", "monocyte"}
