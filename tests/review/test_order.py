"""In which order cells are shown: by doubt, and by what they could still change."""

from __future__ import annotations

import numpy as np

from hemoscope.differential.reference import read_reference
from hemoscope.review.order import by_doubt, by_influence, influence
from hemoscope.review.state import start
from hemoscope.review.unreviewed import draw_slide, sides_of
from tests.review.slides import CLASSES, cell, cells_of, give, place

CONFUSES = np.eye(8, dtype=np.int64) * 200 + 2


def test_the_most_doubtful_come_first_and_reviewed_cells_last():
    cells = [
        cell(0, prob=0.99),
        cell(1, prob=0.6),
        cell(2, "ig", "review", prob=0.5),
        cell(3, "ig", "review", prob=0.3),
        cell(4, status="unknown", prob=0.9),
        cell(5, prob=0.2),
    ]
    state = give(start(CLASSES, cells), place([5], "ig"))
    assert by_doubt(cells, state) == [4, 3, 2, 1, 0, 5]


def slide():
    """Lymphocytes lie at their upper limit, neutrophils far from any, and platelets have none."""
    return [
        *cells_of({"neutrophil": 110, "lymphocyte": 80, "monocyte": 10, "platelet": 40}, prob=0.99),
        cell(240, "neutrophil", prob=0.6, other="lymphocyte"),
        cell(241, "neutrophil", prob=0.9, other="platelet"),
        cell(242, "neutrophil", prob=0.9, other="lymphocyte"),
        cell(243, "lymphocyte", prob=0.6, other="monocyte"),
    ]


def test_cells_that_may_be_of_a_class_at_its_limit_come_first_the_doubtful_before_the_sure():
    cells = slide()
    state = start(CLASSES, cells)
    order = by_influence(cells, state, CONFUSES, read_reference())
    assert sorted(order) == list(range(244))
    assert set(order[:2]) == {240, 243}
    assert order.index(240) < order.index(242) < order.index(241)


def test_a_reviewed_cell_changes_nothing_any_more():
    cells = slide()
    state = give(start(CLASSES, cells), place([240], "lymphocyte"))
    assert influence(cells, state, CONFUSES, read_reference())[240] == 0
    assert by_influence(cells, state, CONFUSES, read_reference())[-1] == 240


def test_the_cell_named_first_moves_the_probability_of_a_flag_most_when_it_is_really_moved():
    """Each of some cells is put into its other class, and the chance of lymphocytes being high is drawn anew."""
    cells, ref = slide(), read_reference()
    lymphocyte, white = CLASSES.index("lymphocyte"), [0, 1, 3, 4, 5, 6]

    def p_high(state):
        shares = draw_slide(sides_of(cells, state), CONFUSES).shares
        return (shares[:, lymphocyte] / shares[:, white].sum(axis=1) > 0.4).mean()

    state = start(CLASSES, cells)
    base = p_high(state)
    moved = {240: "lymphocyte", 241: "platelet"}
    change = {n: abs(p_high(give(state, place([n], to))) - base) for n, to in moved.items()}
    found = influence(cells, state, CONFUSES, ref)
    assert found[240] > 5 * found[241]
    assert change[240] > change[241]


def test_where_nobody_knows_how_the_model_errs_the_order_is_that_by_doubt():
    cells = slide()
    state = give(start(CLASSES, cells), place([0], "lymphocyte"))
    assert by_influence(cells, state, CONFUSES * 0, read_reference()) == by_doubt(cells, state)


def test_an_unidentified_cell_may_change_a_flag():
    cells = [*slide(), cell(244, "lymphocyte", "unknown", prob=0.8)]
    found = influence(cells, start(CLASSES, cells), CONFUSES, read_reference())
    assert found[244] > found[110]
