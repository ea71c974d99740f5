import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from hemoscope import paper
from hemoscope.data.scan.scan import scan
from hemoscope.errors import DataError
from hemoscope.models.registry import arch_names
from hemoscope.records import Predictions
from hemoscope.report import write_report
from hemoscope.report.collect import collect
from hemoscope.report.figures import WRITTEN, Figures
from hemoscope.report.html import _images_at
from hemoscope.runs import CARD

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)
EVIL = ("<script>alert('1')</script>", "a & b|c", 'quote" onload="x')


def odd_file(class_name: str, i: int) -> str:
    return f"folder/<img src=x onerror=alert({i})>&amp;.jpg"


def parsed(page: Path) -> ET.Element:
    """Parse the page as XML, which refuses whatever is not closed, nested or escaped."""
    text = page.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>"))


def words(node: ET.Element) -> str:
    return " ".join("".join(node.itertext()).split())


def save_cell(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 60), (120, 40, 160)).save(path)


def table(root: ET.Element, name: str) -> list[list[str]]:
    (figure,) = root.findall(f".//figure[@id='{name}']")
    return [[words(cell) for cell in row] for row in figure.findall(".//tr")]


@pytest.fixture(scope="module")
def module_runs(tmp_path_factory, make_runs):
    runs = make_runs(tmp_path_factory.mktemp("report") / "runs")
    for arch in ("resnet18", "vgg19", "squeezenet1_1"):
        runs.add(arch)
    runs.add("alexnet", split="b")
    return runs


@pytest.fixture(scope="module")
def page(module_runs):
    return write_report(module_runs.root, module_runs.root.parent / "out")


def test_a_page_on_hundreds_of_classes_has_no_cell_for_every_pair_of_them(tmp_path, make_runs):
    runs = make_runs(tmp_path / "runs")
    classes = tuple(f"class {c:03d}" for c in range(150))
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, classes=classes, test=[4] * 150, error_rate=0.4, rename=None)
    out = write_report(runs.root, tmp_path / "out")
    root = parsed(out)
    assert len(root.findall(".//td")) < 150 * 40
    assert len(table(root, "confusions")) == 1 + 30
    assert len(table(root, "confusion-counts")) == 1 + 3
    assert not list((tmp_path / "out" / "figures").glob("confusion-*"))


def test_the_page_is_well_formed_and_every_id_is_used_once(page):
    ids = [node.get("id", "") for node in parsed(page).iter() if node.get("id")]
    assert sorted(ids) == sorted(set(ids))


def test_every_link_leads_somewhere_on_the_page_or_beside_it(page):
    root = parsed(page)
    ids = {node.get("id") for node in root.iter()}
    links = [node.get("href", "") for node in root.iter("a")]
    inside = {link for link in links if link.startswith("#")}
    assert inside
    assert {link.removeprefix("#") for link in inside} <= ids
    assert set(links) - inside == {"checklists.md", "model-card.md"}
    assert all((page.parent / link).is_file() for link in set(links) - inside)


