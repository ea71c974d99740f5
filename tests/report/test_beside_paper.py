"""Row by row beside the paper: where it stands, and every figure of a row from its definition."""

import csv
import io

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from hemoscope import paper
from hemoscope.evaluation.paired import chance_of_no_better
from hemoscope.records import Predictions
from hemoscope.report.beside_paper import beside_paper
from hemoscope.report.collect import collect
from hemoscope.report.texttable import TextTable, as_csv


def with_errors(n_wrong: int) -> Predictions:
    """Predictions on as many images a class as the paper tested, the first so many of them wrong."""
    target = np.repeat(np.arange(8), paper.TEST_SUPPORT)
    pred = np.where(np.arange(len(target)) < n_wrong, (target + 1) % 8, target)
    paths = tuple(f"{paper.CLASSES[c]}/SNE_{10000 + i}.jpg" for i, c in enumerate(target))
    return Predictions(paper.CLASSES, paths, target, np.eye(8)[pred] * 0.8 + 0.025, pred)


def add(runs, arch: str, n_wrong: int, **more: object) -> None:
    said = with_errors(n_wrong)
    runs.add(arch, predictions={"val": said, "test": said}, **more)


def rows_of(table: TextTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(table))))


@pytest.mark.parametrize("n_wrong", [0, 9, 40])
def test_difference_interval_and_chance_are_those_of_the_two_counts_of_errors(runs, n_wrong):
    add(runs, "vgg19", n_wrong)
    (row,) = rows_of(beside_paper(collect(runs.root)))
    published = paper.classwise_accuracy("vgg19")
    assert published is not None
    theirs, n = published.errors, paper.N_TEST
    assert (float(row["errors"]), int(row["paper_errors"])) == (n_wrong, theirs)
    assert float(row["difference"]) == pytest.approx((theirs - n_wrong) / n)
    want = confint_proportions_2indep(n - n_wrong, n, n - theirs, n, method="newcomb", compare="diff")
    assert [float(row["low"]), float(row["high"])] == pytest.approx(want, abs=1e-9)
    chances = chance_of_no_better(min(n_wrong, theirs), max(n_wrong, theirs), n)
    assert [float(row["no_better_low"]), float(row["no_better_high"])] == pytest.approx(chances)


def test_several_seeds_are_one_row_at_their_mean_count(runs):
    add(runs, "resnet18", 20)
    add(runs, "resnet18", 31, seed=1)
    row, _ensemble = rows_of(beside_paper(collect(runs.root)))
    assert (row["seeds"], float(row["errors"])) == ("2", 25.5)
    shown, _ensemble = beside_paper(collect(runs.root)).rows
    assert shown.cells[0] == "ResNet-18, 2 seeds"
    assert shown.cells[3] == "25.5"


def test_the_ensemble_stands_beside_the_papers_ensemble(runs):
    for arch in ("vgg19", "resnet18", "resnet50"):
        add(runs, arch, 12)
    report = collect(runs.root)
    assert report.ensemble is not None
    *_, last = rows_of(beside_paper(report))
    assert int(last["paper_errors"]) == paper.ENSEMBLE_ERRORS
    assert last["network"] == report.ensemble.label


def test_cells_that_are_not_the_papers_have_no_such_table(runs):
    runs.add("resnet18", test=(30, 40), classes=("a", "b"), rename=None)
    assert beside_paper(collect(runs.root)).groups == ()


def test_a_network_that_the_paper_does_not_have_has_no_row(runs):
    add(runs, "my_network", 12)
    assert beside_paper(collect(runs.root)).groups == ()
