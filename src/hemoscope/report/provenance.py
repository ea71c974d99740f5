"""The tables that say what made the figures: recipe, runs, machines, versions, omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hemoscope.ensemble.candidates import Entry
from hemoscope.report.collect import Report
from hemoscope.report.formats import NOT_DEFINED, count, duration
from hemoscope.report.texttable import Raw, TextTable, plain
from hemoscope.training.changes import built_in, changes, describe, setting
from hemoscope.training.recipe import identity_of

__all__ = [
    "commands",
    "left_out_table",
    "machine_table",
    "recipe_table",
    "runs_table",
]

_RAW_RUNS = (
    "network",
    "run",
    "arch",
    "seed",
    "recipe",
    "changed",
    "epochs",
    "weights",
    "weights_sha256",
    "parameters",
    "val_accuracy",
    "test_accuracy",
    "test_errors",
    "elapsed_s",
    "images_per_s",
    "peak_memory_mib",
)


def runs_table(report: Report) -> TextTable:
    """Return one line a run: what it is, what it cost, what it reached on validation and test."""
    head = (
        "Run", "Recipe", "Seed", "Epochs", "Weights", "Parameters", "Val. %", "Test %", "Time", "Images/s",
        "Peak MiB",
    )  # fmt: skip
    caption = (
        "Every run: its recipe, with the fields that were changed and the built-in values in brackets; accuracy on "
        "validation and test, time from start to end, training images a second."
    )
    raw = Raw(_RAW_RUNS, tuple(map(_raw_run, report.entries)))
    return TextTable("runs", caption, head, plain(map(_run_cells, report.entries)), n_text=2, raw=raw)


def recipe_table(report: Report) -> TextTable:
    """Return the recipe's fields; where runs differ, each value with the number of runs."""
    recipes = [identity_of(entry.recipe) for entry in report.entries]
    fields = sorted({field for recipe in recipes for field in recipe}, key=_recipe_order(report))
    ours = _built_in(report)
    rows = []
    for field in fields:
        value = _tally(recipe.get(field) for recipe in recipes)
        rows.append((field, value, setting(ours[field]) if field in ours else "") if ours else (field, value))
    head = ("Field", "Value", "Built-in value") if ours else ("Field", "Value")
    caption = "Recipe." if not ours else "Recipe, beside the built-in one of that name."
    return TextTable("recipe", caption, head, plain(rows), n_text=len(head))


def machine_table(report: Report) -> TextTable:
    """Return machines and versions; where runs differ, each value with the number of runs."""
    rows: list[tuple[str, str]] = []
    for section in ("machine", "versions"):
        cards = [entry.card.get(section) or {} for entry in report.entries]
        fields = dict.fromkeys(key for values in cards for key in values)
        rows += [(f.replace("_", " "), _tally(values.get(f) for values in cards)) for f in fields]
    return TextTable("machine", "Machine and versions.", ("", "Value"), plain(rows), n_text=2)


def left_out_table(report: Report) -> TextTable:
    """Return the runs that are not in the report, and why."""
    rows = [(item.name, item.reason) for item in report.left_out]
    caption = "Runs below the same folder that are not in this report."
    return TextTable("left-out", caption, ("Run", "Reason"), plain(rows), n_text=2)


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
        describe(entry.recipe),
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


def _raw_run(entry: Entry) -> tuple[object, ...]:
    card = entry.card
    timings, weights = card.get("timings") or {}, card.get("weights") or {}
    return (
        entry.label,
        entry.name,
        entry.arch,
        entry.seed,
        entry.recipe.get("name"),
        ", ".join(map(str, changes(entry.recipe))),
        entry.recipe.get("epochs"),
        weights.get("source"),
        weights.get("sha256"),
        card.get("parameters"),
        entry.val_accuracy,
        entry.scores.accuracy,
        entry.scores.errors,
        timings.get("elapsed_s"),
        timings.get("images_per_s"),
        card.get("peak_memory_mib"),
    )


def _built_in(report: Report) -> Mapping[str, Any]:
    """Return the built-in recipe that all runs come from, where one of them changed it; else nothing."""
    recipes = [entry.recipe for entry in report.entries]
    one = len({recipe.get("name") for recipe in recipes}) == 1
    return built_in(recipes[0]) if one and any(map(changes, recipes)) else {}


def _rate(images_per_s: float | None) -> str:
    return NOT_DEFINED if images_per_s is None else f"{images_per_s:,.1f}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _tally(values: Iterable[Any]) -> str:
    """Return the one value of all runs, or each value with how many runs have it."""
    tally = Counter(setting(value) for value in values)
    if len(tally) == 1:
        return next(iter(tally))
    return "; ".join(f"{value} ({n} {'run' if n == 1 else 'runs'})" for value, n in tally.most_common())


def _recipe_order(report: Report) -> Any:
    order = {field: i for i, field in enumerate(report.entries[0].recipe)}
    return lambda field: (order.get(field, len(order)), field)