def test_the_page_loads_nothing_and_runs_nothing(page):
    text = page.read_text("utf-8")
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b|@import|url\(|https?://", text)
    for node in parsed(page).iter():
        for key, value in node.attrib.items():
            assert not key.startswith("on"), (node.tag, key)
            if key in ("src", "href", "srcset"):
                followed = node.tag == "a" and (page.parent / value).is_file()
                assert followed or value.startswith(("data:image/", "#")), value[:60]


def test_every_picture_says_in_words_what_it_shows(page):
    pictures = list(parsed(page).iter("img"))
    assert len(pictures) >= 1 + 4 + 3
    assert all(picture.get("alt") for picture in pictures)


def test_tables_and_figures_lie_beside_the_page(page):
    out = page.parent
    tables = {path.name for path in (out / "tables").iterdir()}
    shown = [figure.get("id", "") for figure in parsed(page).findall(".//figure[@id]")]
    parts = [name for name in shown if not name.startswith("confusion-counts-")]
    assert {f"table{i}" for i in (1, 2, 3, 4)} | {"per-class", "confusion-counts", "runs"} <= set(parts)
    want = {f"{name}.{kind}" for name in parts for kind in ("csv", "md", "tex")}
    assert tables == want | {"all.tex"}
    stems = {path.stem for path in (out / "figures").iterdir() if path.name != WRITTEN}
    assert {"ranking", "confusion-ensemble", "curves-resnet-18"} <= stems
    for stem in stems:
        ET.parse(out / "figures" / f"{stem}.svg")
        with Image.open(out / "figures" / f"{stem}.png") as image:
            image.verify()


def test_the_headline_is_the_ensembles_accuracy_errors_and_interval(page):
    root = parsed(page)
    (overall,) = [row for row in table(root, "table2") if row[0] == "Ensemble of 3"]
    headline = words(root.findall(".//div[@class='headline']")[0])
    assert overall[-2] in headline
    assert f"{overall[-1]} of 2,056 test images" in headline
    assert re.search(r"95 % interval \d\d\.\d\d–\d\d\.\d\d %", headline)


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_runs):
    """A page of 14 networks with two seeds each."""
    runs = make_runs(tmp_path_factory.mktemp("many") / "runs")
    for arch in arch_names()[:14]:
        for seed in (0, 1):
            runs.add(arch, seed=seed, classes=("a", "b"), test=(6, 6), rename=None, epochs=2, error_rate=0.1)
    return write_report(runs.root, runs.root.parent / "out")


def test_every_network_has_its_learning_curves_the_later_ones_behind_a_click(many):
    root = parsed(many)
    captions = [words(caption) for caption in root.findall(".//figure[@class='picture ']/figcaption")]
    curves = [text for text in captions if "on validation after the last epoch, mean of 2 seeds" in text]
    names = [paper.classwise_accuracy(arch) for arch in arch_names()[:14]]
    assert sorted(text.split(". ")[1].split(":")[0] for text in curves) == sorted(
        row.paper_name for row in names if row
    )
    behind = [words(node) for node in root.findall(".//details//figcaption")]
    assert len([text for text in curves if text in behind]) == 14 - 6
    assert len(list((many.parent / "figures").glob("curves-*.svg"))) == 14


def test_many_runs_their_commands_and_counts_stand_behind_a_click(many):
    root = parsed(many)
    for name in ("runs", "confusion-counts", "confusion-counts-29"):
        assert len(root.findall(f".//details//figure[@id='{name}']")) == 1
    assert len(table(root, "runs")) == 1 + 28
    numbers = [words(b) for b in root.findall(".//figure/figcaption/b") if words(b).startswith("Table")]
    assert list(dict.fromkeys(numbers)) == [f"Table {i}." for i in range(1, len(set(numbers)) + 1)]


def test_figures_are_fetched_when_they_are_looked_at(many):
    pictures = parsed(many).findall(".//figure/div/img")
    assert len(pictures) >= 14
    assert all(picture.get("loading") == "lazy" for picture in pictures)


def test_the_page_says_what_validation_prefers_and_whose_ensemble_the_papers_is(page, module_runs):
    headline = words(parsed(page).findall(".//div[@class='headline']")[0])
    report = collect(module_runs.root)
    assert report.ensemble is not None
    prefers = "the ensemble" if report.ensemble_leads else "the single network"
    assert f"Validation prefers {prefers}: {report.ensemble.val_errors} errors of the ensemble" in headline
    assert "of four other members, on its own test images" in headline


def test_runs_that_were_left_out_are_named_with_the_reason(page):
    (row,) = table(parsed(page), "left-out")[1:]
    assert row[0].startswith("alexnet")
    assert "another split" in row[1]


def test_the_commands_and_the_caveats_are_on_the_page(page):
    text = words(parsed(page))
    assert "hemoscope train vgg19 --data data/pbc --seed 0" in text
    assert "Splits by patient are impossible." in text


