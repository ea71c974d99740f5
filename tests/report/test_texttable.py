import re
from dataclasses import replace

from hemoscope.report.classwise import table2
from hemoscope.report.collect import collect
from hemoscope.report.texttable import Raw, Row, TextTable, as_csv, as_markdown, panels

AWKWARD = ("<script>alert(1)</script>", "50% _a_ & b", "pipe|and*star", "\\back{slash}", "~^#$", "平")


def awkward_table() -> TextTable:
    groups = tuple((Row("main", (name, "1", "2.50")), Row("interval", ("", "", "1–3"))) for name in AWKWARD)
    return TextTable("awkward", "A caption with 50% & more.", ("Class", "Images", "Share"), groups)


def test_markdown_rows_have_the_columns_of_their_head():
    lines = [line for line in as_markdown(awkward_table()).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert "<script>" not in "".join(lines)


def test_panels_hold_every_class_once_and_the_overall_figures_first(runs):
    classes = tuple(f"class{i:02d}" for i in range(23))
    runs.add("resnet18", classes=classes, test=[10] * 23, rename=None)
    table = table2(collect(runs.root))
    parts = panels(table)
    heads = [title for part in parts for title in part.head[1:]]
    assert sorted(heads) == sorted(table.head[1:])
    assert parts[0].head[-2:] == ("Overall", "Errors")
    assert [part.continues for part in parts] == [False, True, True]
    for part in parts:
        for row, whole in zip(part.rows, table.rows, strict=True):
            assert row.cells == tuple(whole.cells[table.head.index(title)] for title in part.head)


def test_no_name_in_a_csv_is_a_formula_to_a_spreadsheet():
    table = TextTable(
        "t", "T", ("=head", "n"), ((Row("main", ("=1+1", "-3")), Row("main", ("@x", "+1+1"))),), 1
    )
    assert as_csv(table).splitlines() == ["'=head,n", "'=1+1,-3", "'@x,'+1+1"]
    raw = replace(table, raw=Raw(("class", "change"), (("+a", -0.5),)))
    assert as_csv(raw).splitlines() == ["class,change", "'+a,-0.5"]
