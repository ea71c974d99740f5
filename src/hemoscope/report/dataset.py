"""Table 1: how many images of each class there are, as the paper counts them and a side of the split."""

from __future__ import annotations

from collections.abc import Sequence

from hemoscope import paper
from hemoscope.report.collect import Report
from hemoscope.report.formats import count, percent
from hemoscope.report.texttable import Raw, Row, TextTable, plain

__all__ = ["files_left_out_table", "table1"]

_SIDES = {"train": "Training", "val": "Validation", "test": "Test"}
_SHOWN_FILES = 40


def table1(report: Report) -> TextTable:
    """Return the images a class with their share of all, and how they are divided.

    Where the cells are PBC's and the counts are not the paper's, the paper's stand beside.
    """
    data = report.data
    sides = [side for side in _SIDES if side in data.counts]
    second = data.second_acquisition or {}
    counts = {name: [data.counts[side].get(name, 0) for side in sides] for name in data.classes}
    total = sum(map(sum, counts.values()))
    like_pbc = data.kind in ("pbc", "bloodmnist")
    whole = {row.class_name: row for row in paper.TABLE_1} if like_pbc and len(sides) == len(_SIDES) else {}
    same = bool(whole) and all(sum(counts[name]) == row.images for name, row in whole.items())
    beside = whole if not same else {}

    def line(name: str, numbers: Sequence[int], other: int, theirs: tuple[int, float]) -> tuple[str, ...]:
        share = sum(numbers) / total if total else float("nan")
        cells = [name, count(sum(numbers)), percent(share), *map(count, numbers)]
        cells += [count(other)] if second else []
        return (*cells, *((count(theirs[0]), f"{theirs[1]:.2f}") if beside else ()))

    published = {name: (row.images, row.percent) for name, row in whole.items()}
    rows = [
        line(name, numbers, second.get(name, 0), published.get(name, (0, 0.0)))
        for name, numbers in counts.items()
    ]
    sums = [sum(column) for column in zip(*counts.values(), strict=True)]
    last = line("All", sums, sum(second.values()), (paper.N_IMAGES, 100.0))
    head = ["Class", "Images", "Percent", *(_SIDES[side] for side in sides)]
    head += ["Second acquisition"] if second else []
    head += ["Paper's images", "Paper's percent"] if beside else []
    caption = "Images of each class, their share of all in percent, and the sides of the split."
    caption += " Counts and shares are those of the paper's Table 1." if same else ""
    raw = tuple(
        (name, sum(n), sum(n) / total if total else None, *n, second.get(name)) for name, n in counts.items()
    )
    return TextTable(
        name="table1",
        caption=caption,
        head=tuple(head),
        groups=(*plain(rows), (Row("strong", last),)),
        raw=Raw(("class", "images", "share", *sides, "second_acquisition"), raw),
    )


def files_left_out_table(report: Report) -> TextTable:
    """Return the files that training left out; the raw rows are all of them."""
    files = report.data.left_out
    more = f" The first {_SHOWN_FILES} of {len(files):,}." if len(files) > _SHOWN_FILES else ""
    caption = f"Files that training left out.{more}"
    shown = plain(files[:_SHOWN_FILES])
    return TextTable(
        "files-left-out", caption, ("File", "Why"), shown, n_text=2, raw=Raw(("file", "why"), files)
    )
