"""The paper's tables hold together: figures against counts, totals against text."""

import subprocess
import sys

import numpy as np
import pytest

from hemoscope import paper


def test_table_1_sums_to_the_data_set_and_its_percentages_are_shares_of_it():
    assert sum(row.images for row in paper.TABLE_1) == paper.N_IMAGES == 17_092
    for row in paper.TABLE_1:
        assert row.percent == round(100 * row.images / 17_092, 2), row.class_name


def test_classes_are_those_of_table_1_in_alphabetical_order():
    assert tuple(row.class_name for row in paper.TABLE_1) == paper.CLASSES
    assert sorted(paper.CLASSES) == list(paper.CLASSES)
    assert len(paper.CLASSES) == 8


def test_test_support_is_twelve_percent_of_each_class_rounded_up():
    want = tuple(-(-12 * row.images // 100) for row in paper.TABLE_1)
    assert want == paper.TEST_SUPPORT
    assert sum(want) == paper.N_TEST == 2_056


def test_the_split_fractions_are_a_whole():
    recipe = paper.RECIPE
    assert recipe.train + recipe.val + recipe.test == pytest.approx(1)


@pytest.mark.parametrize("row", paper.TABLE_2, ids=lambda row: row.arch)
def test_every_figure_of_table_2_is_its_whole_count(row):
    assert len(row.classes) == len(row.correct) == 8
    for name, printed, correct, n in zip(
        paper.CLASSES, row.classes, row.correct, paper.TEST_SUPPORT, strict=True
    ):
        fits = [k for k in range(n + 1) if abs(k / n - printed) <= 0.000_05 + 1e-12]
        assert fits == [correct], f"{row.arch} {name}: {printed} of {n}"
    assert row.errors == paper.N_TEST - sum(row.correct)
    assert row.overall == round(1 - row.errors / paper.N_TEST, 4)


def test_table_2_bears_out_what_the_text_says_of_it():
    overall = {row.arch: row.overall for row in paper.TABLE_2}
    assert len(overall) == 27
    assert min(overall.values()) >= 0.98
    assert sum(value >= 0.99 for value in overall.values()) == 14
    assert overall["alexnet"] == 0.9839
    assert max(overall, key=lambda arch: overall[arch]) == "wide_resnet50_2"
    like_resnet34 = [arch for arch, value in overall.items() if value == 0.9917 and arch != "resnet34"]
    assert len(like_resnet34) == 5


def test_table_4_has_the_architectures_of_table_2_once_each():
    names = [row.arch for row in paper.TABLE_4]
    assert len(set(names)) == len(names) == 27
    assert set(names) == {row.arch for row in paper.TABLE_2}


def test_table_4_error_rates_are_ordered_as_rates_must_be():
    for row in paper.TABLE_4:
        assert 0 < row.top5_error < row.top1_error < 100, row.arch
        assert row.depth > 0, row.arch
        assert row.params_millions > 0, row.arch


def test_table_4_shares_the_convolutional_part_of_batch_normalised_vggs():
    rows = {row.arch: row for row in paper.TABLE_4}
    for name in ("vgg11", "vgg13", "vgg16", "vgg19"):
        plain, normalised = rows[name], rows[f"{name}_bn"]
        assert (plain.depth, plain.params_millions) == (normalised.depth, normalised.params_millions)
        assert normalised.top1_error < plain.top1_error


def test_table_3_sensitivity_and_accuracy_of_the_members_follow_from_table_2():
    rows = {row.method: row for row in paper.TABLE_3}
    for arch in paper.ENSEMBLE_MEMBERS:
        table_2 = paper.classwise_accuracy(arch)
        assert table_2 is not None
        mean = 100 * np.mean(np.array(table_2.correct) / paper.TEST_SUPPORT)
        assert round(mean, 2) == rows[arch].sensitivity, arch
        assert round(100 * (1 - table_2.errors / paper.N_TEST), 2) == rows[arch].accuracy, arch
        assert rows[arch].ours


def test_table_3_lists_earlier_work_then_the_paper_s_own_each_by_accuracy():
    assert [row.ours for row in paper.TABLE_3] == [False] * 3 + [True] * 5
    for part in (paper.TABLE_3[:3], paper.TABLE_3[3:]):
        accuracies = [row.accuracy for row in part]
        assert accuracies == sorted(accuracies)
    assert paper.TABLE_3[-1].method == "ensemble"


def test_the_ensemble_members_are_the_best_three_and_resnet34():
    ranked = sorted(paper.TABLE_2, key=lambda row: row.errors)
    assert paper.ENSEMBLE_MEMBERS[:3] == tuple(row.arch for row in ranked[:3])
    assert paper.ENSEMBLE_MEMBERS[3] == "resnet34"


def test_the_ensemble_sensitivities_are_whole_counts_with_ten_errors():
    for name, printed, correct, n in zip(
        paper.CLASSES, paper.ENSEMBLE_SENSITIVITY, paper.ENSEMBLE_CORRECT, paper.TEST_SUPPORT, strict=True
    ):
        assert round(100 * correct / n, 2) == printed, name
    assert paper.N_TEST - sum(paper.ENSEMBLE_CORRECT) == paper.ENSEMBLE_ERRORS == 10
    assert round(100 * (1 - 10 / paper.N_TEST), 2) == paper.TABLE_3[-1].accuracy == 99.51
    neutrophils = paper.TEST_SUPPORT[paper.CLASSES.index("neutrophil")]
    assert round(100 * paper.ENSEMBLE_NEUTROPHILS_AS_IG / neutrophils, 2) == 1.25


def test_a_row_the_paper_lacks_is_none():
    assert paper.classwise_accuracy("efficientnet_b0") is None


LIGHT = """
import sys, {module}
heavy = {{"torch", "torchvision", "matplotlib", "PIL", "cv2", "pandas", "statsmodels", "scipy"}}
print(sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
"""


@pytest.mark.parametrize(
    "module",
    ["hemoscope.paper", "hemoscope.ensemble", "hemoscope.evaluation", "hemoscope.evaluation.summary"],
)
def test_importing_it_loads_nothing_heavy(module):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(module=module)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
