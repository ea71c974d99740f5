import csv
import io
from collections import Counter

import numpy as np
import pytest
from sklearn import metrics as sk

from hemoscope import paper
from hemoscope.records import Predictions
from hemoscope.report.classwise import table2
from hemoscope.report.collect import collect
from hemoscope.report.confusion import confusions_table, counts_tables
from hemoscope.report.dataset import table1
from hemoscope.report.methods import per_class, table3
from hemoscope.report.provenance import recipe_table, runs_table
from hemoscope.report.texttable import TextTable, as_csv

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)


def drawn_file(class_name: str, i: int) -> str:
    return f"{class_name}/BA_{i + 1:06d}.jpg"


def foreign_file(class_name: str, i: int) -> str:
    return f"{class_name}/crop{i}.png"


def rows_of(table: TextTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(table))))


def main_rows(table: TextTable) -> dict[str, tuple[str, ...]]:
    return {row.cells[0]: row.cells[1:] for row in table.rows if row.kind in ("main", "strong")}


def test_table_2_agrees_with_scikit_learn(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    shown, stored = main_rows(table2(report)), rows_of(table2(report))
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


@pytest.mark.parametrize("seeds", [1, 2])
def test_table_2_gives_wilsons_interval_at_the_mean_of_the_seeds(runs, seeds):
    for seed in range(seeds):
        runs.add("resnet18", seed=seed, test=SMALL, error_rate=0.2)
    z = 1.959963984540054
    for row in rows_of(table2(collect(runs.root))):
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
    assert main_rows(table3(report))["ResNet-18"] == tuple(f"{100 * v:.2f}" for v in want)
    (row,) = [r for r in rows_of(table3(report)) if r["source"] == "ours"]
    got = [float(row[key]) for key in ("accuracy", "precision", "sensitivity", "specificity")]
    assert got == pytest.approx(want)


def test_the_class_table_agrees_with_scikit_learn(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.2)
    p = collect(runs.root).best.test
    precision, recall, _, support = sk.precision_recall_fscore_support(p.target, p.pred, labels=range(8))
    shown = main_rows(per_class(collect(runs.root)))
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
    table = table2(collect(runs.root))
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
        ({"rename": foreign_file}, False, False),
    ],
    ids=[
        "the paper's test sizes",
        "other test sizes",
        "synthetic",
        "other classes",
        "other cells, its sizes",
    ],
)
def test_the_papers_figures_stand_beside_ours_only_where_they_can_be_compared(
    runs, card, comparable, published
):
    runs.add("resnet18", **card)
    report = collect(runs.root)
    assert any(row.kind == "paper" for row in table2(report).rows) == comparable
    assert any(row["paper"] != "n/a" for row in rows_of(table2(report))) == comparable
    assert any(row.kind == "paper" for row in table3(report).rows) == published
    assert any(row["source"] == "published" for row in rows_of(table3(report))) == published


def test_the_difference_is_ours_minus_the_papers(runs):
    runs.add("vgg19", error_rate=0.2)
    rows = {row.kind: row.cells[1:] for row in table2(collect(runs.root)).rows}
    for ours, theirs, gap in zip(rows["main"][:-1], rows["paper"][:-1], rows["difference"][:-1], strict=True):
        assert float(gap.replace("−", "-")) == pytest.approx(float(ours) - float(theirs), abs=0.011)
    assert int(rows["difference"][-1]) == int(rows["main"][-1]) - 15 > 0


def test_an_architecture_the_paper_does_not_have_gets_no_figure_of_it(runs):
    runs.add("convnext_tiny")
    assert {row.kind for row in table2(collect(runs.root)).rows} == {"main", "interval"}


