"""The composition of a smear against a posterior worked out on a grid, and against simulated smears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from hemoscope.differential.composition import composition, drawn
from hemoscope.differential.count import differential
from hemoscope.differential.reference import read_reference
from hemoscope.errors import ConfigError, ShapeError
from hemoscope.evaluation.intervals import clopper_pearson

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
HEALTHY = [1, 6, 0, 0, 60, 12, 121, 9]
SHARP = np.eye(8, dtype=np.int64) * 100_000  # a model that hardly ever errs


def test_two_classes_have_the_posterior_of_a_grid():
    """With two classes p(count | p) can be summed over a grid of p and over draws of the confusion."""
    confusion = np.array([[80, 20], [15, 135]])
    counts = np.array([30, 70])
    rng = np.random.default_rng(1)
    right = rng.beta(80 + 0.5, 20 + 0.5, 4000)  # p(first | first)
    wrong = rng.beta(15 + 0.5, 135 + 0.5, 4000)  # p(first | second)
    grid = (np.arange(2000) + 0.5) / 2000
    said = grid[:, None] * right + (1 - grid[:, None]) * wrong
    each = said ** counts[0] * (1 - said) ** counts[1] * beta.pdf(grid, 0.5, 0.5)[:, None]
    posterior = (each / each.sum(axis=0)).mean(axis=1)  # cut: every confusion has the same weight
    want = np.interp([0.025, 0.25, 0.5, 0.75, 0.975], posterior.cumsum(), grid)

    drawn = composition(counts, confusion, draws=8000, seed=3)[:, 0]
    got = np.quantile(drawn, [0.025, 0.25, 0.5, 0.75, 0.975])
    np.testing.assert_allclose(got, want, atol=0.012)


def test_a_sharp_model_leaves_jeffreys_posterior():
    drawn = composition(HEALTHY, SHARP, draws=20_000, seed=0)
    n = sum(HEALTHY)
    for i, count in enumerate(HEALTHY):
        want = beta.ppf([0.025, 0.5, 0.975], count + 0.5, n - count + 3.5)
        np.testing.assert_allclose(np.quantile(drawn[:, i], [0.025, 0.5, 0.975]), want, atol=0.004)


@pytest.mark.parametrize(
    ("counts", "errs"),
    [
        ([0, 150, 50], [[0, 50, 0], [0, 300, 0], [0, 0, 300]]),  # the first is always called the second
        ([100, 650, 250], [[5, 45, 0], [2, 298, 0], [0, 0, 300]]),
        ([200, 200, 100], [[25, 25, 0], [25, 25, 0], [0, 0, 300]]),  # nobody can tell two of them apart
    ],
)
def test_chains_of_few_steps_know_as_little_as_long_ones_where_classes_are_much_confused(counts, errs):
    def ends(**how):
        return np.quantile(composition(counts, errs, **how), (0.025, 0.975), axis=0)

    long = ends(draws=1000, sweeps=2000)
    np.testing.assert_allclose(ends(draws=2000, sweeps=60), long, atol=0.1)
    short = drawn(counts, errs, draws=400, sweeps=16, keep=5).shares  # as the review page has them
    np.testing.assert_allclose(np.quantile(short, (0.025, 0.975), axis=0), long, atol=0.1)


def test_intervals_hold_the_true_composition_as_often_as_they_say():
    """Smears, confusion and validation sets drawn anew each time; a naive interval fails the same test."""
    rng = np.random.default_rng(7)
    confuses = 0.8 * np.eye(4) + 0.2 * np.array(
        [[0, 0.8, 0.1, 0.1], [0.1, 0, 0.8, 0.1], [0.2, 0.2, 0, 0.6], [0.4, 0.3, 0.3, 0]]
    )
    inside = naive = total = 0
    for smear in range(150):
        share = rng.dirichlet([8, 4, 2, 1])
        val = np.array([rng.multinomial(200, row) for row in confuses])
        counts = rng.multinomial(200, share @ confuses)
        low, high = np.quantile(
            composition(counts, val, draws=400, sweeps=40, seed=smear), [0.025, 0.975], axis=0
        )
        inside += int(((low <= share) & (share <= high)).sum())
        for i, count in enumerate(counts):
            bounds = clopper_pearson(int(count), 200)
            naive += bounds[0] <= share[i] <= bounds[1]
        total += 4
    assert 0.92 <= inside / total <= 0.99
    assert naive / total < 0.9


def test_the_same_seed_gives_the_same_draws():
    first, again, other = (composition(HEALTHY, SHARP, draws=50, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("counts", "confusion"),
    [([1, 2], np.eye(3, dtype=int)), ([1, -2], np.eye(2, dtype=int)), ([1.5, 2], np.eye(2, dtype=int))],
)
def test_counts_that_cannot_be_are_refused(counts, confusion):
    with pytest.raises(ShapeError):
        composition(counts, confusion)


def count(counts, *, to_review=(0,) * 8, confusion=SHARP, **rest):
    return differential(CLASSES, counts, to_review, confusion, read_reference(), **rest)


def test_a_healthy_smear_has_no_finding():
    found = count(HEALTHY, unknown=1, usually_unknown=(20, 2000))
    assert found.n_white == 200
    assert found.counted == 209
    assert [share.label for share in found.shares][:3] == ["Neutrophils", "Lymphocytes", "Monocytes"]
    assert {share.finding for share in found.shares} == {""}
    assert found.remarks == ()
    by_name = {share.name: share for share in found.shares}
    assert by_name["neutrophil"].per_white == pytest.approx(0.605)
    assert by_name["neutrophil"].sampling == pytest.approx(clopper_pearson(121, 200))
    assert by_name["platelet"].per_white == pytest.approx(9 / 200)


@pytest.mark.parametrize(
    ("counts", "name", "finding"),
    [
        ([1, 6, 0, 0, 150, 12, 31, 9], "lymphocyte", "high"),
        ([1, 6, 0, 0, 150, 12, 31, 9], "neutrophil", "low"),
        ([1, 6, 0, 0, 83, 12, 98, 9], "lymphocyte", "possibly high"),
        ([1, 6, 0, 20, 50, 12, 111, 9], "ig", "present"),
        ([1, 6, 0, 3, 60, 12, 118, 9], "ig", "possibly present"),
        ([1, 6, 15, 0, 60, 12, 121, 9], "erythroblast", "present"),
        ([1, 1, 0, 0, 64, 12, 122, 9], "eosinophil", "possibly low"),
    ],
)
def test_findings_need_the_interval_and_not_only_the_figure(counts, name, finding):
    found = count(counts)
    assert {share.name: share.finding for share in found.shares}[name] == finding


def test_erythroblasts_are_counted_per_100_white_cells_and_apart():
    found = count([1, 6, 50, 0, 60, 12, 121, 9])
    assert found.n_white == 200
    red = next(share for share in found.shares if share.name == "erythroblast")
    assert red.per_white == pytest.approx(0.25)
    low, high = clopper_pearson(50, 250)
    assert red.sampling == pytest.approx((low / (1 - low), high / (1 - high)))
    assert sum(s.per_white for s in found.shares if s.role == "white") == pytest.approx(1)


def test_a_model_that_errs_widens_the_interval_and_silences_the_finding():
    confuses = SHARP // 1000
    confuses[6, 3] = 8  # neutrophils taken for immature granulocytes, 8 in 108
    sharp, blunt = (
        count([1, 6, 0, 9, 60, 12, 112, 9]),
        count([1, 6, 0, 9, 60, 12, 112, 9], confusion=confuses),
    )
    of = {"sharp": sharp, "blunt": blunt}
    ig = {key: next(s for s in found.shares if s.name == "ig") for key, found in of.items()}
    assert (ig["sharp"].finding, ig["blunt"].finding) == ("present", "possibly present")
    assert ig["blunt"].corrected < ig["sharp"].corrected
    assert ig["blunt"].sampling == ig["sharp"].sampling
    assert ig["blunt"].interval[0] < ig["sharp"].interval[0]


def test_a_reader_is_told_what_weakens_the_figures():
    few = np.eye(8, dtype=np.int64) * 100
    few[0, 0] = 3
    found = count(
        [1, 3, 0, 0, 30, 6, 60, 4], to_review=[0] * 4 + [20, 0, 0, 0], unknown=40, error=2, confusion=few,
        usually_unknown=(20, 2000),
    )  # fmt: skip
    told = " ".join(map(str, found.remarks))
    assert "Only 100 white cells" in told
    assert "20 of 104 cells are doubtful" in told
    assert "40 of 144 images are unlike" in told
    assert "2 files could not be read" in told
    assert "fewer than 30 labelled cells each of: basophils" in told
    assert "cannot tell what is no cell" in " ".join(map(str, count(HEALTHY).remarks))


def test_where_nobody_knows_how_the_model_errs_nothing_is_corrected_and_that_is_said():
    many = [1, 60, 0, 0, 60, 12, 67, 9]
    found = differential(CLASSES, many, [0] * 8, np.zeros((8, 8), np.int64), read_reference())
    assert all(np.isnan([share.corrected, *share.interval]).all() for share in found.shares)
    assert all(np.isfinite(share.per_white) for share in found.shares)
    (eosinophil,) = [share for share in found.shares if share.name == "eosinophil"]
    assert eosinophil.finding == "possibly high"  # a posterior would be sure
    assert any("nothing is corrected" in remark.text for remark in found.remarks)
    assert not any("validation cells" in remark.text for remark in found.remarks)


def test_where_a_class_was_never_tried_nothing_is_corrected_and_it_is_named():
    """Drawn from the prior alone, cells of an untried class would be taken for all classes alike."""
    some = np.eye(8, dtype=np.int64) * 100
    some[CLASSES.index("monocyte")] = some[CLASSES.index("ig")] = 0
    some[CLASSES.index("basophil")] //= 50
    found = count(HEALTHY, confusion=some, usually_unknown=(20, 2000))
    assert all(np.isnan([share.corrected, *share.interval]).all() for share in found.shares)
    told = {remark.code: remark.values.get("names") for remark in found.remarks}
    assert told == {"some_untried": "monocytes, immature granulocytes", "little_tried": "basophils"}
    some[:, 0] += 1  # one cell of each is enough to draw from
    assert all(np.isfinite(share.corrected) for share in count(HEALTHY, confusion=some).shares)


def test_a_folder_without_white_cells_has_no_percentages():
    found = count([0, 0, 0, 0, 0, 0, 0, 5])
    assert found.n_white == 0
    assert all(np.isnan(share.per_white) for share in found.shares)
    assert {share.finding for share in found.shares} == {""}


def test_a_class_the_table_does_not_know_is_an_error_that_says_what_to_do():
    with pytest.raises(ConfigError, match=r"red, green.*--ranges"):
        differential(["red", "green"], [1, 2], [0, 0], np.eye(2, dtype=int), read_reference())


TABLE = """
name = "Ours"
source = "our laboratory, 2026"
[classes.red]
label = "Red discs"
role = "white"
percent = [10, 30]
[classes.green]
label = "Green discs"
role = "other"
"""


def test_a_laboratory_s_own_table_is_read(tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(TABLE)
    found = differential(["green", "red"], [5, 7], [0, 0], np.eye(2, dtype=int) * 90, read_reference(file))
    assert [(s.label, s.role, s.finding) for s in found.shares] == [
        ("Red discs", "white", "high"),
        ("Green discs", "other", ""),
    ]


def test_a_class_in_no_percentage_has_a_number_of_cells_and_nothing_else(tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(f"{TABLE}percent = [1, 2]\n")  # a range does not make it one of the white cells
    found = differential(["green", "red"], [50, 70], [3, 0], np.eye(2, dtype=int) * 90, read_reference(file))
    red, green = found.shares
    assert (green.counted, green.to_review, green.finding, green.reference) == (50, 3, "", None)
    assert np.isnan([green.per_white, *green.sampling, green.corrected, *green.interval]).all()
    assert np.isfinite([red.per_white, *red.sampling, red.corrected, *red.interval]).all()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[10, 30]", "[30, 10]", r"classes\.red.*low < high"),
        ('role = "other"', 'role = "blue"', r"classes\.green\.role"),
        ('source = "our laboratory, 2026"', "", "source"),
        ("[classes.red]", "[classes.red", "cannot be read"),
        ("percent", "per_cent", r"classes\.red\.per_cent"),
    ],
)
def test_a_table_that_is_wrong_is_an_error_with_its_place(before, after, told, tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(TABLE.replace(before, after))
    with pytest.raises(ConfigError, match=told):
        read_reference(file)


def test_a_table_without_white_cells_is_refused(tmp_path: Path):
    file = tmp_path / "ours.toml"
    file.write_text(TABLE.replace('"white"', '"other"'))
    with pytest.raises(ConfigError, match="no white cell"):
        read_reference(file).of(["red", "green"])