def test_whatever_a_user_named_is_shown_and_never_obeyed(runs):
    folder = runs.add("<b>net</b>", classes=EVIL, test=(40, 40, 40), rename=None, error_rate=0.3, name="run")
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["command"] = "hemoscope train --data 'caf\udce9/<i>' \x07"
    card["data"]["left_out"] = [{"level": "error", "path": "x\udcff\u202egpj.exe", "what": "<u>bad</u>"}]
    card["machine"]["device"] = "</td><script>"
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    page = write_report(folder, runs.root.parent / "out", title="<title> & more")
    root = parsed(page)
    assert not list(root.iter("script"))
    assert words(root.findall(".//h1")[0]) == "<title> & more"
    assert [row[0] for row in table(root, "table1")][1:-1] == list(EVIL)
    assert table(root, "files-left-out")[1] == ["x\\xff\\u202egpj.exe", "<u>bad</u>"]
    assert "caf\\xe9/<i>' \\x07" in words(root)


def test_odd_file_names_are_shown_as_they_are(runs):
    runs.add("resnet18", classes=("a", "b"), test=(30, 30), rename=odd_file, error_rate=0.4)
    page = write_report(runs.root, runs.root.parent / "out")
    shown = [row[0] for row in table(parsed(page), "mistakes")[1:]]
    assert shown
    assert all(re.fullmatch(r"folder/<img src=x onerror=alert\(\d+\)>&amp;\.jpg", name) for name in shown)


def test_wrong_images_are_shown_where_they_can_be_read(runs, tmp_path):
    folder = runs.add("resnet18", test=SMALL, error_rate=0.3)
    cells = tmp_path / "cells"
    cells.mkdir()
    page = write_report(folder, tmp_path / "without", data=cells)
    names = [row[0] for row in table(parsed(page), "mistakes")[1:]]
    for name in names[1:]:
        save_cell(cells / name)
    root = parsed(write_report(folder, tmp_path / "with", data=cells))
    assert not root.findall(".//figure[@id='mistakes']")
    (montage,) = root.findall(".//ul[@class='cells']")
    assert [words(item.findall("./span[@class='file']")[0]) for item in montage] == names
    assert [len(item.findall("./img")) for item in montage] == [0] + [1] * (len(names) - 1)
    assert "Acevedo et al. 2020, CC BY 4.0" in words(root)


def test_a_run_from_a_stranger_puts_no_image_of_this_machine_on_the_page(runs, tmp_path):
    folder = runs.add("resnet18", test=SMALL, error_rate=0.3)
    cells = tmp_path / "private"
    report = collect(folder)
    for path in (*report.best.val.paths, *report.best.test.paths):
        save_cell(cells / path)
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["data"]["root"] = str(cells)
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    page = write_report(folder, tmp_path / "out")
    assert "image/jpeg" not in page.read_text("utf-8")
    assert "hemoscope report --data DIR shows them" in words(parsed(page))


def test_sample_cells_of_each_class_are_shown_with_their_credit(runs, tmp_path):
    folder = runs.add("resnet18", test=SMALL)
    cells = tmp_path / "cells"
    for path in collect(folder).best.val.paths:
        if not path.startswith("platelet"):
            save_cell(cells / path)
    out = tmp_path / "out"
    root = parsed(write_report(folder, out, data=cells))
    (caption,) = [words(c) for c in root.iter("figcaption") if "Sample cells" in words(c)]
    assert caption.startswith("Figure 1. Sample cells of each class, validation images.")
    assert "Acevedo et al. 2020, CC BY 4.0" in caption
    (picture,) = [p for p in root.iter("img") if p.get("alt", "").startswith("Photographs of")]
    assert picture.get("alt") == f"Photographs of {', '.join(paper.CLASSES[:-1])}."
    with Image.open(out / "figures" / "sample-cells.jpg") as image:
        assert image.width > 600


