"""The tables that say what made the figures: data, recipe, runs, machines, versions, omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count, duration
from hemoscope.report.networks import Entry
from hemoscope.report.texttable import Row, TextTable

__all__ = [
    "commands",
    "confusions_table",
    "data_table",
    "files_left_out_table",
    "left_out_table",
    "machine_table",
    "mistakes_table",
    "recipe_table",
    "runs_table",
]

_SHOWN_FILES = 40


def data_table(report: Report) -> TextTable:
    """Return the images a class and side."""
    data = report.data
    sides = [side for side in ("train", "val", "test") if side in data.counts]
    second = data.second_acquisition or {}
    titles = {"train": "Training", "val": "Validation", "test": "Test"}
    head = ["Class", *(titles[side] for side in sides), "All"]
    head += ["Second acquisition"] if second else []

    def line(kind: str, name: str, numbers: Sequence[int], other: int) -> Row:
        cells = (name, *map(count, numbers), count(sum(numbers)), *([count(other)] if second else []))
        return Row("strong" if kind == "strong" else "main", cells)

    rows = [
        line("main", name, [data.counts[side].get(name, 0) for side in sides], second.get(name, 0))
        for name in data.classes
    ]
    totals = [sum(data.counts[side].get(name, 0) for name in data.classes) for side in sides]
    rows.append(line("strong", "All", totals, sum(second.values())))
    caption = "Images a class and side of the split."
    return TextTable("table1", caption, tuple(head), tuple((row,) for row in rows))


def runs_table(report: Report) -> TextTable:
    """Return one line a run: what it is, what it cost, what it reached on validation and test."""
    head = (
        "Run",
        "Seed",
        "Epochs",
        "Weights",
        "Parameters",
        "Val. %",
        "Test %",
        "Time",
        "Images/s",
        "Peak MiB",
    )
    rows = [Row("main", _run_cells(entry)) for entry in report.entries]
    caption = "Every run: accuracy on validation and test, time from start to end, training images a second."
    return TextTable("runs", caption, head, tuple((row,) for row in rows))


def recipe_table(report: Report) -> TextTable:
    """Return the recipe's fields; where runs differ, each value with the number of runs."""
    fields = sorted({field for entry in report.entries for field in entry.recipe}, key=_recipe_order(report))
    rows = [
        Row("main", (field, _tally(entry.recipe.get(field) for entry in report.entries))) for field in fields
    ]
    return TextTable("recipe", "Recipe.", ("Field", "Value"), tuple((row,) for row in rows), n_text=2)


def machine_table(report: Report) -> TextTable:
    """Return machines and versions; where runs differ, each value with the number of runs."""
    rows: list[Row] = []
    for section in ("machine", "versions"):
        cards = [entry.card.get(section) or {} for entry in report.entries]
        fields = dict.fromkeys(key for values in cards for key in values)
        rows += [
            Row("main", (f.replace("_", " "), _tally(values.get(f) for values in cards))) for f in fields
        ]
    return TextTable(
        "machine", "Machine and versions.", ("", "Value"), tuple((row,) for row in rows), n_text=2
    )


def confusions_table(report: Report, *, most: int = 12) -> TextTable:
    """Return the most frequent confusions."""
    rows = [
        Row("main", (c.true, c.pred, count(c.count), f"{100 * c.share:.2f}"))
        for c in report.confusions[:most]
    ]
    caption = "The most frequent confusions; the share is of the images of the true class, in percent."
    head = ("True class", "Predicted class", "Images", "Share")
    return TextTable("confusions", caption, head, tuple((row,) for row in rows), n_text=2)


def mistakes_table(report: Report, *, most: int) -> TextTable:
    """Return the wrongly classified images as text, for when their pictures cannot be read."""
    rows = [Row("main", (m.path, m.true, m.pred, f"{m.prob:.3f}")) for m in report.mistakes[:most]]
    caption = "Wrongly classified test images, the most confident first."
    head = ("Image", "True class", "Predicted class", "Probability")
    return TextTable("mistakes", caption, head, tuple((row,) for row in rows), n_text=3)


def left_out_table(report: Report) -> TextTable:
    """Return the runs that are not in the report, and why."""
    rows = [Row("main", (item.name, item.reason)) for item in report.left_out]
    caption = "Runs below the same folder that are not in this report."
    return TextTable("left-out", caption, ("Run", "Reason"), tuple((row,) for row in rows), n_text=2)


def files_left_out_table(report: Report) -> TextTable:
    """Return the files that training left out."""
    files = report.data.left_out
    rows = [Row("main", item) for item in files[:_SHOWN_FILES]]
    more = f" The first {_SHOWN_FILES} of {len(files):,}." if len(files) > _SHOWN_FILES else ""
    caption = f"Files that training left out.{more}"
    return TextTable("files-left-out", caption, ("File", "Why"), tuple((row,) for row in rows), n_text=2)


def commands(report: Report) -> tuple[str, ...]:
    """Return the commands that made the runs, each once, in order."""
    found = (str(entry.card.get("command") or "") for entry in report.entries)
    return tuple(dict.fromkeys(command for command in found if command))


def _run_cells(entry: Entry) -> tuple[str, ...]:
    card = entry.card
    timings, weights = card.get("timings") or {}, card.get("weights") or {}
    source = {"imagenet": "ImageNet", "none": "random"}.get(str(weights.get("source")), NOT_DEFINED)
    return (
        entry.label,
        str(entry.seed),
        str(entry.recipe.get("epochs", NOT_DEFINED)),
        source,
        count(_number(card.get("parameters"))),
        f"{100 * entry.val_accuracy:.2f}" if len(entry.val) else NOT_DEFINED,
        f"{100 * entry.scores.accuracy:.2f}" if entry.scores.n else NOT_DEFINED,
        duration(_number(timings.get("elapsed_s"))),
        _rate(_number(timings.get("images_per_s"))),
        count(_number(card.get("peak_memory_mib"))),
    )


def _rate(images_per_s: float | None) -> str:
    return NOT_DEFINED if images_per_s is None else f"{images_per_s:,.1f}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _tally(values: Iterable[Any]) -> str:
    """Return the one value of all runs, or each value with how many runs have it."""
    tally = Counter(_text(value) for value in values)
    if len(tally) == 1:
        return next(iter(tally))
    return "; ".join(f"{value} ({n} {'run' if n == 1 else 'runs'})" for value, n in tally.most_common())


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _recipe_order(report: Report) -> Any:
    order = {field: i for i, field in enumerate(report.entries[0].recipe)}
    return lambda field: (order.get(field, len(order)), field)
