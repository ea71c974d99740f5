import re

import numpy as np

from hemoscope.evaluation.summary import score_counts
from hemoscope.report.collect import collect
from hemoscope.report.tables import per_class, table2
from hemoscope.report.texttable import TextTable, as_latex, as_markdown, panels

AWKWARD = ("<script>alert(1)</script>", "50% _a_ & b", "pipe|and*star", "\\back{slash}", "~^#$", "平")


def awkward_table() -> TextTable:
    confusion = np.diag([5, 4, 3, 2, 1, 0])
    return per_class(score_counts(confusion, classes=AWKWARD))


def test_latex_has_balanced_braces_and_the_columns_it_announces():
    text = as_latex(awkward_table())
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)  # escaped characters and line ends
    assert bare.count("{") == bare.count("}")
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(body) == 1 + len(awkward_table().rows)
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line
    for name in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\end{{{name}}}") == 1
    assert not re.search(r"(?<!\\)[#_^~<>|]", bare.split(r"\midrule")[1])


def test_markdown_rows_have_the_columns_of_their_head():
    lines = [line for line in as_markdown(awkward_table()).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}
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