def test_a_class_without_test_images_is_n_a_and_the_mean_is_that_of_the_others(runs):
    runs.add("resnet18", classes=("a", "absent", "c"), test=(30, 0, 40), rename=None, error_rate=0)
    report = collect(runs.root)
    assert main_rows(table2(report))["ResNet-18"][1] == "n/a"
    shown = main_rows(per_class(report))
    assert shown["absent"][1] == "n/a"
    assert shown["Mean over 2 classes with images"][:3] == ("100.00", "100.00", "100.00")
    assert main_rows(table3(report))["ResNet-18"][2] == "100.00"
    assert [r["accuracy"] for r in rows_of(table2(report)) if r["class"] == "absent"] == ["n/a"]


def test_several_seeds_show_mean_and_deviation(runs):
    for seed in range(3):
        runs.add("resnet18", seed=seed, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    overall = main_rows(table2(report))["ResNet-18, 3 seeds"][-2]
    accuracy = [100 * float((e.test.pred == e.test.target).mean()) for e in report.entries]
    assert overall == f"{np.mean(accuracy):.2f} ± {np.std(accuracy, ddof=1):.2f}"


def test_the_papers_ensemble_stands_beside_ours_only_where_the_same_four_vote_as_there(runs):
    for arch in (*paper.ENSEMBLE_MEMBERS, "alexnet"):
        runs.add(arch)

    def kinds_below_the_ensemble(**chosen) -> set[str]:
        rows = table2(collect(runs.root, **chosen)).rows
        start = next(i for i, row in enumerate(rows) if row.kind == "strong")
        return {row.kind for row in rows[start:]}

    others = ",".join(("alexnet", *paper.ENSEMBLE_MEMBERS[1:]))
    assert "paper" in kinds_below_the_ensemble(members="paper")
    assert "paper" not in kinds_below_the_ensemble(members="paper", vote="soft")
    assert "paper" not in kinds_below_the_ensemble(members=others)
    assert "paper" not in kinds_below_the_ensemble(members=",".join(paper.ENSEMBLE_MEMBERS[:3]))


def test_captions_say_that_equal_sizes_are_not_the_same_images(runs):
    runs.add("resnet18")
    report = collect(runs.root)
    assert "but not the same images: its split is not published" in table2(report).caption
    assert "same test sizes" not in table3(report).caption


def test_published_methods_stand_apart_with_whose_split_it_was(runs):
    runs.add("resnet18")
    rows = table3(collect(runs.root)).rows
    sections: dict[str, list[str]] = {}
    for row in rows:
        if row.kind == "section":
            sections[row.cells[0]] = []
        elif row.kind != "interval":
            list(sections.values())[-1].append(row.kind)
    assert [set(kinds) for kinds in sections.values()] == [{"paper"}, {"paper"}, {"main"}]
    earlier, papers, ours = sections
    assert "authors' own split" in earlier
    assert "The paper, on its own split" in papers
    assert ours == "This report, on its split 'paper', seed 0, with 2,056 test images"


def pbc_counts() -> dict[str, dict[str, int]]:
    whole = {row.class_name: row.images for row in paper.TABLE_1}
    test: dict[str, int] = dict(zip(whole, paper.TEST_SUPPORT, strict=True))
    val = {name: round(0.24 * n) for name, n in whole.items()}
    return {"train": {c: whole[c] - val[c] - test[c] for c in whole}, "val": val, "test": test}


def test_table_1_of_the_whole_data_set_reads_as_the_papers(runs):
    card = collect(runs.add("resnet18")).entries[0].card
    table = table1(collect(runs.add("vgg19", data=dict(card["data"]) | {"counts": pbc_counts()})))
    shown = {row.cells[0]: row.cells[1:3] for row in table.rows}
    assert shown == {
        **{row.class_name: (f"{row.images:,}", f"{row.percent:.2f}") for row in paper.TABLE_1},
        "All": ("17,092", "100.00"),
    }
    assert "those of the paper's Table 1" in table.caption
    assert not any("Paper" in title for title in table.head)


def test_other_counts_than_the_papers_have_the_papers_beside_them(runs):
    runs.add("resnet18", test=SMALL)
    table = table1(collect(runs.root))
    images, percent = (table.head.index(title) for title in ("Paper's images", "Paper's percent"))
    assert [row.cells[images] for row in table.rows][:2] == ["1,218", "3,117"]
    assert [row.cells[percent] for row in table.rows][-1] == "100.00"
    assert "those of the paper" not in table.caption


def test_shares_of_a_class_are_of_all_images(runs):
    runs.add("resnet18", classes=("a", "b"), test=(30, 10), rename=None)
    rows = table1(collect(runs.root)).rows
    assert [row.cells[2] for row in rows] == ["75.00", "25.00", "100.00"]


def test_raw_class_rows_hold_every_run_and_the_ensemble_unrounded(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    rows = rows_of(per_class(report))
    assert {row["network"] for row in rows} == {"ResNet-18", "VGG-19", "Ensemble of 2"}
    for entry in report.entries:
        p = entry.test
        precision, recall, _, n = sk.precision_recall_fscore_support(p.target, p.pred, labels=range(8))
        of_run = [row for row in rows if row["run"] == entry.name and row["class"]]
        assert [row["class"] for row in of_run] == list(p.classes)
        assert [float(row["precision"]) for row in of_run] == pytest.approx(np.asarray(precision).tolist())
        assert [float(row["sensitivity"]) for row in of_run] == pytest.approx(np.asarray(recall).tolist())
        assert [int(row["images"]) for row in of_run] == np.asarray(n).tolist()


def test_confusion_counts_of_every_run_agree_with_scikit_learn(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.2)
    report = collect(runs.root)
    parts = counts_tables(report)
    raw = rows_of(parts[0])
    said = {"Ensemble of 2": report.ensemble.predictions} if report.ensemble else {}
    said |= {entry.label: entry.test for entry in report.entries}
    for part, (label, p) in zip(parts, said.items(), strict=True):
        want = sk.confusion_matrix(p.target, p.pred, labels=range(8))
        assert label in part.caption
        assert [[int(cell) for cell in row.cells[1:]] for row in part.rows] == want.tolist()
        assert [int(row["images"]) for row in raw if row["network"] == label] == want.ravel().tolist()


def test_counts_of_very_many_classes_are_one_table_of_errors_and_a_file_of_what_occurred(runs):
    classes = tuple(f"class {c:03d}" for c in range(120))
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, classes=classes, test=[4] * 120, error_rate=0.4, rename=None)
    report = collect(runs.root)
    (table,) = counts_tables(report)
    assert report.ensemble
    said = {"Ensemble of 2": report.ensemble.predictions} | {e.label: e.test for e in report.entries}
    assert [row.cells[:2] for row in table.rows] == [(label, str(p.n_errors)) for label, p in said.items()]
    raw = rows_of(table)
    for label, p in said.items():
        pairs = Counter((classes[t], classes[s]) for t, s in zip(p.target, p.pred, strict=True))
        got = {(row["true"], row["predicted"]): int(row["images"]) for row in raw if row["network"] == label}
        assert got == pairs
    assert len(confusions_table(report).rows) == min(30, len(report.confusions))


def test_the_most_frequent_confusions_are_cut_on_the_page_and_whole_in_the_file(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.3)
    report = collect(runs.root)
    table = confusions_table(report, most=3)
    assert len(table.rows) == 3 < len(report.confusions)
    assert sum(int(row["images"]) for row in rows_of(table)) == report.headline.errors


def test_a_run_called_paper_says_which_fields_were_changed(runs):
    runs.add("resnet18", test=SMALL, recipe={"name": "paper", "epochs": 4, "lr": 0.001, "precision": "bf16"})
    report = collect(runs.root)
    (row,) = rows_of(runs_table(report))
    assert (row["recipe"], row["changed"]) == ("paper", "epochs 4 (25)")
    assert runs_table(report).rows[0].cells[1] == "paper, changed: epochs 4 (25)"
    built_in = {row.cells[0]: row.cells[1:] for row in recipe_table(report).rows}
    assert built_in["epochs"] == ("4", "25")
    (caveat,) = [c.text for c in report.caveats if c.title == "Fields of the recipe were changed."]
    assert caveat.startswith("All networks: epochs 4 (25).")