def test_without_images_at_hand_there_are_no_sample_cells(page):
    assert "Sample cells" not in words(parsed(page))
    assert not list((page.parent / "figures").glob("sample*"))


@pytest.mark.parametrize("n_classes", [2, 30])
def test_any_number_of_classes_makes_a_page(runs, n_classes):
    classes = tuple(f"a class with quite a long name, number {i:02d}" for i in range(n_classes))
    runs.add("resnet18", classes=classes, test=[12] * n_classes, rename=None, error_rate=0.1)
    root = parsed(write_report(runs.root, runs.root.parent / "out"))
    assert len(table(root, "table1")) == n_classes + 2


def test_one_run_without_history_says_what_there_is_not(runs):
    runs.add("resnet18", test=SMALL, history=False, error_rate=0)
    folder = runs.root.parent / "out"
    text = words(parsed(write_report(runs.root, folder)))
    assert "an ensemble of one is that run" in text
    assert "None of the runs kept a history." in text
    assert not list((folder / "figures").glob("curves*"))


def test_a_run_without_errors_shows_no_wrong_images(runs):
    folder = runs.add("resnet18", test=SMALL, error_rate=0)
    text = words(parsed(write_report(folder, runs.root.parent / "out")))
    assert "Nothing: every test image got its own class." in text


def answers(name: str, true: list[int], said: list[int]) -> Predictions:
    """What a network says of images of the classes a, b and c, with probabilities of 0.8."""
    probs = np.full((len(true), 3), 0.1)
    probs[np.arange(len(true)), said] = 0.8
    paths = tuple(f"{name}_{i:02d}.png" for i in range(len(true)))
    return Predictions(("a", "b", "c"), paths, np.array(true, dtype=np.int64), probs, probs.argmax(axis=1))


def page_of(runs, tmp_path, true: list[int], said: list[int]) -> str:
    val = answers("val", [0, 1, 2] * 4, [0, 1, 2] * 4)
    sides = {"val": val, "test": answers("test", true, said)}
    runs.add("resnet18", classes=("a", "b", "c"), test=(4, 4, 4), rename=None, predictions=sides)
    return words(parsed(write_report(runs.root, tmp_path / "out")))


def test_without_test_images_nothing_is_said_to_be_right_and_nothing_of_validation_is_denied(runs, tmp_path):
    text = page_of(runs, tmp_path, [], [])
    assert "There is no test image to get wrong." in text
    assert "There is no test image to try a threshold on." in text
    assert "every test image got its own class" not in text
    assert "these runs have none" not in text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([1, 2, 2], "most often is a for b, and as often 1 other pair of classes: 1 of its 2 errors each."),
        ([1, 1, 2], "The one error of ResNet-18 is a for b."),
    ],
)
def test_what_is_mistaken_as_often_as_another_is_not_called_the_most_frequent_alone(
    runs, tmp_path, said, told
):
    assert told in page_of(runs, tmp_path, [0, 1, 2], said)


def test_far_off_probabilities_of_few_images_are_not_called_right(runs, tmp_path):
    text = page_of(runs, tmp_path, [0], [1])
    assert "so nothing is shown to be wrong with them here" in text
    assert "so nothing is wrong with them" not in text


def test_what_is_undefined_reads_n_a(runs):
    runs.add("resnet18", classes=("a", "absent"), test=(30, 0), rename=None, error_rate=0)
    root = parsed(write_report(runs.root, runs.root.parent / "out"))
    (row,) = [row for row in table(root, "per-class") if row[0] == "absent"]
    assert row[1:3] == ["n/a", "n/a"]


