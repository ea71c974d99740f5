"""Errors by kind of cell, counted again from the predictions by scikit-learn and by hand."""

from __future__ import annotations

import csv
import io

import numpy as np
from sklearn import metrics as sk

from hemoscope.report.certainty import certainty_of
from hemoscope.report.collect import collect
from hemoscope.report.subtypes import border_table, subtypes_table
from hemoscope.report.tables import all_tables
from hemoscope.report.texttable import as_csv

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)
KINDS = {"ig": ("MMY", "MY", "PMY", "IG"), "neutrophil": ("BNE", "SNE")}


def typed(class_name: str, i: int) -> str:
    of = KINDS.get(class_name, ("LY",))
    return f"{class_name}/{of[i % len(of)]}_{100000 + i}.jpg"


def test_every_kind_has_its_own_sensitivity(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, error_rate=0.2, rename=typed)
    report = collect(runs.root)
    table = subtypes_table(report)
    said = report.judged
    kinds = np.array([path.split("/")[1].split("_")[0] for path in said.paths])
    assert [row.cells[1].split("(")[1][:-1] for row in table.rows] == ["IG", "MMY", "MY", "PMY", "BNE", "SNE"]
    for row in table.rows:
        here = kinds == row.cells[1].split("(")[1][:-1]
        want = sk.accuracy_score(said.target[here], said.pred[here])
        assert row.cells[2:5] == (str(here.sum()), str(round((1 - want) * here.sum())), f"{100 * want:.2f}")
    stored = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(stored) == 6 * (len(report.entries) + (report.ensemble is not None))


def test_the_border_counts_both_ways_over_it(runs):
    runs.add("resnet18", test=SMALL, error_rate=0.3, rename=typed)
    report = collect(runs.root)
    said = report.best.test
    up = down = 0
    for path, c in zip(said.paths, said.pred, strict=True):
        up += "MMY_" in path and said.classes[c] == "neutrophil"
        down += "BNE_" in path and said.classes[c] == "ig"
    (row,) = border_table(report).rows
    assert row.cells[1:4] == (str(up), str(down), str(said.n_errors))


def test_names_that_tell_no_kind_make_no_table(runs):
    runs.add("resnet18", test=SMALL, rename=lambda class_name, i: f"{class_name}/crop{i}.png")
    report = collect(runs.root)
    names = {parts[0].name for parts in all_tables(report, certainty_of(report))}
    assert names.isdisjoint({"subtypes", "border"})
