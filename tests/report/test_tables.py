import csv
import io

import numpy as np
import pytest
from sklearn import metrics as sk

from hemoscope import paper
from hemoscope.records import Predictions
from hemoscope.report import tables
from hemoscope.report.collect import collect
from hemoscope.report.texttable import TextTable

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)


def drawn_file(class_name: str, i: int) -> str:
    return f"{class_name}/BA_{i + 1:06d}.jpg"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def main_rows(table: TextTable) -> dict[str, tuple[str, ...]]:
    return {row.cells[0]: row.cells[1:] for row in table.rows if row.kind in ("main", "strong")}


def test_table_2_agrees_with_scikit_learn(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    shown, stored = main_rows(tables.table2(report)), rows_of(tables.table2_csv(report))
    judged = {entry.label: entry.test for entry in report.entries}
    assert report.ensemble is not None
    judged["Ensemble of 2"] = report.ensemble.predictions
    assert set(shown) == set(judged)
    for label, p in judged.items():
        recall = sk.recall_score(p.target, p.pred, labels=range(8), average=None)  # pyright: ignore[reportArgumentType]
        want = [*np.asarray(recall).tolist(), sk.accuracy_score(p.target, p.pred)]
        assert shown[label] == (*(f"{100 * v:.2f}" for v in want), str(int((p.pred != p.target).sum())))
        got = [float(row["accuracy"]) for row in stored if row["network"] == label]
        assert got == pytest.approx(want)


def test_table_2_gives_wilsons_interval(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.2)
    z = 1.959963984540054
    for row in rows_of(tables.table2_csv(collect(runs.root))):
        n, p = int(row["images"]), float(row["accuracy"])
        centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        want = [(centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)]
        assert [float(row["low"]), float(row["high"])] == pytest.approx(want, abs=1e-9)


def test_table_3_agrees_with_scikit_learn(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    p = report.best.test
    one_vs_rest = [sk.recall_score(p.target != c, p.pred != c) for c in range(8)]
    want = [
        sk.accuracy_score(p.target, p.pred),
        sk.precision_score(p.target, p.pred, average="macro"),
        sk.recall_score(p.target, p.pred, average="macro"),
        float(np.mean(one_vs_rest)),
    ]
    assert main_rows(tables.table3(report))["ResNet-18"] == tuple(f"{100 * v:.2f}" for v in want)
    (row,) = [r for r in rows_of(tables.table3_csv(report)) if r["source"] == "ours"]
    got = [float(row[key]) for key in ("accuracy", "precision", "sensitivity", "specificity")]
    assert got == pytest.approx(want)


def test_the_class_table_agrees_with_scikit_learn(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.2)
    p = collect(runs.root).best.test
    precision, recall, _, support = sk.precision_recall_fscore_support(p.target, p.pred, labels=range(8))
    shown = main_rows(tables.per_class(collect(runs.root).headline))
    for c, name in enumerate(p.classes):
        specificity = sk.recall_score(p.target != c, p.pred != c)
        want = [f"{100 * v:.2f}" for v in (np.asarray(precision)[c], np.asarray(recall)[c], specificity)]
        assert shown[name] == (*want, str(np.asarray(support)[c]))


def test_a_run_with_the_papers_own_counts_differs_from_it_by_nothing(runs):
    row = paper.classwise_accuracy("vgg19")
    assert row is not None
    target = np.repeat(np.arange(8), paper.TEST_SUPPORT)
    nth = np.concatenate([np.arange(n) for n in paper.TEST_SUPPORT])
    pred = np.where(nth < np.repeat(row.correct, paper.TEST_SUPPORT), target, (target + 1) % 8)
    paths = tuple(f"{paper.CLASSES[c]}/SNE_{10000 + i}.jpg" for i, c in enumerate(target))
    said = Predictions(paper.CLASSES, paths, target, np.eye(8)[pred] * 0.8 + 0.025, pred)
    runs.add("vgg19", predictions={"val": said, "test": said})
    table = tables.table2(collect(runs.root))
    by_kind = {row.kind: row.cells[1:] for row in table.rows}
    assert set(by_kind["difference"][:-1]) == {"0.00"}
    assert by_kind["difference"][-1] == "0"
    printed = [f"{100 * v:.2f}" for v in (*row.classes, row.overall)]
    assert list(by_kind["paper"][:-1]) == list(by_kind["main"][:-1]) == printed


@pytest.mark.parametrize(
    ("card", "comparable", "published"),
    [
        ({}, True, True),
        ({"test": SMALL}, False, True),
        ({"rename": drawn_file}, False, False),
        ({"classes": ("a", "b"), "test": (30, 40), "rename": None}, False, False),
    ],
    ids=["the paper's test sizes", "other test sizes", "synthetic", "other classes"],
)
def test_the_papers_figures_stand_beside_ours_only_where_they_can_be_compared(
    runs, card, comparable, published
):
    runs.add("resnet18", **card)
    report = collect(runs.root)
    assert any(row.kind == "paper" for row in tables.table2(report).rows) == comparable
    assert any(row["paper"] != "n/a" for row in rows_of(tables.table2_csv(report))) == comparable
    assert any(row.kind == "paper" for row in tables.table3(report).rows) == published
    assert any(row["source"] == "published" for row in rows_of(tables.table3_csv(report))) == published


def test_the_difference_is_ours_minus_the_papers(runs):
    runs.add("vgg19", error_rate=0.2)
    rows = {row.kind: row.cells[1:] for row in tables.table2(collect(runs.root)).rows}
    for ours, theirs, gap in zip(rows["main"][:-1], rows["paper"][:-1], rows["difference"][:-1], strict=True):
        assert float(gap.replace("−", "-")) == pytest.approx(float(ours) - float(theirs), abs=0.011)
    assert int(rows["difference"][-1]) == int(rows["main"][-1]) - 15 > 0


def test_an_architecture_the_paper_does_not_have_gets_no_figure_of_it(runs):
    runs.add("convnext_tiny")
    assert {row.kind for row in tables.table2(collect(runs.root)).rows} == {"main", "interval"}


def test_a_class_without_test_images_is_n_a_and_so_is_its_mean(runs):
    runs.add("resnet18", classes=("a", "absent", "c"), test=(30, 0, 40), rename=None, error_rate=0)
    report = collect(runs.root)
    assert main_rows(tables.table2(report))["ResNet-18"][1] == "n/a"
    shown = main_rows(tables.per_class(report.headline))
    assert shown["absent"][1] == "n/a"
    assert shown["Mean over classes"][1] == "n/a"
    assert main_rows(tables.table3(report))["ResNet-18"][2] == "n/a"
    assert [r["accuracy"] for r in rows_of(tables.table2_csv(report)) if r["class"] == "absent"] == ["n/a"]


def test_several_seeds_show_mean_and_deviation(runs):
    for seed in range(3):
        runs.add("resnet18", seed=seed, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    overall = main_rows(tables.table2(report))["ResNet-18, 3 seeds"][-2]
    accuracy = [100 * float((e.test.pred == e.test.target).mean()) for e in report.entries]
    assert overall == f"{np.mean(accuracy):.2f} ± {np.std(accuracy, ddof=1):.2f}"