def test_a_bare_run_card_is_enough(runs):
    folder = runs.add("resnet18", test=SMALL)
    card = json.loads((folder / CARD).read_text("utf-8"))
    bare = {key: card[key] for key in ("arch", "seed")}
    bare |= {"recipe": {}, "data": {"classes": card["data"]["classes"]}, "split": {"digest": "d"}}
    (folder / CARD).write_text(json.dumps(bare), "utf-8")
    root = parsed(write_report(folder, runs.root.parent / "out"))
    (row,) = table(root, "runs")[1:]
    assert row.count("n/a") >= 5
    assert [int(r[1]) for r in table(root, "table1")[1:-1]] == list(SMALL)


def test_the_same_runs_give_the_same_tables_and_figures(module_runs, page, tmp_path):
    again = write_report(module_runs.root, tmp_path / "again")
    for path in sorted([*page.parent.glob("*/*"), *page.parent.glob("*.md")]):
        other = tmp_path / "again" / path.relative_to(page.parent)
        assert path.read_bytes() == other.read_bytes(), path.name
    assert np.isclose(len(again.read_bytes()), len(page.read_bytes()), rtol=0.01)


def test_a_second_report_leaves_no_table_of_the_first(make_runs, tmp_path: Path):
    for name, rate in (("first", 0.3), ("second", 0.0)):
        runs = make_runs(tmp_path / name)
        runs.add("resnet18", test=SMALL, error_rate=rate)
        write_report(runs.root, tmp_path / "out")
        (tmp_path / "out" / "tables" / "mine.csv").touch()
        assert (tmp_path / "out" / "tables" / "mistakes.csv").exists() == (rate > 0)
    assert (tmp_path / "out" / "tables" / "mine.csv").exists()


def test_a_second_report_leaves_no_figure_of_the_first(make_runs, tmp_path: Path):
    figures = tmp_path / "out" / "figures"
    for name, arch in (("first", "resnet18"), ("second", "vgg19")):
        runs = make_runs(tmp_path / name)
        runs.add(arch, test=SMALL)
        write_report(runs.root, tmp_path / "out")
        (figures / "curves-resnet-18-mine.svg").touch()
    drawn = {path.stem for path in figures.iterdir() if path.name.startswith("curves-")}
    assert drawn == {"curves-vgg-19", "curves-resnet-18-mine"}
    assert {path.stem for path in figures.glob("*.svg")} >= {"ranking", "reliability"}


def test_a_list_of_figures_from_elsewhere_deletes_nothing_beside_them(tmp_path: Path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "mine.svg").touch()
    for name in ("../mine", str(tmp_path / "mine"), "x" * 300, "\0"):
        (tmp_path / "figures" / WRITTEN).write_text(name)
        Figures(tmp_path / "figures").forget_earlier()
    assert (tmp_path / "mine.svg").exists()


def test_images_that_a_list_names_are_shown_and_a_place_that_is_not_there_is_told(
    make_runs, discs: Path, tmp_path: Path
):
    runs = make_runs(tmp_path / "runs")
    runs.add("resnet18", test=SMALL)
    (tmp_path / "set").mkdir()
    shutil.copytree(discs, tmp_path / "set" / "cells")
    lines = [f"{p.relative_to(tmp_path / 'set')},{p.parent.name}" for p in (tmp_path / "set").rglob("*.png")]
    table = tmp_path / "set" / "labels.csv"
    table.write_text("\n".join(["path,class", *lines]))
    assert _images_at(table) == tmp_path / "set"
    assert _images_at(tmp_path / "set") == tmp_path / "set"
    (tmp_path / "shards").mkdir()
    cells = [
        {"image": {"bytes": p.read_bytes()}, "label": p.parent.name} for p in sorted(discs.rglob("*.png"))
    ]
    parquet.write_table(pa.Table.from_pylist(cells), tmp_path / "shards" / "test-0.parquet")
    root = _images_at(tmp_path / "shards")
    assert root == scan(tmp_path / "shards").root
    assert root != tmp_path / "shards"
    with pytest.raises(DataError, match="found nothing"):
        write_report(runs.root, tmp_path / "out", data=tmp_path / "gone.csv")
    assert not (tmp_path / "out").exists()
