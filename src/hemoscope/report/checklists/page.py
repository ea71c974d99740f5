"""The page of checklists: every item of both guidelines with its state, as Markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from hemoscope.report.checklists.answer import Answer
from hemoscope.report.checklists.items import GUIDELINES, Guideline, Item, read_guideline
from hemoscope.report.checklists.of_data import OF_DATA
from hemoscope.report.checklists.of_scores import OF_SCORES
from hemoscope.report.checklists.of_training import OF_TRAINING
from hemoscope.report.collect import Report
from hemoscope.report.formats import markdown
from hemoscope.report.texttable import TextTable, as_markdown, plain

__all__ = ["ANSWERS", "State", "checklists", "judge"]

State = Literal["filled", "open", "not applicable"]
ANSWERS: dict[str, Answer] = {**OF_DATA, **OF_TRAINING, **OF_SCORES}


@dataclass(frozen=True, slots=True)
class Judged:
    """An item with its state, what the runs say to it, and what is left to the author or does not apply."""

    item: Item
    state: State
    said: str
    left: str

    @property
    def text(self) -> str:
        """What stands in the table."""
        if self.state == "open":
            return f"To supply: {self.left}.{f' From the runs: {self.said}' if self.said else ''}"
        return self.left if self.state == "not applicable" else self.said


def checklists(report: Report) -> str:
    """Return the page as Markdown; the same runs give the same text."""
    runs = ", ".join(markdown(entry.name) for entry in report.judged_entries)
    lines = [
        f"# Checklists: {markdown(report.title)}",
        "",
        f"About {markdown(report.judged_label)}, which the report's headline is about: {runs}.",
        "",
        (
            "Items are in short words of our own; what counts is the text of the guidelines. *Filled* is what run cards "
            "and predictions say. *Open* is what they cannot know, or do not hold: it is the author's to supply. Nothing "
            "was typed for these runs."
        ),
        "",
    ]
    for name in GUIDELINES:
        lines += _section(read_guideline(name), report)
    return "\n".join(lines)


def judge(item: Item, report: Report) -> Judged:
    """Return the state of an item for these runs."""
    why = item.not_applicable or (item.unless and ANSWERS[item.unless].say(report))
    if why:
        return Judged(item, "not applicable", "", why)
    answers = [ANSWERS[name] for name in item.from_run]
    lacking = dict.fromkeys(field for answer in answers for field in answer.lacking(report))
    said = [answer.say(report) for answer in answers if not answer.lacking(report)]
    text = " ".join(part for part in said if part)
    if item.enough and not lacking and all(said):
        return Judged(item, "filled", text, "")
    left = item.supply or "the runs do not say it"
    if item.enough and lacking:
        left += f"; run cards lack {', '.join(lacking)}"
    return Judged(item, "open", text, left)


def _section(guideline: Guideline, report: Report) -> list[str]:
    judged = [judge(item, report) for item in guideline.items]
    tally = Counter(one.state for one in judged)
    states: tuple[State, ...] = ("filled", "open", "not applicable")
    rows = [(one.item.number, one.item.section, one.item.asks, one.state, one.text) for one in judged]
    table = TextTable(
        name=guideline.name,
        caption=f"{', '.join(f'{tally[state]} {state}' for state in states)}.",
        head=("Item", "Section", "Subject", "State", "Answer"),
        groups=plain(rows),
        n_text=5,
    )
    return [f"## {guideline.name}", "", f"{guideline.source}.", "", as_markdown(table)]
