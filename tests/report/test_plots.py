from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from hemoscope.report.figure_style import jpeg_bytes, save_figure, svg_bytes
from hemoscope.report.plots import (
    RankPoint,
    confusion_figure,
    curve_limits,
    curves_figure,
    ranking_figure,
    samples_figure,
)
from hemoscope.runs import EpochRow

SVG_TEXT = "{http://www.w3.org/2000/svg}text"


def texts(figure) -> list[str]:
    root = ET.fromstring(svg_bytes(figure))
    return ["".join(node.itertext()) for node in root.iter(SVG_TEXT)]


def rows(*losses: float) -> list[EpochRow]:
    return [EpochRow(i, 0.001, loss, 0.9, loss / 2, 0.95, 70.0) for i, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize("n_classes", [2, 8, 30])
def test_every_count_of_the_confusion_matrix_stands_in_its_figure(n_classes):
    confusion = np.random.default_rng(n_classes).integers(0, 500, (n_classes, n_classes))
    shown = texts(confusion_figure(confusion, [f"class{i}" for i in range(n_classes)]))
    numbers = sorted(int(text) for text in shown if text.isdecimal())
    assert numbers == sorted(confusion.ravel().tolist())


def test_a_class_without_images_is_drawn_without_dividing_by_zero():
    confusion = np.array([[3, 1], [0, 0]])
    assert texts(confusion_figure(confusion, ["seen", "absent"])).count("0") == 2


@pytest.mark.parametrize("name", ["$x^2$", r"50% \alpha {", "好中球", "a\udcffb", "<b>&amp;", "x" * 90, ""])
def test_class_names_are_neither_mathematics_nor_markup(name, tmp_path):
    figure = confusion_figure(np.eye(2, dtype=np.int64), [name, "other"])
    save_figure(figure, tmp_path / "figure")
    shown = texts(figure)
    if 0 < len(name) < 24 and name.isprintable():
        assert shown.count(name) == 2


def test_the_same_figure_gives_the_same_bytes():
    first, second = (svg_bytes(curves_figure([rows(1.0, 0.5)], curve_limits([rows(1.0, 0.5)]))) for _ in "ab")
    assert first == second


def test_both_files_of_a_figure_can_be_read(tmp_path):
    svg = save_figure(
        ranking_figure([RankPoint("ResNet-18", 0.99, 0.985, 0.995, paper=0.9917)]), tmp_path / "r"
    )
    assert (tmp_path / "r.svg").read_bytes() == svg
    with Image.open(tmp_path / "r.png") as image:
        assert min(image.size) > 100


def test_the_axes_of_the_curves_hold_every_finite_point():
    histories = [rows(2.5, 0.4), rows(float("nan"), 0.3, 0.2)]
    limits = curve_limits(histories)
    assert limits.epochs == 3
    assert limits.loss > 2.5
    assert limits.accuracy_low <= 0.9
    assert curves_figure(histories, limits).axes[0].get_ylim()[1] == pytest.approx(limits.loss)


def test_training_and_validation_differ_in_more_than_colour():
    loss = curves_figure([rows(1.0, 0.5)], curve_limits([rows(1.0, 0.5)])).axes[0]
    train, val = loss.get_lines()
    assert train.get_linestyle() != val.get_linestyle()
    assert train.get_marker() != val.get_marker()


def test_a_perfect_ensemble_has_no_tick_beyond_100_percent():
    axes = ranking_figure([RankPoint("Ensemble", 1.0, 0.998, 1.0, emphasis=True)]).axes[0]
    assert max(axes.get_xticks()) <= 100
    assert axes.get_xlim()[1] > 100


@pytest.mark.parametrize("n_classes", [1, 8, 19])
def test_sample_cells_stand_below_the_name_of_their_class(n_classes):
    cell = np.full((30, 40, 3), 120, dtype=np.uint8)
    samples = {f"class $x_{i}": [cell] * (1 + i % 3) for i in range(n_classes)}
    figure = samples_figure(samples, "Images: someone")
    titles = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert list(titles) == list(samples)
    assert sum(len(ax.images) for ax in figure.axes) == sum(map(len, samples.values()))
    assert jpeg_bytes(figure)[:2] == b"\xff\xd8"
